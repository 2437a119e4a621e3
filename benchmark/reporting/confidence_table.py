"""The table of a comparison about confidence: how far it is from the share of right pixels, and what it selects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.common.texts import percent
from benchmark.evaluation.comparison import Cell, Grid, table
from benchmark.evaluation.confidence import ECE_BINS, KEPT
from benchmark.evaluation.statistics import spread
from benchmark.reporting.series_tables import TextTable

if TYPE_CHECKING:
    from benchmark.reporting.collect import ComparisonState

COLUMNS = {
    "target mIoU": "target/miou",
    f"mIoU of the surest {KEPT:.0%}": "target/selective_miou",
    "ECE": "target/ece",
    "ECE at temperature": "target/ece_temperature",
    "temperature": "target/temperature",
}
ABOUT = f"""\
On the target test, in percent, mean over folds and seeds. *mIoU of the surest {KEPT:.0%}*: of the pixels with the
highest confidence (the largest probability), over the same classes; where it is far above that of all, the map knows
where it errs. *ECE*: expected calibration error, the mean difference of confidence and share of right pixels in
{ECE_BINS} bins. *At temperature*: after logits are divided by one that was fitted on source validation, which changes
no class; above 1, the method was too sure on the source. What is trained from a source model has no source data to fit
one on, and what sees the test stream has that of the source model."""


@dataclass(frozen=True)
class ConfidenceLine:
    """A method's means over folds of means over seeds, by the names of `COLUMNS`; NaN where it has none.

    Attributes:
        method: its label; ``bound`` marks what is no result.
    """

    method: str
    bound: bool
    values: dict[str, float]


def compare_confidence(cells: Sequence[Cell], grid: Grid) -> list[ConfidenceLine]:
    """Return one line a method that has such numbers, best calibrated first and bounds last.

    All means of a line but those with a temperature are over the same cells.
    """
    lines = []
    for method in grid.methods:
        columns = {name: table(cells, grid, method, metric) for name, metric in COLUMNS.items()}
        known = np.isfinite(columns["ECE"])
        if known.any():
            values = {name: spread(np.where(known, each, np.nan)).mean for name, each in columns.items()}
            lines.append(ConfidenceLine(method, method in grid.bounds, values))
    return sorted(lines, key=lambda line: (line.bound, line.values["ECE"]))


def confidence_tables(state: "ComparisonState") -> list[TextTable]:
    """Return the table; none where no run has such numbers."""
    lines = compare_confidence(state.cells, state.grid)
    rows = [
        [f"{line.method}{' (bound)' if line.bound else ''}", *map(percent, shown), _number(temperature)]
        for line in lines
        for *shown, temperature in [line.values.values()]
    ]
    return [TextTable("Confidence", ("method", *COLUMNS), rows, ABOUT)] if lines else []


def confidence_record(state: "ComparisonState") -> dict[str, Any]:
    """Return the numbers of the table (shares) for ``comparison.json``; None where one is not known."""
    lines = compare_confidence(state.cells, state.grid)
    names = {name: metric.partition("/")[2] for name, metric in COLUMNS.items()}
    record = {
        line.method: {names[name]: value if math.isfinite(value) else None for name, value in line.values.items()}
        for line in lines
    }
    return {"confidence": record} if record else {}


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"
