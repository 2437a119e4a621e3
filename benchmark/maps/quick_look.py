"""A quick look at a map as one picture: image, classes and confidence beside each other, with legend and facts."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmark.data.patch_images import fitting, letters
from benchmark.maps.legend import Legend
from benchmark.maps.map_file import MapFile, name_of
from benchmark.maps.small import SmallMap, ground_pixel, north
from benchmark.maps.zone_counts import ZoneCounts

PANEL = 640  # pixels of the longer side of a panel
_GAP, _LINE, _TEXT, _HEAD = 16, 22, 14, 20
_BAR = 22  # height of the bar of the confidence
_PER_COLUMN = 8  # classes
WORDS = {
    "run": "run",
    "method": "method",
    "protocol": "protocol",
    "fold": "held-out fold",
    "seed": "seed",
    "training_domains": "trained on",
    "weights": "weights",
    "image": "image",
    "image_date": "date of the image",
    "bands": "bands",
    "resolution": "resolution",
    "resampled_from": "resampled from",
    "tiling": "tiling",
    "adapted_on_the_way": "adapted on the way",
    "no_data_share": "share without data",
    "software": "software",
    "compared": "compared",
}
"""Facts of a map in words."""


def palette(legend: Legend) -> NDArray[np.uint8]:
    """Return the colour (256, 3) of each value of a map; no data, and what is no class, is white."""
    colors = np.full((256, 3), 255, np.uint8)
    for each in legend.classes:
        colors[each.value] = each.rgb
    return colors


def confidence_palette() -> NDArray[np.uint8]:
    """Return the colour (256, 3) of each percent of confidence, dark for little; no data is white."""
    import matplotlib

    shades = matplotlib.colormaps["viridis"](np.linspace(0, 1, 101))[:, :3]
    return np.concatenate([np.rint(255 * shades), np.full((155, 3), 255)]).astype(np.uint8)


def facts_of(made: MapFile) -> list[tuple[str, str]]:
    """Return what a map says of itself as pairs of words and values, size and coordinates included."""
    size = f"{made.width:,} x {made.height:,} pixels"
    metres = ground_pixel(made)
    if metres is not None:
        size += f" of {metres:.3g} m"
    place = "none" if made.crs is None else made.crs.to_string() if made.crs.to_epsg() else made.crs.to_wkt()[:60]
    known = [(WORDS[name], text) for name, text in made.facts.items() if text and name in WORDS]
    return [("size", size), ("coordinate system", place), ("coding", made.legend.coding), *known]


def scale_bar(pixel: float, longest: float) -> tuple[float, str]:
    """Return a round length for a scale bar, at most so many pixels long, in pixels, and its label.

    Args:
        pixel: side of a pixel in metres.
        longest: longest bar, in pixels.
    """
    most = pixel * longest
    power = 10.0 ** math.floor(math.log10(most))
    length = max(step * power for step in (1, 2, 5) if step * power <= most)
    return length / pixel, f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"


def draw_quick_look(
    made: MapFile,
    small: SmallMap,
    counts: ZoneCounts,
    warnings: Sequence[str] = (),
    titles: tuple[str, str] = ("classes", "confidence"),
) -> Image.Image:
    """Draw the picture.

    Args:
        made: the map.
        small: its pixels, at least `PANEL` on the longer side unless the map is smaller.
        counts: its classes.
        warnings: texts above the panels, in red.
        titles: titles of the classes and of their confidence.
    """
    panels = [("image", small.image)] if small.image is not None else []
    panels.append((titles[0], palette(made.legend)[small.classes]))
    if small.confidence is not None:
        panels.append((titles[1], confidence_palette()[small.confidence]))
    height, width = small.classes.shape
    zoom = PANEL / max(height, width)
    drawn = max(1, round(width * zoom)), max(1, round(height * zoom))
    column = max(drawn[0], PANEL // 2)
    text, head = letters(_TEXT), letters(_HEAD)
    lines = [line for warning in warnings for line in _wrap(f"! {warning}", 118 * len(panels) * column // PANEL)]
    entries = _entries(made.legend, counts)
    rows = min(len(entries), _PER_COLUMN)
    facts = [f"{word}: {value}" for word, value in facts_of(made)]
    fact_columns = 2 if len(panels) > 2 else 1
    fact_rows = -(-len(facts) // fact_columns)
    below = _LINE * (max(rows, fact_rows) + 1)
    top = 2 * _GAP + _HEAD + len(lines) * _LINE
    size = len(panels) * (column + _GAP) + _GAP, top + _LINE + drawn[1] + 3 * _LINE + below + _GAP
    size = max(size[0], 2 * PANEL), size[1]
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _GAP), fitting(draw, name_of(made.path), size[0] - 2 * _GAP, head), fill="black", font=head)
    for number, line in enumerate(lines):
        draw.text((_GAP, 2 * _GAP + _HEAD + number * _LINE), line, fill="#b3261e", font=text)
    for number, (title, pixels) in enumerate(panels):
        left = _GAP + number * (column + _GAP)
        draw.text((left, top), fitting(draw, title, column, text), fill="black", font=text)
        exact = Image.Resampling.BOX if title == "image" and zoom < 1 else Image.Resampling.NEAREST
        canvas.paste(Image.fromarray(pixels).resize(drawn, exact), (left, top + _LINE))
        draw.rectangle((left - 1, top + _LINE - 1, left + drawn[0], top + _LINE + drawn[1]), outline="#888888")
        if title == titles[1]:
            _draw_shades(canvas, left, top + _LINE + drawn[1] + 8, min(drawn[0], PANEL // 2))
    under = top + _LINE + drawn[1]
    _draw_scale(draw, made, small.pixel / zoom, under)
    _draw_legend(draw, entries, rows, under + 3 * _LINE)
    left = max(size[0] * 2 // 5, _GAP + column + _GAP)
    width = (size[0] - left) // fact_columns
    for number, fact in enumerate(facts):
        place = left + number // fact_rows * width, under + 3 * _LINE + number % fact_rows * _LINE
        draw.text(place, _beginning(draw, fact, width - _GAP, text), fill="#333333", font=text)
    return canvas


def _draw_scale(draw: ImageDraw.ImageDraw, made: MapFile, pixel: float, top: int) -> None:
    """Draw a bar of a round length, and where north is.

    Args:
        pixel: side of a pixel of the picture, in pixels of the map.
    """
    font, metres = letters(_TEXT), ground_pixel(made)
    length, label = scale_bar((metres or 1) * pixel, PANEL / 3)
    label = label if metres else f"{length * pixel:.0f} pixels"
    y = top + _LINE
    draw.rectangle((_GAP, y, _GAP + length, y + 4), fill="black")
    draw.text((_GAP + length + 8, y + 2), label, fill="black", font=font, anchor="lm")
    if metres:
        angle, middle = math.radians(north(made.transform)), (_GAP + length + 130, y + 2)
        tip = middle[0] + 14 * math.sin(angle), middle[1] - 14 * math.cos(angle)
        sides = [
            (middle[0] + 10 * math.sin(angle + turn), middle[1] - 10 * math.cos(angle + turn)) for turn in (2.6, -2.6)
        ]
        draw.polygon([tip, sides[0], middle, sides[1]], fill="black")
        draw.text((middle[0] + 20, y + 2), "N", fill="black", font=font, anchor="lm")


def _draw_shades(canvas: Image.Image, left: int, top: int, width: int) -> None:
    shades = confidence_palette()[np.linspace(0, 100, width).astype(int)]
    canvas.paste(Image.fromarray(np.broadcast_to(shades, (_BAR - 8, width, 3)).copy()), (left, top))
    draw, font = ImageDraw.Draw(canvas), letters(_TEXT)
    for share, anchor in ((0, "la"), (0.5, "ma"), (1, "ra")):
        draw.text((left + share * width, top + _BAR - 6), f"{share:.0%}", fill="black", font=font, anchor=anchor)


def _entries(legend: Legend, counts: ZoneCounts) -> list[tuple[str, str, str]]:
    """Return colour, share and name of the classes of the legend that the map has, by their share; few are left out."""
    order = counts.by_frequency
    most = 2 * _PER_COLUMN - 2
    entries = [
        (legend.classes[number].color, f"{counts.shares[number]:.1%}", legend.classes[number].name)
        for number in order[:most]
    ]
    if rest := order[most:]:
        share = sum(counts.shares[number] for number in rest)
        entries.append(("#ffffff", f"{share:.1%}", f"{len(rest)} further classes"))
    if counts.no_data:
        share = counts.no_data / (sum(counts.pixels) + counts.no_data)
        entries.append(("#ffffff", f"{share:.1%}", "of all pixels: no data"))
    return entries


def _draw_legend(draw: ImageDraw.ImageDraw, entries: Sequence[tuple[str, str, str]], rows: int, top: int) -> None:
    font = letters(_TEXT)
    for number, (color, share, name) in enumerate(entries):
        x, y = _GAP + number // rows * (PANEL // 2), top + number % rows * _LINE
        draw.rectangle((x, y + 2, x + 14, y + 16), fill=color, outline="black")
        draw.text((x + 72, y), share, fill="black", font=font, anchor="ra")
        draw.text((x + 82, y), _beginning(draw, name, PANEL // 2 - 90, font), fill="black", font=font)


def _beginning(draw: ImageDraw.ImageDraw, text: str, width: int, font: Any) -> str:
    """Return the beginning of a text that is too wide."""
    while len(text) > 2 and draw.textlength(text, font=font) > width:
        text = f"{text[:-2]}…"
    return text


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 40))
