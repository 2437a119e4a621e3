"""Pictures of patches in the classes' colours: predictions beside the truth, and domains beside each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmark.data.classes import IGNORE, ClassSet

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.data.catalog import Catalog  # needs pandas, which a report can do without

SIDE = 192  # pixels of a patch in the picture
GAP = 6
HEADING = 20  # pixels above the first patch of a panel, for the titles of the columns
_LEAST = 0.001  # share of a patch's pixels from which on it shows a class
TITLE = 22  # height of the letters on a sheet of domains


STRETCH = 2, 98  # percentiles of the values shown, which become black and white


def to_rgb(images: NDArray, bands: Sequence[str]) -> NDArray[np.uint8]:
    """Return images (N, C, S, S) as (N, S, S, 3): the bands red, green and blue, or the first three, or one as grey.

    Those of other types than uint8 are stretched band by band, by the percentiles `STRETCH` of all N.
    """
    named = [list(bands).index(name) for name in ("red", "green", "blue") if name in bands]
    shown = named if len(named) == 3 else [0, 1, 2] if len(bands) >= 3 else [0, 0, 0]
    picture = images[:, shown].transpose(0, 2, 3, 1)
    if picture.dtype == np.uint8:
        return picture
    low, high = np.percentile(picture, STRETCH, axis=(0, 1, 2))
    shares = (picture - low) / np.where(high > low, high - low, 1)
    return np.rint(255 * shares.clip(0, 1)).astype(np.uint8)


def colorize(masks: NDArray[np.uint8], classes: ClassSet) -> NDArray[np.uint8]:
    """Return masks (N, S, S) of class indices as (N, S, S, 3) in the classes' colours; ignored pixels are black."""
    return classes.palette()[np.where(masks == IGNORE, classes.num_classes, masks)]


def choose_patches(counts: NDArray[np.integer], most: int) -> list[int]:
    """Choose patches that show as many classes as possible: always the one that adds most, then the most varied.

    Args:
        counts: (N, classes) pixels of each class in each patch.
        most: number of patches to choose, at most.

    Returns:
        their positions, in rising order; of equals the first.
    """
    labelled = counts.sum(1)
    shares = counts / max(
        int(labelled.max(initial=1)), 1
    )  # of a whole patch: one that is nearly all padding shows little
    shows = shares >= _LEAST
    left, seen = list(range(len(counts))), np.zeros(counts.shape[1], bool)
    chosen: list[int] = []
    while left and len(chosen) < most:
        best = max(
            left, key=lambda row: ((shows[row] & ~seen).sum(), shows[row].sum(), labelled[row], -shares[row].max())
        )
        left.remove(best)
        chosen.append(best)
        seen |= shows[best]
    return sorted(chosen)


def letters(size: int) -> ImageFont.FreeTypeFont:
    """Return a font, of a size in pixels, with the letters of most names; Pillow's own lacks accents."""
    import matplotlib

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def fitting(draw: ImageDraw.ImageDraw, text: str, width: int, font: Any) -> str:
    """Return the end of a text that is too wide, which is where ids differ."""
    while len(text) > 2 and draw.textlength(text, font=font) > width:
        text = f"…{text[2:]}"
    return text


def prediction_panel(
    images: NDArray,
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    classes: ClassSet,
    bands: Sequence[str],
    ids: Sequence[str] = (),
) -> Image.Image:
    """Draw one row a patch: image, truth, prediction (black where the truth is ignored); the classes' colours below.

    Args:
        images: (N, C, S, S) stored pixel values.
        truth, predicted: (N, S, S) class indices; 255 is ignored.
        classes: class set of the masks.
        bands: names of the images' bands.
        ids: ids of the patches, to be written on their images; none are if empty.
    """
    shown = np.where(truth == IGNORE, IGNORE, predicted).astype(np.uint8)
    columns = [to_rgb(images, bands), colorize(truth, classes), colorize(shown, classes)]
    step = SIDE + GAP
    legend = HEADING + len(images) * step
    canvas = Image.new("RGB", (3 * step + GAP, legend + GAP + legend_height(classes, 12)), "white")
    draw = ImageDraw.Draw(canvas)
    for column, (title, pictures) in enumerate(zip(("image", "truth", "prediction"), columns, strict=True)):
        draw.text((GAP + column * step, 4), title, fill="black")
        for row, picture in enumerate(pictures):
            patch = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            canvas.paste(patch, (GAP + column * step, HEADING + row * step))
    font = letters(11)
    for row, patch_id in enumerate(ids):
        corner = GAP, HEADING + row * step + SIDE - 14
        draw.rectangle((*corner, GAP + SIDE - 1, corner[1] + 13), fill="black")
        draw.text((corner[0] + 2, corner[1]), fitting(draw, patch_id, SIDE - 4, font), fill="white", font=font)
    draw_legend(canvas, classes, legend, 12)
    return canvas


