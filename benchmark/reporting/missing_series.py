"""Loss of each method where something is missing of the test's series."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.data.series.corruptions import CORRUPTIONS, MISSING
from benchmark.evaluation.comparison import Cell, Grid, table
from benchmark.evaluation.statistics import spread


@dataclass(frozen=True)
class MissingLine:
    """A method's mean IoU on the target (shares), means over folds of means over seeds; NaN where there is none.

    Attributes:
        method: its label; ``bound`` marks what is no result.
        whole: with the series as they are.
        missing: with something missing, by the names of `CORRUPTIONS`.
        cells, expected: cells that the means are over, and that there are once all is done.
    """

    method: str
    bound: bool
    whole: float
    missing: dict[str, float]
    cells: int
    expected: int


def compare_missing(cells: Sequence[Cell], grid: Grid) -> list[MissingLine]:
    """Return one line a method that has results, best first and bounds last; none where no run has such numbers.

    All means of a line are over the same cells, those with all of its numbers. (By another rule these may be fewer than
    have results, since only the checkpoint that a run went by predicts with something missing.)
    """
    lines = []
    for method in grid.methods:
        whole = table(cells, grid, method, "target/miou")
        parts = [table(cells, grid, method, f"{MISSING}/{name}/miou") for name in CORRUPTIONS]
        has_all = np.isfinite([whole, *parts]).all(0)
        counted = has_all if has_all.any() else np.isfinite(whole)
        mean, *means = (spread(np.where(counted, each, np.nan)).mean for each in (whole, *parts))
        expected = sum(cell.method == method and cell.status != "skipped" for cell in cells)
        if counted.any():
            missing = dict(zip(CORRUPTIONS, means, strict=True))
            lines.append(MissingLine(method, method in grid.bounds, mean, missing, int(counted.sum()), expected))
    if not np.isfinite([list(line.missing.values()) for line in lines]).any():
        return []
    return sorted(lines, key=lambda line: (line.bound, -line.whole))
