"""Change between two maps of one ground: which class became which, where, and how sure both maps are of it."""

import csv
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.maps.cog import Kind, assemble
from benchmark.maps.comparable import doubts_of
from benchmark.maps.counts import OnProgress, pieces, read_piece
from benchmark.maps.legend import NO_DATA, Legend, MapClass
from benchmark.maps.map_file import CLASSES, CONFIDENCE, MapFile, name_of, read_map
from benchmark.maps.zone_counts import row_areas

NAME, TABLE = "change", ".csv"
"""Name of the map of change, and ending of its table."""
SURE = 80
"""Percent of confidence, in both maps together, from which on a change is counted as sure."""
SAME, OTHER, UNCHANGED = 0, 254, "no change"
_MOST_PAIRS = OTHER - 1
_GREY, _RARE = "#f2f2f2", "#222222"
_ON_GRID = 0.01  # of a pixel; what rounding of coordinates makes is far less


@dataclass(frozen=True, eq=False)
class Change:
    """Pixels that two maps of one ground agree on, and those that they do not.

    Attributes:
        legend: classes of both maps, (C).
        pixels: (C, C) int64, of each class of the first map those of each class of the second.
        area: (C, C) of these in m²; NaN where the maps name no coordinate system.
        confidence: (C, C) mean probability in percent that both maps are right; NaN where it is not known.
        sure_pixels, sure_area: those of at least `SURE` percent.
        doubts: what makes the maps differ although the ground may not have changed.
    """

    legend: Legend
    pixels: NDArray[np.int64]
    area: NDArray[np.float64]
    confidence: NDArray[np.float64]
    sure_pixels: NDArray[np.int64]
    sure_area: NDArray[np.float64]
    doubts: tuple[str, ...]

    @property
    def changed(self) -> float:
        """Share of the pixels with data in both maps that changed their class."""
        return float(1 - np.trace(self.pixels) / max(self.pixels.sum(), 1))


