"""Patches: windows cut from images and masks."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from benchmark.common.errors import DataError
from benchmark.data.catalog import Catalog
from benchmark.data.classes import IGNORE
from benchmark.data.layers import read_files
from benchmark.data.masks import read_indices
from benchmark.data.means import mean_of_part
from benchmark.data.numbers import fill_in, without_gaps
from benchmark.data.raster import image_header
from benchmark.data.scenes import ImagePart, part_of

_WHOLE = ImagePart()
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


def rescale(
    array: NDArray, scale: float, resampling: Image.Resampling = Image.Resampling.BOX, part: ImagePart = _WHOLE
) -> NDArray:
    """Shrink a (..., H, W) array by the mean over each new pixel's area or, with ``NEAREST``, by picking one.

    Of a part of an image the pixels are those that the whole would give there.
    """
    if scale == 1:
        return array
    size = part.size or rescaled_size(array.shape[-2], array.shape[-1], scale)
    planes = array.reshape(-1, *array.shape[-2:])
    if array.dtype != np.uint8:
        planes = planes.astype(np.float32)  # pillow averages 8-bit and float planes only
    if part.area and part.whole and part.small:
        stack = mean_of_part(planes, part.whole, part.small, (part.area.row_off, part.area.col_off), part.corner, size)
    else:
        stack = np.stack([np.asarray(Image.fromarray(plane).resize(size[::-1], resampling)) for plane in planes])
    stack = stack.reshape(*array.shape[:-2], *size)
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
    size, images = catalog.patch_size, rows["image"].tolist()
    image_path, mask_path = Path(images[0]), rows["mask"].iloc[0]
    if len({*images}) != 1:
        raise ValueError("the rows of read_patches must be on one image")
    catalog = catalog.member(str(image_path))
    corners = list(zip(rows["row"].tolist(), rows["column"].tolist(), strict=True))
    part = _part(image_path, catalog.scale, corners, size) if str(image_path) in catalog.pieces else _WHOLE
    files = [image_path, *map(Path, catalog.files.get(str(image_path), ()))]
    pixels = read_files(files, catalog.file_bands or catalog.bands, part.area, heights=catalog.heights)
    image = pixels.bands
    if catalog.file_bands:
        used = [catalog.file_bands.index(band) for band in catalog.bands]
        in_a_row = used == [*range(used[0], used[-1] + 1)]  # then no copy is needed
        image = image[used[0] : used[-1] + 1] if in_a_row else image[used]
    whole = part.whole or image.shape[1:]
    image, with_data = without_gaps(image_path, image, pixels.valid)
    pixels = replace(pixels, valid=with_data)
    image, valid = rescale(image, catalog.scale, part=part), _sure(with_data, catalog.scale, part)
    height, width = image.shape[1:]
    mask = np.full((height, width), IGNORE, np.uint8)
    unknown: dict[int, int] = {}
    if mask_path:
        indices, unknown = read_indices(catalog, Path(mask_path), image_path, pixels, whole, part.area)
        mask = _picked(indices, whole, catalog.scale, part)
    if valid is not None:
        mask = np.where(valid, mask, np.uint8(IGNORE))
    corners = [(row - part.corner[0], column - part.corner[1]) for row, column in corners]
    if any(row >= height or column >= width for row, column in corners):
        raise _outdated(image_path)
    sure = None if valid is None else np.stack([_cut(valid, *corner, size, mode="edge") for corner in corners])
    return Patches(
        images=fill_in(np.stack([_cut(image, *corner, size, mode="edge") for corner in corners]), sure),
        masks=np.stack([_cut(mask, *corner, size, mode="constant", constant_values=IGNORE) for corner in corners]),
        has_mask=bool(mask_path),
        unknown=unknown,
        valid=sure,
    )


def _part(path: Path, scale: float, corners: list[tuple[int, int]], size: int) -> ImagePart:
    whole, _ = image_header(path)
    small = rescaled_size(*whole, scale)
    if any(row >= small[0] or column >= small[1] for row, column in corners):
        raise _outdated(path)
    return part_of(whole, small, corners, size)


def _outdated(path: Path) -> DataError:
    return DataError(f"{path}: smaller than when the catalog was made; make the catalog again")


def _sure(valid: NDArray[np.bool_] | None, scale: float, part: ImagePart) -> NDArray[np.bool_] | None:
    """Return whether all that each pixel of the shrunk image was made of has data; None where all have."""
    if valid is None or valid.all():
        return None
    return np.asarray(rescale(valid.astype(np.uint8) * 255, scale, part=part) == 255)


def _picked(indices: NDArray[np.uint8], whole: tuple[int, int], scale: float, part: ImagePart) -> NDArray[np.uint8]:
    """Shrink (H, W) class indices by picking pixels: of a part of an image those that are picked of the whole."""
    if scale == 1:
        return indices
    starts = (part.area.row_off, part.area.col_off) if part.area else (0, 0)
    sizes = part.size or rescaled_size(*whole, scale)
    rows, columns = (
        _nearest(length, scale)[corner : corner + size] - start
        for length, corner, size, start in zip(whole, part.corner, sizes, starts, strict=True)
    )
    return indices.take(rows, 0).take(columns, 1)  # four times as fast as both at once


@lru_cache(maxsize=64)
def _nearest(length: int, scale: float) -> NDArray[np.int32]:
    """Return which of so many pixels in a line is picked for each pixel of the shrunk line."""
    return rescale(np.arange(length, dtype=np.int32)[None], scale, Image.Resampling.NEAREST)[0]


def _cut(array: NDArray, row: int, column: int, size: int, **padding: object) -> NDArray:
    window = array[..., row : row + size, column : column + size]
    height, width = window.shape[-2:]
    if (height, width) == (size, size):
        return window
    ends = [(0, 0)] * (array.ndim - 2) + [(0, size - height), (0, size - width)]
    return np.pad(window, ends, **padding)  # type: ignore[call-overload]
