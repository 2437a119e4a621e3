"""Maps read piece by piece, so that memory does not grow with them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.data.raster import open_raster, readable
from benchmark.maps.legend import NO_DATA
from benchmark.maps.map_file import MapFile

SIDE = 1024  # of a piece, in pixels; a multiple of the blocks of a map
OnProgress = Callable[[int, int], None]
"""Function that is called with the number of pieces that are done, and of all."""
Item = TypeVar("Item")


def pieces(window: Window, side: int | None = None) -> list[Window]:
    """Return windows of at most `SIDE`, or another side, that cover a window, row by row, from left to right."""
    side = side or SIDE
    bottom, right = window.row_off + window.height, window.col_off + window.width
    return [
        Window(column, row, min(side, right - column), min(side, bottom - row))
        for row in range(window.row_off, bottom, side)
        for column in range(window.col_off, right, side)
    ]


def tracked(items: Sequence[Item], on_progress: OnProgress | None) -> Iterator[Item]:
    """Yield items; after each, report how many are done."""
    for done, item in enumerate(items, 1):
        yield item
        if on_progress:
            on_progress(done, len(items))


def read_band(path: Path, window: Window) -> NDArray[np.uint8]:
    """Return a part (H, W) of the first band of a map; `NO_DATA` where the part is beyond the map.

    Raises:
        DataError: the file is damaged.
    """
    part = np.full((window.height, window.width), NO_DATA, np.uint8)
    with readable(path), open_raster(path) as file:
        rows, columns = (
            slice(max(first, 0), max(min(first + length, most), 0))
            for first, length, most in (
                (window.row_off, window.height, file.height),
                (window.col_off, window.width, file.width),
            )
        )
        if rows.stop > rows.start and columns.stop > columns.start:
            place = np.s_[rows.start - window.row_off :, columns.start - window.col_off :]
            inner = Window.from_slices((rows.start, rows.stop), (columns.start, columns.stop))
            part[place][: inner.height, : inner.width] = file.read(1, window=inner)
    return part


def read_classes(made: MapFile, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return the classes (H, W) of a part of a map by their number in the legend, and their confidence in percent.

    The number of classes means that there is no data. The confidence is None where the map has none.

    Raises:
        DataError: a file is damaged, holds what is no class or no percent, or the confidence has another size.
    """
    size = len(made.legend.classes)
    table = np.full(256, NO_DATA, np.uint8)
    table[[*made.legend.values, NO_DATA]] = range(size + 1)
    stored = read_band(made.path, window)
    numbers = table[stored]
    if (numbers > size).any():
        raise DataError(f"{made.path}: holds the value {stored[numbers > size][0]}, which is no class of its legend")
    if made.confidence is None:
        return numbers, None
    percent = read_band(made.confidence, window)
    if (percent[numbers < size] > 100).any():
        raise DataError(f"{made.confidence}: is above 100 percent, or has no data, where {made.path} has a class")
    return numbers, percent