@dataclass(frozen=True)
class _Pair:
    """Two maps on the grid of the first.

    Attributes:
        rows, columns: pixels of the second map that are above, and left of, the first pixel of the first map.
    """

    a: MapFile
    b: MapFile
    rows: int
    columns: int

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the classes of both maps by their number, and the percent that both are right; `NO_DATA` if unknown.

        Raises:
            DataError: a map holds a value that is no class.
        """
        first = _numbers(self.a, self.a.legend, read_piece(self.a, window))
        second = _numbers(self.b, self.a.legend, self._second(window))
        known = (first != NO_DATA) & (second != NO_DATA)
        first[~known], second[~known] = NO_DATA, NO_DATA
        if not (self.a.confidence and self.b.confidence):
            return first, second, np.full(first.shape, NO_DATA, np.uint8)
        one, other = read_piece(self.a, window, confidence=True), self._second(window, confidence=True)
        both = (one.astype(np.uint16) * other + 50) // 100
        return first, second, np.where(known & (one <= 100) & (other <= 100), both, NO_DATA).astype(np.uint8)

    def _second(self, window: Window, *, confidence: bool = False) -> NDArray[np.uint8]:
        """Return a part of the second map on the grid of the first; `NO_DATA` where it does not reach."""
        part = np.full((window.height, window.width), NO_DATA, np.uint8)
        top, left = window.row_off + self.rows, window.col_off + self.columns
        bottom, right = min(top + window.height, self.b.height), min(left + window.width, self.b.width)
        above, before = max(-top, 0), max(-left, 0)
        if bottom > top + above and right > left + before:
            inner = Window(left + before, top + above, right - left - before, bottom - top - above)
            place = np.s_[above : above + inner.height, before : before + inner.width]
            part[place] = read_piece(self.b, inner, confidence=confidence)
        return part


def compare_maps(a: MapFile, b: MapFile, output: Path, on_progress: OnProgress | None = None) -> Change:
    """Compare two maps of one ground, and write what changed between them into a folder.

    There are a map of change (0 where both have one class, else the number of a pair of classes, see its legend), a
    map of the probability that both are right, as if their errors were independent, and a table of all pairs.

    Args:
        a, b: the earlier and the later map. The second is brought onto the grid of the first, by the nearest pixel.
        output: folder for `NAME` with the endings of a map, and ``change.csv``.
        on_progress: called with the number of pieces that are done, and of all.

    Raises:
        DataError: the maps have other classes, coordinate systems or resolutions, or no common ground.
    """
    pair, moved = _paired(a, b)
    windows = list(pieces(a.height, a.width))

    def report(done: int) -> None:
        if on_progress:
            on_progress(done, 2 * len(windows))

    sums = _PairSums(len(a.legend.classes))
    for number, window in enumerate(windows, 1):
        first, second, both = pair.read(window)
        sums.add(first, second, both, row_areas(a.transform, a.crs, window))
        report(number)
    doubts = [*doubts_of(a, b), *moved]
    change = sums.change(a.legend, doubts)
    if not change.pixels.sum():
        raise DataError(f"{a.path} and {b.path}: no pixel has data in both; give maps of one ground")
    change = sums.change(a.legend, [*doubts, *_doubt_of_confidence(change)])
    codes, legend = _coded(change)
    output.mkdir(parents=True, exist_ok=True)
    folder = output / f"{NAME}.part"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    endings: list[tuple[str, Kind]] = [(CLASSES, "classes")]
    if a.confidence and b.confidence:
        endings.append((CONFIDENCE, "confidence"))
    for number, window in enumerate(windows):
        first, second, both = pair.read(window)
        known = first != NO_DATA
        drawn = np.full(first.shape, NO_DATA, np.uint8)
        drawn[known] = codes[first[known], second[known]]
        for ending, _ in endings:
            _write_piece(folder / f"{number}{ending}", a, window, drawn if ending == CLASSES else both)
        report(len(windows) + number + 1)
    (output / f"{NAME}{CONFIDENCE}").unlink(missing_ok=True)
    facts = _facts(a, b, change)
    for ending, kind in reversed(endings):
        paths = [folder / f"{number}{ending}" for number in range(len(windows))]
        assemble(paths, output / f"{NAME}{ending}", legend, facts, kind)
    _write_table(output / f"{NAME}{TABLE}", change)
    shutil.rmtree(folder)
    return change


def change_map(output: Path) -> MapFile:
    """Return the map of change that `compare_maps` has written into a folder."""
    return read_map(output / f"{NAME}{CLASSES}")


def _paired(a: MapFile, b: MapFile) -> tuple[_Pair, list[str]]:
    """Return two maps on one grid, and what was done for that in words."""
    names = [{each.name for each in made.legend.classes} for made in (a, b)]
    if names[0] != names[1]:
        only = sorted(names[0] ^ names[1])
        raise DataError(
            f"{a.path} and {b.path}: the classes {', '.join(only)} are in one of them alone; give maps of one coding"
        )
    if a.crs != b.crs:
        raise DataError(f"{b.path}: has another coordinate system than {a.path}; bring it there (gdalwarp -r near)")
    across, skew, right, turn, down, below = tuple(~b.transform @ a.transform)[:6]
    longest = max(a.width, a.height, b.width, b.height)
    if max(abs(across - 1), abs(down - 1), abs(skew), abs(turn)) * longest > 0.5:
        raise DataError(
            f"{b.path}: its pixels are 1/{across:.4g} as wide as those of {a.path}, or turned; map both images at one "
            "resolution"
        )
    rows, columns = round(below), round(right)
    pair = _Pair(a, b, rows, columns)
    if a.crs is None and (a.height, a.width) != (b.height, b.width):
        raise DataError(f"{b.path}: has another size than {a.path}, and no place on the earth; give maps of one ground")
    moved = []
    if a.crs is None:
        moved.append("The maps name no place on the earth: that they show one ground is taken for granted.")
    if max(abs(below - rows), abs(right - columns)) > _ON_GRID:
        off = np.subtract(b.transform @ (right - columns, below - rows), b.transform @ (0, 0))
        moved.append(
            f"The second map was brought onto the grid of the first by the nearest pixel, a shift of {abs(off[0]):.3g} "
            f"and {abs(off[1]):.3g} in the unit of their coordinates: edges differ by up to half a pixel."
        )
    return pair, moved


def _numbers(made: MapFile, legend: Legend, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the number in a legend of each value of a map, by the names of the classes."""
    order = {each.name: number for number, each in enumerate(legend.classes)}
    table = np.full(256, NO_DATA - 1, np.uint8)
    for each in made.legend.classes:
        table[each.value] = order[each.name]
    table[NO_DATA] = NO_DATA
    numbers = table[values]
    if (numbers == NO_DATA - 1).any():
        wrong = sorted(set(values[numbers == NO_DATA - 1].tolist()))
        raise DataError(f"{made.path}: holds the value {wrong[0]}, which its legend has not; it is damaged")
    return numbers


