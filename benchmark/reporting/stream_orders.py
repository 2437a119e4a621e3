"""Comparisons that differ only in the order of the test stream, side by side: what each method loses by order."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.common.texts import percent
from benchmark.evaluation.comparison import Grid, table
from benchmark.evaluation.statistics import spread
from benchmark.reporting.modalities import Modalities, alike
from benchmark.reporting.series_tables import TextTable
from benchmark.training.arrival import DATE, ORDERS, RECURRING, ROUNDS
from benchmark.training.config import without_order

if TYPE_CHECKING:
    from benchmark.reporting.collect import ComparisonState

TITLE, STREAM = "Stream orders", "target_after_update/miou"  # the metric of no other methods than the test stream's
OF_ROUNDS = {  # columns of the recurring order, and their metrics
    "first round": "stream_round/1/miou",
    "last round": f"stream_round/{ROUNDS}/miou",
    "forgotten": "stream_round/forgotten",
}
ABOUT = """\
Target mIoU in percent of what sees *the test stream*, by the order in which it comes, in comparisons that differ in
this alone, mean over the folds and seeds that all columns have; in brackets the difference from the order by {first},
in points, over the cells that both have. *First round*, *last round*: of the recurring order, the patches that come
when the dates pass for the first and for the last time. *Forgotten*: mIoU of the first round's patches right after the
method had learned from each, minus that at the end of the stream, in points. Folds: {folds}; seeds: {seeds}."""


def order_siblings(facts: Mapping[str, Mapping[str, str]], comparison: str) -> dict[str, str]:
    """Return the comparisons that differ from one in the order of the test stream alone, by their order.

    It is among them. Of several with the same order it is taken, else the last.

    Args:
        facts: facts of all comparisons of an experiment, by key, in the order in which they were requested.
    """
    orders = {key: recipe.get("stream_order", DATE) for key, recipe in alike(facts, comparison, without_order).items()}
    return {orders[key]: key for key in sorted(orders, key=lambda key: (ORDERS.index(orders[key]), key == comparison))}


def compare_orders(grid: Grid, beside: Modalities) -> dict[str, dict[str, float]]:
    """Return mean target mIoU, differences and metrics of rounds (shares) by method of the test stream; NaN for none.

    Args:
        grid: grid of the comparison that is reported.
        beside: comparisons by their order.

    Returns:
        for each method its mean by the name of the order, the differences as ``order - first``, and `OF_ROUNDS`.
    """
    grid = replace(grid, folds=beside.folds, seeds=beside.seeds)
    first, *others = beside.cells
    lines = {}
    for method in beside.methods:
        scores = {name: table(cells, grid, method, "target/miou") for name, cells in beside.cells.items()}
        streams = (table(cells, grid, method, STREAM) for cells in beside.cells.values())
        if not any(np.isfinite(each).any() for each in streams):
            continue
        rounds = beside.cells.get(RECURRING, ())
        values = scores | {f"{name} - {first}": scores[name] - scores[first] for name in others}
        values |= {name: table(rounds, grid, method, metric) for name, metric in OF_ROUNDS.items()}
        lines[method] = {name: spread(each).mean for name, each in values.items()}
    return lines


def order_tables(state: "ComparisonState") -> list[TextTable]:
    """Return the table of a comparison that has siblings of other orders; none else."""
    if not (beside := state.orders) or not (lines := compare_orders(state.grid, beside)):
        return []
    names = list(beside.cells)
    shown = [name for name in OF_ROUNDS if any(math.isfinite(line[name]) for line in lines.values())]
    rows = []
    for method, line in lines.items():
        orders = [_cell(line, name, names[0]) for name in names]
        rounds = [percent(line[name], sign=name == "forgotten") for name in shown]
        rows.append([method, *orders, *rounds])
    folds, seeds = (", ".join(map(str, values)) for values in (beside.folds, beside.seeds))
    about = ABOUT.format(first=names[0], folds=folds, seeds=seeds)
    left_out = [f"{name} is left out: {reason}" for name, reason in beside.left_out.items()]
    return [TextTable(TITLE, ("method", *names, *shown), rows, about, left_out)]


def _cell(line: Mapping[str, float], name: str, first: str) -> str:
    difference = line.get(f"{name} - {first}", math.nan)
    return percent(line[name]) + (f" ({percent(difference, sign=True)})" if math.isfinite(difference) else "")


def order_record(state: "ComparisonState") -> dict[str, Any]:
    """Return the numbers of the table (shares) for ``comparison.json``; None where one is not known."""
    if not state.orders:
        return {}
    lines = compare_orders(state.grid, state.orders)
    numbers = {
        method: {name: value if math.isfinite(value) else None for name, value in line.items()}
        for method, line in lines.items()
    }
    return {"stream_orders": {"folds": state.orders.folds, "seeds": state.orders.seeds, "methods": numbers}}
