"""The table of a comparison about decisions other than argmax."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.common.texts import percent
from benchmark.evaluation.comparison import table
from benchmark.evaluation.statistics import spread
from benchmark.reporting.series_tables import TextTable

if TYPE_CHECKING:
    from benchmark.reporting.collect import ComparisonState

NAMES = ("rankseg", "prior")
ABOUT = """\
Target mIoU in percent, mean over folds and seeds, of the checkpoint that each run went by, and the gain over argmax on
the same cells, in points. *RankSEG*: in each image each class takes the set of pixels that is expected to have the best
IoU (Dai and Li, JMLR 2023). *Prior*: the source's class shares are taken out of the logits, by a strength that is best
on source validation. A temperature changes no argmax. What sees no source data has no prior, and what sees the test
stream has neither: its result is what it learns from the stream."""


def decision_means(state: "ComparisonState") -> dict[str, dict[str, float]]:
    """Return for each method with such numbers its mean IoU by argmax, and by each decision on cells that have it."""
    cells, grid, means = state.cells, state.grid, dict[str, dict[str, float]]()
    for method in grid.methods:
        argmax = table(cells, grid, method, "target/miou")
        tables = {name: table(cells, grid, method, f"target_decision/{name}/miou") for name in NAMES}
        known = np.isfinite(tables["rankseg"])
        if known.any():
            gains = {name: spread(each - argmax).mean for name, each in tables.items()}
            means[method] = {"argmax": spread(np.where(known, argmax, np.nan)).mean, **gains}
    return means


def decision_tables(state: "ComparisonState") -> list[TextTable]:
    """Return the table, best argmax first and bounds last; none where no run has such numbers."""
    means, bounds = decision_means(state), state.grid.bounds
    ordered = sorted(means, key=lambda method: (method in bounds, -means[method]["argmax"]))
    rows = [
        [
            f"{method}{' (bound)' if method in bounds else ''}",
            percent(means[method]["argmax"]),
            *(percent(means[method][name], sign=True) for name in NAMES),
        ]
        for method in ordered
    ]
    return [TextTable("Decisions", ("method", "argmax", "RankSEG", "prior"), rows, ABOUT)] if rows else []


def decision_record(state: "ComparisonState") -> dict[str, Any]:
    """Return the numbers of the table (shares; of decisions the gains) for ``comparison.json``."""
    means = decision_means(state)
    record = {
        method: {name: value if math.isfinite(value) else None for name, value in values.items()}
        for method, values in means.items()
    }
    return {"decisions": record} if record else {}