class _PairSums:
    """Sums over the pieces of two maps, by pair of classes."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._pixels, self._sure_pixels = np.zeros((2, classes**2), np.int64)
        self._area, self._sure_area, self._percent, self._rated = np.zeros((4, classes**2))

    def add(
        self,
        first: NDArray[np.uint8],
        second: NDArray[np.uint8],
        both: NDArray[np.uint8],
        areas: NDArray[np.float64],
    ) -> None:
        """Add a piece (h, w), whose pixels have these areas by row."""
        known = first != NO_DATA
        pairs = first[known].astype(np.int64) * self._classes + second[known]
        percent, area = both[known], np.broadcast_to(areas[:, None], first.shape)[known]
        rated, sure = percent != NO_DATA, (percent != NO_DATA) & (percent >= SURE)
        self._pixels += self._count(pairs)
        self._area += self._count(pairs, area)
        self._rated += self._count(pairs[rated])
        self._percent += self._count(pairs[rated], percent[rated])
        self._sure_pixels += self._count(pairs[sure])
        self._sure_area += self._count(pairs[sure], area[sure])

    def _count(self, pairs: NDArray[np.int64], weights: NDArray | None = None) -> NDArray:
        return np.bincount(pairs, weights, self._classes**2)

    def change(self, legend: Legend, doubts: Sequence[str]) -> Change:
        """Return the sums of all pieces."""
        with np.errstate(invalid="ignore"):
            confidence = self._percent / self._rated
        square = self._classes, self._classes
        return Change(
            legend,
            self._pixels.reshape(square),
            self._area.reshape(square),
            confidence.reshape(square),
            self._sure_pixels.reshape(square),
            self._sure_area.reshape(square),
            tuple(doubts),
        )


def _doubt_of_confidence(change: Change) -> list[str]:
    """Return a doubt if the maps are, by their own confidence, wrong more often than they differ."""
    known = ~np.isnan(change.confidence)
    if not known.any():
        return ["Confidence is not known of both maps: which changes are sure is not known either."]
    weights = change.pixels[known]
    wrong = 1 - float(change.confidence[known] @ weights) / max(weights.sum(), 1) / 100
    if not 0 < change.changed <= wrong:
        return []
    return [
        f"The maps differ in {change.changed:.1%} of their pixels, but by their own confidence one of the two is wrong "
        f"in {wrong:.1%}: most of what differs may be error."
    ]


def _coded(change: Change) -> tuple[NDArray[np.uint8], Legend]:
    """Return the value (C, C) of each pair in the map of change, and its legend: the most frequent pair is 1."""
    codes = np.full(change.pixels.shape, OTHER, np.uint8)
    np.fill_diagonal(codes, SAME)
    off = change.pixels.copy()
    np.fill_diagonal(off, 0)
    order = [divmod(int(at), len(off)) for at in np.argsort(-off, axis=None, kind="stable") if off.flat[at]]
    classes, used = [MapClass(SAME, UNCHANGED, _GREY)], {_GREY, _RARE}
    for code, (one, other) in enumerate(order[:_MOST_PAIRS], SAME + 1):
        codes[one, other] = code
        first, second = change.legend.classes[one], change.legend.classes[other]
        color = _blend(first.color, second.color, used)
        classes.append(MapClass(code, f"{first.name} → {second.name}", color))
    if len(order) > _MOST_PAIRS:
        classes.append(MapClass(OTHER, "other change", _RARE))
    return codes, Legend("change", tuple(classes))


def _blend(one: str, other: str, used: set[str]) -> str:
    """Return a colour near that of the later class, tinted by that of the earlier, and unlike all before."""
    weights = np.array([0.25, 0.75])
    bands = weights @ [[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in (one, other)]
    packed = int(bands[0]) << 16 | int(bands[1]) << 8 | int(bands[2])
    while f"#{packed:06x}" in used:
        packed = (packed + 1) % (1 << 24)
    used.add(f"#{packed:06x}")
    return f"#{packed:06x}"


def _facts(a: MapFile, b: MapFile, change: Change) -> Mapping[str, str]:
    """Return the tags of the map of change: those of both maps, with an arrow where they differ."""
    names = dict.fromkeys([*a.facts, *b.facts])
    known = {name: (a.facts.get(name, "unknown"), b.facts.get(name, "unknown")) for name in names}
    facts = {name: one if one == other else f"{one} → {other}" for name, (one, other) in known.items()}
    facts.pop("no_data_share", None)
    return facts | {
        "compared": f"{name_of(a.path)} → {name_of(b.path)} ({a.path} → {b.path})",
        "doubts": " ".join(change.doubts),
    }


def _write_piece(path: Path, made: MapFile, window: Window, pixels: NDArray[np.uint8]) -> None:
    place = made.transform @ Affine.translation(window.col_off, window.row_off)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": NO_DATA, "compress": "DEFLATE", "zlevel": 1}
    size = {"height": window.height, "width": window.width, "crs": made.crs, "transform": place}
    with rasterio.open(path, "w", **profile, **size) as file:
        file.write(pixels, 1)


def _write_table(path: Path, change: Change) -> None:
    """Write a row for each pair of classes that occurs, those without change included."""
    half = path.with_name(f"{path.name}.part")
    with half.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        sure = [f"pixels_sure_{SURE}", f"area_m2_sure_{SURE}"]
        rows.writerow(["from", "to", "pixels", "area_m2", "mean_confidence_percent", *sure])
        for one, other in zip(*np.nonzero(change.pixels), strict=True):
            area, percent, sure_area = (
                "" if np.isnan(table[one, other]) else f"{table[one, other]:.{digits}f}"
                for table, digits in ((change.area, 2), (change.confidence, 1), (change.sure_area, 2))
            )
            names = change.legend.classes[one].name, change.legend.classes[other].name
            counts = int(change.pixels[one, other]), area, percent, int(change.sure_pixels[one, other]), sure_area
            rows.writerow([*names, *counts])
    half.replace(path)
