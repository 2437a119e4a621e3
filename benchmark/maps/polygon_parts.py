"""Parts of polygons that were made tile by tile, put together across the edges of the tiles."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from benchmark.maps.legend import NO_DATA

_NONE = -1


@dataclass(frozen=True)
class MapPatches:
    """Polygons of a map, each of one class.

    Attributes:
        polygons: (n,) polygons in pixels of the map.
        values: (n,) uint8, the values of their classes.
        sums: (n, 3) float64: area in m², sum of the percents of confidence, number of pixels that have one.
    """

    polygons: NDArray[np.object_]
    values: NDArray[np.uint8]
    sums: NDArray[np.float64]


NOTHING = MapPatches(np.empty(0, object), np.empty(0, np.uint8), np.empty((0, 3)))


@dataclass
class _Open:
    """A patch that a later tile may add to."""

    polygons: list[shapely.Polygon]
    value: int
    sums: NDArray[np.float64]


class Parts:
    """Patches of the tiles of a window of a map, which come row by row, from left to right.

    A patch that touches no edge of its tile is whole at once. The others are kept, by numbers that count up, until no
    pixel of theirs is in the last line of a row of tiles.
    """

    def __init__(self, window: Window) -> None:
        self._left = window.col_off
        self._above = np.full(window.width, _NONE)  # numbers of the patches in the line above the tiles to come
        self._beside = np.empty(0, int)  # those in the column left of the tile to come
        self._open: dict[int, _Open] = {}
        self._parent: dict[int, int] = {}
        self._next = 0

    def add(self, tile: Window, patches: MapPatches, owners: NDArray[np.int32]) -> MapPatches:
        """Take the patches of a tile, and return those that are whole; no data is left out.

        Args:
            tile: place of the tile.
            patches: its patches.
            owners: (h, w), the patch of each pixel.
        """
        at_edge = np.zeros(len(patches.polygons), bool)
        for line in (owners[0], owners[-1], owners[:, 0], owners[:, -1]):
            at_edge[line] = True
        data = patches.values != NO_DATA
        numbers = np.where(at_edge & data, self._next + np.arange(len(data)), _NONE)
        self._next += len(data)
        for place in np.flatnonzero(at_edge & data).tolist():
            number = int(numbers[place])
            self._parent[number] = number
            self._open[number] = _Open([patches.polygons[place]], int(patches.values[place]), patches.sums[place])
        first = tile.col_off - self._left
        columns = slice(first, first + tile.width)
        self._join(self._above[columns], numbers[owners[0]])
        if first:
            self._join(self._beside, numbers[owners[:, 0]])
        self._above[columns], self._beside = numbers[owners[-1]], numbers[owners[:, -1]]
        whole = ~at_edge & data
        return MapPatches(patches.polygons[whole], patches.values[whole], patches.sums[whole])

    def close_row(self, last: bool = False) -> MapPatches:
        """Return the patches that end in this row of tiles; all that there are if it is the last."""
        below = set() if last else {self._find(number) for number in np.unique(self._above).tolist() if number != _NONE}
        ended = [self._open.pop(number) for number in list(self._open) if number not in below]
        kept = ((number, self._find(number)) for number in self._parent)
        self._parent = {number: first for number, first in list(kept) if first in self._open}
        polygons = [each.polygons[0] if len(each.polygons) == 1 else shapely.union_all(each.polygons) for each in ended]
        sums = np.array([each.sums for each in ended]).reshape(-1, 3)
        objects = np.array([*polygons, None], object)[:-1]  # an array of objects also where there is none
        return MapPatches(objects, np.array([each.value for each in ended], np.uint8), sums)

    def _join(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        """Make one patch of those of the same class that meet, given by their numbers (n,) on both sides of a line."""
        both = (one != _NONE) & (other != _NONE)
        for left, right in np.unique(np.stack([one[both], other[both]]), axis=1).T.tolist():
            first, second = sorted((self._find(left), self._find(right)))
            if first != second and self._open[first].value == self._open[second].value:
                kept, added = self._open[first], self._open.pop(second)
                kept.polygons += added.polygons
                kept.sums = kept.sums + added.sums
                self._parent[second] = first

    def _find(self, number: int) -> int:
        while (parent := self._parent[number]) != number:
            self._parent[number] = self._parent[parent]
            number = parent
        return number
