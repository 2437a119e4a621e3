"""Pictures of patches: image, truth and prediction side by side, in the classes' colours."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmark.data.classes import IGNORE, ClassSet

SIDE = 192  # pixels of a patch in the picture
GAP = 6


def to_rgb(images: NDArray[np.uint8], bands: Sequence[str]) -> NDArray[np.uint8]:
    """Images (N, C, S, S) as (N, S, S, 3): the bands named red, green and blue, or the first three, or one as grey."""
    named = [list(bands).index(name) for name in ("red", "green", "blue") if name in bands]
    shown = named if len(named) == 3 else [0, 1, 2] if len(bands) >= 3 else [0, 0, 0]
    return images[:, shown].transpose(0, 2, 3, 1)


def colorize(masks: NDArray[np.uint8], classes: ClassSet) -> NDArray[np.uint8]:
    """Masks (N, S, S) of class indices as (N, S, S, 3) in the classes' colours; ignored pixels in the last colour."""
    return classes.palette()[np.where(masks == IGNORE, classes.num_classes, masks)]


def prediction_panel(
    images: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    classes: ClassSet,
    bands: Sequence[str],
) -> Image.Image:
    """One row a patch: image, truth, prediction (black where the truth is ignored); the classes' colours below.

    Args:
        images: (N, C, S, S) raw pixel values.
        truth, predicted: (N, S, S) class indices; 255 is ignored.
    """
    shown = np.where(truth == IGNORE, IGNORE, predicted).astype(np.uint8)
    columns = [to_rgb(images, bands), colorize(truth, classes), colorize(shown, classes)]
    step = SIDE + GAP
    legend_rows = -(-classes.num_classes // 3)
    canvas = Image.new("RGB", (3 * step + GAP, 20 + len(images) * step + GAP + 18 * legend_rows), "white")
    draw = ImageDraw.Draw(canvas)
    for column, (title, pictures) in enumerate(zip(("image", "truth", "prediction"), columns, strict=True)):
        draw.text((GAP + column * step, 4), title, fill="black")
        for row, picture in enumerate(pictures):
            patch = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            canvas.paste(patch, (GAP + column * step, 20 + row * step))
    for index, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True)):
        left, top = GAP + index % 3 * step, 20 + len(images) * step + 18 * (index // 3)
        draw.rectangle((left, top, left + 12, top + 12), fill=color, outline="black")
        draw.text((left + 18, top), name, fill="black")
    return canvas
