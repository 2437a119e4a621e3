"""Patches: windows cut from images and masks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from benchmark.common.errors import DataError
from benchmark.data.bands import both
from benchmark.data.catalog import Catalog
from benchmark.data.classes import IGNORE, ClassSet
from benchmark.data.georeference import Georeference, laid_on
from benchmark.data.numbers import fill_in
from benchmark.data.raster import MaskPixels, read_labels, read_pixels

_MIN_CONTENT = 0.25  # of a window; what holds less image than this is nearly all padding


@dataclass(frozen=True)
class Patches:
    """Decoded patches of one image.

    Attributes:
        images: (N, C, S, S) in the type of the file, see `benchmark.data.numbers`.
        masks: (N, S, S) uint8 class indices; `IGNORE` in padding, in ignored and unknown classes, and everywhere if
            the image has no mask.
        has_mask: whether the image has a mask.
        unknown: number of pixels of each value (or packed colour, see `ClassSet.describe`) of the mask file that is no
            known class.
        valid: (N, S, S) bool, False where the image has no data (its labels are ignored); None where it has everywhere.
    """

    images: NDArray
    masks: NDArray[np.uint8]
    has_mask: bool
    unknown: dict[int, int]
    valid: NDArray[np.bool_] | None = None


def rescaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return height and width in pixels after `rescale`."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def rescale(array: NDArray, scale: float, resampling: Image.Resampling = Image.Resampling.BOX) -> NDArray:
    """Shrink a (..., H, W) array by the mean over each new pixel's area or, with ``NEAREST``, by picking one."""
    if scale == 1:
        return array
    height, width = rescaled_size(array.shape[-2], array.shape[-1], scale)
    planes = array.reshape(-1, *array.shape[-2:])
    if array.dtype != np.uint8:
        planes = planes.astype(np.float32)  # pillow averages 8-bit and float planes only
    small = [np.asarray(Image.fromarray(plane).resize((width, height), resampling)) for plane in planes]
    stack = np.stack(small).reshape(*array.shape[:-2], height, width)
    return stack if stack.dtype == array.dtype else np.rint(stack).astype(array.dtype)


def windows(height: int, width: int, size: int) -> list[tuple[int, int]]:
    """Cut an image into a grid of square windows that do not overlap.

    The last row and column may stick out of the image. Windows of which less than a quarter is image are dropped,
    unless none would be left.

    Returns:
        (row, column) of each window's top-left pixel, in reading order.
    """
    grid = [(row, column) for row in range(0, height, size) for column in range(0, width, size)]

    def content(row: int, column: int) -> float:
        return min(size, height - row) * min(size, width - column) / size**2

    return [corner for corner in grid if content(*corner) >= _MIN_CONTENT] or grid


def read_patches(catalog: Catalog, rows: pd.DataFrame) -> Patches:
    """Read the patches of one image.

    Args:
        catalog: catalog of the rows.
        rows: rows of ``catalog.patches``, all on the same image.

    Returns:
        One patch a row, in the order of the rows. Where a window sticks out of the image, the image is continued by its
        border pixels (black would be a new colour of its own) and the mask by `IGNORE`.

    Raises:
        DataError: a file is missing, truncated or of another kind than the catalog says; mask and image differ in
            size; too many mask pixels are no known class.
    """
    image_path, mask_path = Path(rows["image"].iloc[0]), rows["mask"].iloc[0]
    if rows["image"].nunique() != 1:
        raise ValueError("the rows of read_patches must be on one image")
    pixels = read_pixels(image_path, catalog.file_bands or catalog.bands)
    image = pixels.bands
    if catalog.file_bands:
        image = image[[catalog.file_bands.index(band) for band in catalog.bands]]
    original_size = image.shape[1:]
    image, with_data = fill_in(image_path, image, pixels.valid)
    image, valid = rescale(image, catalog.scale), _sure(with_data, catalog.scale)
    height, width = image.shape[1:]
    mask = np.full((height, width), IGNORE, np.uint8)
    unknown: dict[int, int] = {}
    if mask_path:
        labels = read_labels(Path(mask_path), catalog.classes.colors_in_mask, catalog.classes.known_values)
        _check_sizes(labels.values.shape[:2], original_size, mask_path, image_path)
        labels = _laid_on(labels, Path(mask_path), pixels.place, image_path)
        indices, unknown = _encode(catalog, labels, Path(mask_path), with_data)
        mask = rescale(indices, catalog.scale, Image.Resampling.NEAREST)
    if valid is not None:
        mask = np.where(valid, mask, np.uint8(IGNORE))
    corners = list(zip(rows["row"].tolist(), rows["column"].tolist(), strict=True))
    if any(row >= height or column >= width for row, column in corners):
        raise DataError(f"{image_path}: smaller than when the catalog was made; make the catalog again")
    size = catalog.patch_size
    return Patches(
        images=np.stack([_cut(image, *corner, size, mode="edge") for corner in corners]),
        masks=np.stack([_cut(mask, *corner, size, mode="constant", constant_values=IGNORE) for corner in corners]),
        has_mask=bool(mask_path),
        unknown=unknown,
        valid=None if valid is None else np.stack([_cut(valid, *corner, size, mode="edge") for corner in corners]),
    )


