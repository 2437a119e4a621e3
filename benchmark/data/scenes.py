"""Scenes: images too large to be read at once. Their windows are read piece by piece, and empty ones left out."""

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rasterio.windows import Window

from benchmark.data.areas import blocks_present, may_lack_data, piece_of
from benchmark.data.catalog_cache import FOLDER, stamp
from benchmark.data.raster import read_pixels, scene

_LOG = logging.getLogger(__name__)
_WHOLE = (1 << 40, 1 << 40)
Size = tuple[int, int]
"""Height and width, or row and column."""


@dataclass(frozen=True)
class ImagePart:
    """A part of an image that is read at once; made without arguments it is the whole.

    Attributes:
        area: its pixels in the file; None for all.
        corner: row and column of its top-left pixel after shrinking.
        size: height and width after shrinking; None where they follow from what is read.
        whole, small: height and width of the image in the file, and after shrinking; None where they follow likewise.
    """

    area: Window | None = None
    corner: Size = (0, 0)
    size: Size | None = None
    whole: Size | None = None
    small: Size | None = None


def part_of(whole: Size, small: Size, corners: Sequence[Size], size: int) -> ImagePart:
    """Return the part of an image that holds some windows.

    Args:
        whole: height and width of the image.
        small: the same after shrinking.
        corners: row and column of each window's top-left pixel, after shrinking.
        size: side of a window.
    """
    rows, columns = zip(*corners, strict=True)
    top, left = min(rows), min(columns)
    bottom, right = min(max(rows) + size, small[0]), min(max(columns) + size, small[1])
    (up, down), (before, after) = _pixels(top, bottom, whole[0], small[0]), _pixels(left, right, whole[1], small[1])
    area = Window(before, up, after - before, down - up)
    return ImagePart(area, (top, left), (bottom - top, right - left), whole, small)


def _pixels(start: int, end: int, whole: int, small: int) -> Size:
    """Return the range of pixels that a range of shrunk pixels is made of."""
    return start * whole // small, -(-end * whole // small)


def windows_of(
    path: Path, names: Sequence[str], whole: Size, small: Size, corners: list[Size], size: int
) -> tuple[list[Size], Size | None]:
    """Return the windows of an image that hold data; all, where the image is read at once.

    What a sparse GeoTIFF does not hold is known from its list of blocks. Where a nodata tag, a mask or an alpha band
    may say that pixels hold no data, the blocks are read once, and what was found is kept in `.landshift/catalogs`.

    Args:
        path: path of the image.
        names: names of the file's bands.
        whole, small, corners, size: see `part_of`.

    Returns:
        Row and column of the windows, and how many windows down and across a piece of the scene holds; None where the
        image is read at once.

    Raises:
        DataError: the file cannot be read, or does not hold these bands.
    """
    with scene(path) as file:
        if file is None:
            return corners, None
        piece = piece_of(file, size * max(whole[0] / small[0], whole[1] / small[1]))
        blocks, block = blocks_present(file, Window(0, 0, file.width, file.height)), file.block_shapes[0]
        lacking = may_lack_data(file)

    def area_of(*some: Size) -> Window:
        return part_of(whole, small, some, size).area

    if blocks is not None:
        corners = [corner for corner in corners if _slices(area_of(corner), (0, 0), block, blocks).any()]
    if not lacking:
        return corners, piece
    key = hashlib.sha256(repr((str(path), stamp(str(path)), names, small, corners, size)).encode()).hexdigest()[:16]
    kept = FOLDER / f"{key}.npy"
    full = _kept(kept, len(corners))
    if full is None:
        _LOG.info("%s: looking for the windows that hold data", path)
        full = np.zeros(len(corners), np.bool_)
        for numbers in _pieces(corners, piece, size):
            area = area_of(*(corners[number] for number in numbers))
            valid = read_pixels(path, names, area).valid
            start = area.row_off, area.col_off
            for number in numbers:
                full[number] = valid is None or _slices(area_of(corners[number]), start, (1, 1), valid).any()
        _keep(kept, full)
    return [corner for corner, holds in zip(corners, full.tolist(), strict=True) if holds], piece


def _slices(area: Window, start: Size, block: Size, array: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the part of an array of blocks, or of pixels, that an area meets; the array begins at a start."""
    row, column = area.row_off - start[0], area.col_off - start[1]
    rows = slice(row // block[0], -(-(row + area.height) // block[0]))
    return array[rows, column // block[1] : -(-(column + area.width) // block[1])]


def _pieces(corners: Sequence[Size], piece: Size, size: int) -> list[list[int]]:
    """Return the numbers of the windows of each piece."""
    numbers: dict[Size, list[int]] = defaultdict(list)
    for number, (row, column) in enumerate(corners):
        numbers[row // (piece[0] * size), column // (piece[1] * size)].append(number)
    return list(numbers.values())


def _kept(file: Path, count: int) -> NDArray[np.bool_] | None:
    try:
        kept = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return kept if kept.shape == (count,) and kept.dtype == np.bool_ else None


def _keep(file: Path, full: NDArray[np.bool_]) -> None:
    """Write what was found; a folder that cannot be written costs time only."""
    half = file.with_name(f".{os.getpid()}.{file.name}")
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        np.save(half, full)
        half.replace(file)
    except OSError as error:
        _LOG.warning("what was found cannot be kept, and will be looked for again each time: %s", error)


def units(patches: pd.DataFrame, pieces: Mapping[str, Size], size: int) -> "pd.Series[str]":
    """Return a name for each patch of what is read at once for it: its image, or the piece of a scene.

    Args:
        patches: table with the columns image, row and column.
        pieces: windows down and across a piece of each scene, by the path of the image.
        size: side of a patch.
    """
    if not pieces:
        return patches["image"]
    sides = np.array([pieces.get(path, _WHOLE) for path in patches["image"]]) * size
    down, across = patches["row"] // sides[:, 0], patches["column"] // sides[:, 1]
    return patches["image"] + ":" + down.astype(str) + ":" + across.astype(str)
