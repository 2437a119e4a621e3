"""Page and picture of a change between two maps, with the tables of all pairs of classes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.maps.change import SURE, UNCHANGED, Change, change_map
from benchmark.maps.map_file import MapFile, name_of
from benchmark.maps.map_page import Matrix
from benchmark.maps.pieces import OnProgress
from benchmark.maps.preview import write_preview


def write_change_preview(
    a: MapFile, b: MapFile, change: Change, output: Path, on_progress: OnProgress | None = None
) -> tuple[Path, Path]:
    """Write the picture and the page of what `compare_maps` has written, see `write_preview`.

    The page shows the change above the earlier map, and above the later one if that is on the same grid.
    """
    made = change_map(output)
    names = [name_of(each.path) for each in (a, b)]
    if names[0] == names[1]:
        names = [f"{each.path.parent.name}/{name_of(each.path)}" for each in (a, b)]
    below = [(f"earlier map ({names[0]})", a)]
    if (b.height, b.width, b.transform) == (a.height, a.width, a.transform):
        below.append((f"later map ({names[1]})", b))
    return write_preview(
        made,
        on_progress=on_progress,
        warnings=change.doubts,
        tables=change_tables(change),
        below=below,
        titles=("change", "probability that both maps are right"),
        clear=UNCHANGED,
    )


def change_tables(change: Change) -> list[Matrix]:
    """Return the tables of a page: area from class to class, that of sure changes alone, and mean confidence."""
    measured = not np.isnan(change.area[change.pixels > 0]).any()
    unit = "m²" if measured else "pixels"
    area, sure = (change.area, change.sure_area) if measured else (change.pixels, change.sure_pixels)
    note = "A row is a class of the earlier map, a column one of the later map; the diagonal is what did not change."
    tables = [_matrix(change, f"From class to class, {unit}", area, note)]
    if not np.isnan(change.confidence[change.pixels > 0]).any():
        independent = (
            "Confidence is the product of the probabilities of the two classes, which is the probability that both are "
            "right if the errors of the maps are independent."
        )
        title = f"Of that sure, {unit}: pixels of at least {SURE} % confidence"
        tables += [
            _matrix(change, title, sure, independent),
            _matrix(change, "Mean confidence, percent", change.confidence, ""),
        ]
    return tables


def _matrix(change: Change, title: str, table: NDArray, note: str) -> Matrix:
    """Return a table of the classes that occur in either map."""
    occurs = np.flatnonzero(change.pixels.any(axis=0) | change.pixels.any(axis=1))
    names = [change.legend.classes[number].name for number in occurs]
    rows = [
        [name, *("–" if not change.pixels[one, other] else f"{table[one, other]:,.0f}" for other in occurs)]
        for name, one in zip(names, occurs, strict=True)
    ]
    return Matrix(title, ["from \\ to", *names], rows, note)