def _sure(valid: NDArray[np.bool_] | None, scale: float) -> NDArray[np.bool_] | None:
    """Return whether all that each pixel of the shrunk image was made of has data; None where all have."""
    if valid is None or valid.all():
        return None
    return np.asarray(rescale(valid.astype(np.uint8) * 255, scale) == 255)


def _encode(
    catalog: Catalog, labels: MaskPixels, path: Path, valid: NDArray[np.bool_] | None
) -> tuple[NDArray[np.uint8], dict[int, int]]:
    """Return class indices, ignored where mask or image hold no data, and the pixels of each unknown value."""
    labelled = both(labels.valid, valid)
    indices, unknown = catalog.classes.encode(labels.values, labelled)
    _check_unknown(path, catalog.classes, unknown, indices.size, catalog.unknown_share)
    if labels.valid is not None:
        if labels.doubt and (guessed := np.unique(indices[~labels.valid & (indices != IGNORE)])).size:
            names = ", ".join(catalog.classes.names[index] for index in guessed)
            raise DataError(
                f"{path}: {labels.doubt}, so these pixels have no label, but in the description they are {names}; "
                "remove one of the two"
            )
        indices[~labels.valid] = IGNORE
    return indices, unknown


def _laid_on(labels: MaskPixels, path: Path, place: Georeference | None, image: Path) -> MaskPixels:
    values = laid_on(labels.values, labels.place, place, path, image)
    if labels.valid is None:
        return MaskPixels(values, None, labels.doubt)
    return MaskPixels(values, laid_on(labels.valid, labels.place, place, path, image), labels.doubt)


def _check_sizes(mask: tuple[int, ...], image: tuple[int, ...], mask_path: str, image_path: Path) -> None:
    if mask == image:
        return
    turned = "; turned by a quarter they fit: one of them lost its orientation tag, or alone has one"
    sizes = f"{_size(mask)} pixels, but its image {image_path} has {_size(image)}"
    raise DataError(f"{mask_path}: {sizes}{turned if mask[::-1] == image else ''}")


def _size(shape: tuple[int, ...]) -> str:
    height, width = shape
    return f"{width} x {height}"


def _cut(array: NDArray, row: int, column: int, size: int, **padding: object) -> NDArray:
    window = array[..., row : row + size, column : column + size]
    height, width = window.shape[-2:]
    if (height, width) == (size, size):
        return window
    ends = [(0, 0)] * (array.ndim - 2) + [(0, size - height), (0, size - width)]
    return np.pad(window, ends, **padding)  # type: ignore[call-overload]


def _check_unknown(path: Path, classes: ClassSet, unknown: dict[int, int], pixels: int, allowed: float) -> None:
    share = sum(unknown.values()) / pixels
    if share <= allowed:
        return
    most = sorted(unknown.items(), key=lambda item: -item[1])
    commonest = ", ".join(f"{classes.describe(value)} ({count / pixels:.3%})" for value, count in most[:5])
    more = f" and {len(most) - 5} more" if len(most) > 5 else ""
    allowed_values = ", ".join(classes.describe(value) for value in sorted(classes.known_values))
    raise DataError(
        f"{path}: {share:.3%} of the pixels are no class of {classes.name}, at most {allowed:.3%} are allowed; "
        f"found {commonest}{more}; known are {allowed_values}"
    )
