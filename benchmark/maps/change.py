"""Change between two maps of one ground: which class became which, where, and how sure both maps are of it."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.maps.cog import Kind, assemble
from benchmark.maps.comparable import doubts_of
from benchmark.maps.files import Row, write_csv
from benchmark.maps.legend import NO_DATA, Legend, MapClass
from benchmark.maps.map_file import CLASSES, CONFIDENCE, MapFile, name_of, read_map
from benchmark.maps.pieces import OnProgress, pieces, read_classes, tracked
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
        """Return the classes of both maps by their number in the first legend, and the percent that both are right.

        The number of classes means that there is no data, in the percents it is `NO_DATA`.
        """
        first, one = read_classes(self.a, window)
        moved = Window(window.col_off + self.columns, window.row_off + self.rows, window.width, window.height)
        second, other = read_classes(self.b, moved)
        names, size = [each.name for each in self.a.legend.classes], len(self.a.legend.classes)
        second = np.array([*(names.index(each.name) for each in self.b.legend.classes), size], np.uint8)[second]
        if one is None or other is None:
            return first, second, np.full(first.shape, NO_DATA, np.uint8)
        both = (one.astype(np.uint16) * other + 50) // 100
        return first, second, np.where((first < size) & (second < size), both, NO_DATA).astype(np.uint8)


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
    windows = pieces(a.window)
    steps = tracked([*windows, *windows], on_progress)
    change = _counted(pair, islice(steps, len(windows)))
    if not change.pixels.sum():
        raise DataError(f"{a.path} and {b.path}: no pixel has data in both; give maps of one ground")
    change = replace(change, doubts=(*doubts_of(a, b), *moved, *_doubt_of_confidence(change)))
    codes, legend = _coded(change)
    endings: dict[str, Kind] = {CLASSES: "classes"}
    if a.confidence and b.confidence:
        endings[CONFIDENCE] = "confidence"
    output.mkdir(parents=True, exist_ok=True)
    folder = output / f"{NAME}.part"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, window in enumerate(steps):
        first, second, both = pair.read(window)
        for ending, pixels in zip(endings, (codes[first, second], both), strict=False):
            _write_piece(folder / f"{number}{ending}", a, window, pixels)
    (output / f"{NAME}{CONFIDENCE}").unlink(missing_ok=True)
    for ending, kind in reversed(endings.items()):
        paths = [folder / f"{number}{ending}" for number in range(len(windows))]
        assemble(paths, output / f"{NAME}{ending}", legend, _facts(a, b, change), kind)
    write_csv(_rows(change), output / f"{NAME}{TABLE}")
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


def _counted(pair: _Pair, windows: Iterable[Window]) -> Change:
    """Count the pairs of classes of two maps."""
    size = len(pair.a.legend.classes)
    sums = np.zeros((5, size**2))
    for window in windows:
        first, second, both = pair.read(window)
        known = (first < size) & (second < size)
        pairs, percent = first[known].astype(np.int64) * size + second[known], both[known]
        area = np.broadcast_to(row_areas(pair.a.transform, pair.a.crs, window)[:, None], first.shape)[known]
        sure = (percent >= SURE) & (percent != NO_DATA)
        for total, chosen, weights in zip(
            sums, (..., ..., ..., sure, sure), (None, area, percent, None, area[sure]), strict=True
        ):
            total += np.bincount(pairs[chosen], weights, size**2)
    pixels, area, percents, sure_pixels, sure_area = sums.reshape(5, size, size)
    rated = (pixels > 0) & bool(pair.a.confidence and pair.b.confidence)
    confidence = np.divide(percents, pixels, out=np.full(pixels.shape, np.nan), where=rated)
    counts = pixels.astype(np.int64), area, confidence, sure_pixels.astype(np.int64), sure_area
    return Change(pair.a.legend, *counts, doubts=())


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
    """Return the value of each pair in the map of change, (C + 1, C + 1) with no data as the last, and its legend.

    The most frequent pair is 1.
    """
    codes = np.full(np.add(change.pixels.shape, 1), OTHER, np.uint8)
    np.fill_diagonal(codes, SAME)
    codes[-1], codes[:, -1] = NO_DATA, NO_DATA
    off = change.pixels.copy()
    np.fill_diagonal(off, 0)
    order = [divmod(int(at), len(off)) for at in np.argsort(-off, axis=None, kind="stable") if off.flat[at]]
    classes, used = [MapClass(SAME, UNCHANGED, _GREY)], {_GREY, _RARE}
    for code, (one, other) in enumerate(order[:_MOST_PAIRS], SAME + 1):
        codes[one, other] = code
        first, second = change.legend.classes[one], change.legend.classes[other]
        color = _blend(first, second, used)
        classes.append(MapClass(code, f"{first.name} → {second.name}", color))
    if len(order) > _MOST_PAIRS:
        classes.append(MapClass(OTHER, "other change", _RARE))
    return codes, Legend("change", tuple(classes))


def _blend(one: MapClass, other: MapClass, used: set[str]) -> str:
    """Return a colour near that of the later class, tinted by that of the earlier, and unlike all before."""
    red, green, blue = ((first + 3 * second) // 4 for first, second in zip(one.rgb, other.rgb, strict=True))
    packed = red << 16 | green << 8 | blue
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


def _rows(change: Change) -> list[Row]:
    """Return a row for each pair of classes that occurs, those without change included."""
    names = [each.name for each in change.legend.classes]
    return [
        {
            "from": names[one],
            "to": names[other],
            "pixels": int(change.pixels[one, other]),
            "area_m2": float(change.area[one, other]),
            "mean_confidence_percent": float(change.confidence[one, other]),
            f"pixels_sure_{SURE}": int(change.sure_pixels[one, other]),
            f"area_m2_sure_{SURE}": float(change.sure_area[one, other]),
        }
        for one, other in zip(*np.nonzero(change.pixels), strict=True)
    ]
