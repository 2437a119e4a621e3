"""A series of satellite images of one place, and the parts of it that belong to a patch: pure functions."""

import datetime
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
SNOW, CLOUD = 0, 1
"""Numbers of the two covers."""

NO_DATA = 255
"""Both covers of a pixel that is outside of what was stored; its values are 0."""

PATCH = 40
"""Side in pixels of what FLAIR #2 takes of a series for a patch: 400 m around its 102.4 m."""

METRES = 10.0
"""Side of a pixel of a series."""


@dataclass(frozen=True, eq=False)
class Series:
    """Sentinel-2 images of one place.

    Attributes:
        values: (T, C, H, W) numbers as stored: reflectance times 10,000 (level 2A) of the bands `BANDS`, all on one
            grid of 10 m. They are uint16, int16, int32, float32 or float64, and float32 after monthly means.
        days: (T,) int32, days since 1970-01-01, in the order of the files.
        covers: (T, 2, H, W) uint8, probability in percent that a pixel shows snow, and a cloud; `NO_DATA` where
            there is no pixel.
    """

    values: NDArray
    days: NDArray[np.int32]
    covers: NDArray[np.uint8]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Return whether there is a pixel (T, H, W), be it covered by a cloud or not."""
        return np.asarray(self.covers[:, CLOUD] != NO_DATA)

    def days_after(self, reference: datetime.date) -> NDArray[np.int32]:
        """Return the position of each date (T,) int32: the days from the reference to it, negative before it.

        This is FLAIR-HUB's sign, whose reference is the 15th of May of the year. FLAIR #2's published code has the
        other sign (15 May 2021 minus the date), and puts all dates into 2021.
        """
        return self.days - np.int32((reference - datetime.date(1970, 1, 1)).days)

    def take(self, dates: NDArray[np.int64]) -> "Series":
        """Return the series of some dates (k,), by their numbers."""
        return Series(self.values[dates], self.days[dates], self.covers[dates])


def crop(series: Series, centre: tuple[int, int], size: int = PATCH) -> Series:
    """Return the square around a centre: rows ``row - size / 2`` up to, without, ``row + size / 2``, and so columns.

    What is beyond the edge is filled with 0 and has the covers `NO_DATA`, so that the centre stays in the middle. (The
    published code of FLAIR #2 slices plainly: a crop over the upper or left edge is then empty, since its negative
    start counts from the end, and one over the others smaller.)

    Args:
        centre: row and column in the series, as in FLAIR #2's file of centroids.
        size: even side in pixels.

    Returns:
        a view without a copy, where all of the square is inside.

    Raises:
        ValueError: the size is not even and positive, or the centre is outside.
    """
    if size <= 0 or size % 2:
        raise ValueError(f"the side of a crop is an even number of pixels, not {size}")
    sides = series.values.shape[-2:]
    if not all(0 <= place < side for place, side in zip(centre, sides, strict=True)):
        raise ValueError(f"the centre {centre} is outside of {sides[0]} x {sides[1]} pixels")
    starts = [place - size // 2 for place in centre]
    rows, columns = (slice(max(start, 0), start + size) for start in starts)
    values, covers = series.values[..., rows, columns], series.covers[..., rows, columns]
    ends = [
        (max(-start, 0), max(start + size - side, 0)) for start, side in zip(starts, sides, strict=True)
    ]  # of rows, then of columns
    if any(map(any, ends)):
        around = [(0, 0), (0, 0), *ends]
        values, covers = np.pad(values, around), np.pad(covers, around, constant_values=NO_DATA)
    return Series(values, series.days, covers)


def turn(array: NDArray, symmetry: int) -> NDArray:
    """Return an array (..., S, S) after one of the eight symmetries of the square.

    Their numbers are those of `benchmark.data.batches`.

    Args:
        symmetry: 0 to 7; modulo 4 the number of quarter turns against the clock; from 4 on flipped left to right after.
    """
    turned = np.rot90(array, symmetry % 4, axes=(-2, -1))
    return turned[..., ::-1] if symmetry >= 4 else turned


def centre_of_window(
    centre: tuple[int, int], corner: tuple[int, int], side: int, whole: int, cells: float, shape: tuple[int, int]
) -> tuple[int, int]:
    """Return row and column of the pixel of a series that is nearest to the middle of a window of an image.

    A window's series is cut around this pixel and turned as the window is (`turn`), so that both show the same ground.
    (The published code of FLAIR #2 turns the image alone.)

    Args:
        centre: row and column of the whole image's centre in the series.
        corner: upper row and left column of the window.
        side: side of the window in pixels of the image.
        whole: side of the image in its pixels.
        cells: side of a pixel of the image in pixels of the series: with 0.2 m and 10 m, 0.02.
        shape: rows and columns of the series; the result is inside.
    """
    moved = (
        place + math.floor((start + side / 2 - whole / 2) * cells + 0.5)
        for place, start in zip(centre, corner, strict=True)
    )
    row, column = (min(max(place, 0), edge - 1) for place, edge in zip(moved, shape, strict=True))
    return row, column