def panel_tiles(panel: Image.Image) -> NDArray[np.uint8]:
    """Return image, truth and prediction of each patch of a `prediction_panel`: (n, 3, SIDE, SIDE, 3), RGB last."""
    step = SIDE + GAP
    rows = (panel.height - HEADING - GAP) // step  # a legend is lower than a row
    pixels = np.asarray(panel)[HEADING : HEADING + rows * step, GAP : GAP + 3 * step]
    return pixels.reshape(rows, step, 3, step, 3).swapaxes(1, 2)[:, :, :SIDE, :SIDE]


def panel_legend(panel: Image.Image) -> Image.Image:
    """Return the part of a `prediction_panel` with the classes' names and colours."""
    step = SIDE + GAP
    rows = (panel.height - HEADING - GAP) // step
    return panel.crop((0, HEADING + rows * step, panel.width, panel.height))


def draw_legend(canvas: Image.Image, classes: ClassSet, top: int, size: int) -> None:
    """Draw the classes' names beside their colours, and what is black (see `colorize`), in three columns."""
    draw, font = ImageDraw.Draw(canvas), letters(size)
    shown = [*zip(classes.names, classes.colors, strict=True), ("no label", "#000000")]
    for index, (name, color) in enumerate(shown):
        x, y = GAP + index % 3 * (canvas.width - GAP) // 3, top + index // 3 * (size + 6)
        draw.rectangle((x, y, x + size, y + size), fill=color, outline="black")
        draw.text((x + size + 6, y + size // 2), name, fill="black", font=font, anchor="lm")


def legend_height(classes: ClassSet, size: int) -> int:
    """Return the height in pixels of what `draw_legend` draws."""
    return -(-(classes.num_classes + 1) // 3) * (size + 6)


def domain_sheet(catalog: "Catalog") -> Image.Image:
    """Draw one row a place, one column a time: the same ground in each, its classes on the right, their names below.

    For each place the zone with the most classes is shown, its patches put together by their coordinates.
    """
    times = sorted(catalog.patches["time"].unique())
    places, sheets = sorted(catalog.patches["place"].unique()), []
    for _, patches in catalog.patches.groupby("place"):
        zone = max(sorted(patches["zone"].unique()), key=lambda zone: _variety(catalog, patches, zone, times[0]))
        scenes = [_scene(catalog, patches[(patches["zone"] == zone) & (patches["time"] == time)]) for time in times]
        sheets.append([rgb for rgb, _ in scenes] + [scenes[0][1]])
    step = 2 * SIDE + GAP
    height = len(sheets) * step + GAP + legend_height(catalog.classes, TITLE)
    canvas = Image.new("RGB", (len(sheets[0]) * step + GAP, height), "white")
    draw, font = ImageDraw.Draw(canvas), letters(TITLE)
    for row, pictures in enumerate(sheets):
        for column, picture in enumerate(pictures):
            scaled = Image.fromarray(picture).resize((2 * SIDE, 2 * SIDE), Image.Resampling.NEAREST)
            corner = GAP + column * step, GAP + row * step
            canvas.paste(scaled, corner)
            title = f"{places[row]}, {times[column]}" if column < len(times) else f"{places[row]}, classes"
            box = draw.textbbox((corner[0] + GAP, corner[1] + GAP), title, font=font)
            draw.rectangle((*corner, box[2] + GAP, box[3] + GAP), fill="white")
            draw.text((corner[0] + GAP, corner[1] + GAP), title, fill="black", font=font)
    draw_legend(canvas, catalog.classes, len(sheets) * step + GAP, TITLE)
    return canvas


def _variety(catalog: "Catalog", patches: "pd.DataFrame", zone: str, time: str) -> int:
    from benchmark.data.patches import read_patches  # needs pandas and rasterio

    rows = patches[(patches["zone"] == zone) & (patches["time"] == time)]
    return len(
        {value for _, row in rows.iterrows() for value in np.unique(read_patches(catalog, row.to_frame().T).masks)}
    )


def _scene(catalog: "Catalog", rows: "pd.DataFrame") -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the patches of a zone at one time as one picture, and their classes as another."""
    from benchmark.data.patches import read_patches

    across, down = (np.unique(values, return_inverse=True)[1] for values in (rows["x"], -rows["y"]))
    size = catalog.patch_size
    shape = (size * (int(down.max()) + 1), size * (int(across.max()) + 1), 3)
    rgb, classes = np.full(shape, 255, np.uint8), np.full(shape, 255, np.uint8)
    patches = [read_patches(catalog, row.to_frame().T) for _, row in rows.iterrows()]
    pictures = to_rgb(np.concatenate([decoded.images for decoded in patches]), catalog.bands)
    for decoded, picture, right, below in zip(patches, pictures, across, down, strict=True):
        place = np.s_[below * size : (below + 1) * size, right * size : (right + 1) * size]
        rgb[place] = picture
        classes[place] = colorize(decoded.masks, catalog.classes)[0]
    return rgb, classes
