"""Counts over whole maps: pixels and mean confidence of each class, read in pieces."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from benchmark.data.raster import open_raster, readable
from benchmark.maps.legend import NO_DATA
from benchmark.maps.map_file import MapFile

SIDE = 2048  # of a piece, in pixels; a multiple of the blocks of a map
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Pixels and confidence of each class of a map.

    Attributes:
        pixels: pixels of each class, in the order of the legend.
        confidence: their mean confidence in percent; NaN where there is none.
        no_data: pixels without data.
    """

    pixels: tuple[int, ...]
    confidence: tuple[float, ...]
    no_data: int

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each class among the pixels with data, 0 to 1."""
        known = max(sum(self.pixels), 1)
        return tuple(count / known for count in self.pixels)


def pieces(height: int, width: int) -> Iterator[Window]:
    """Yield the windows of at most `SIDE` that cover a raster."""
    for row in range(0, height, SIDE):
        for column in range(0, width, SIDE):
            yield Window(column, row, min(SIDE, width - column), min(SIDE, height - row))


def count_classes(made: MapFile, on_progress: OnProgress | None = None) -> ClassCounts:
    """Count the pixels of each class of a map, and average their confidence.

    Raises:
        DataError: a file is damaged.
    """
    joint = np.zeros(1 << 16, np.int64)
    windows = list(pieces(made.height, made.width))
    for done, window in enumerate(windows, 1):
        classes = read_piece(made, window)
        percent = read_piece(made, window, confidence=True)
        joint += np.bincount((classes.astype(np.uint16) << 8 | percent).ravel(), minlength=1 << 16)
        if on_progress:
            on_progress(done, len(windows))
    table = joint.reshape(256, 256)
    rows = table[list(made.legend.values)]
    known = rows[:, :NO_DATA]
    with np.errstate(invalid="ignore"):
        means = known @ np.arange(NO_DATA) / known.sum(axis=1)
    return ClassCounts(tuple(rows.sum(axis=1).tolist()), tuple(means.tolist()), int(table[NO_DATA].sum()))


def read_piece(made: MapFile, window: Window, *, confidence: bool = False) -> NDArray[np.uint8]:
    """Return the classes or the confidence (h, w) of a part of a map; all `NO_DATA` where it has no confidence."""
    path = made.confidence if confidence else made.path
    if path is None:
        return np.full((window.height, window.width), NO_DATA, np.uint8)
    with readable(path), open_raster(path) as file:
        return np.asarray(file.read(1, window=window))
