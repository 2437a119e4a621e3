"""The comparison of a protocol: every cell of the grid, and what it says of each method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.selection import Record
from benchmark.statistics import Spread, Table, gap_closed, spread


@dataclass(frozen=True)
class Cell:
    """One place of the grid.

    Attributes:
        method, fold, seed: which.
        status: ``done``, ``running``, ``failed``, ``skipped`` or ``not run``.
        reason: why it is empty.
        metrics: of a cell that is done.
        records: what the selection rules know of its checkpoints, of a cell that is done.
        pooled: the same, with scores that can be compared with those of other runs of the fold and seed.
    """

    method: str
    fold: str
    seed: int
    status: str
    reason: str = ""
    metrics: Mapping[str, float] | None = None
    records: Sequence[Record] = ()
    pooled: Sequence[Record] = ()


@dataclass(frozen=True)
class Line:
    """What the comparison says of a method; all numbers are shares, not percent.

    Attributes:
        method, needs: as logged; ``bound`` marks what is no result.
        target, source_val: mean IoU on the target test and on source validation, at the selected checkpoint.
        gain: over the control on the same folds and seeds.
        gap_closed: median and quartiles over the cells where there is a gap; and how many those are.
        seconds: median training time of a run.
        cost: median of its ratio to the control's on the same fold and seed.
    """

    method: str
    needs: str
    bound: bool
    target: Spread
    source_val: Spread
    gain: Spread
    gap_closed: tuple[float, float, float]
    gap_cells: int
    seconds: float
    cost: float


@dataclass(frozen=True)
class Grid:
    """What was asked for: the axes of the comparison, and what each method needs.

    Attributes:
        methods: labels, in the order asked for.
        folds, seeds: the other two axes.
        needs: of each method.
        bounds: labels of the methods that are no results; the first is what a gap is measured to.
        control: label of the method every other is compared with; "" if it is not among them.
    """

    methods: tuple[str, ...]
    folds: tuple[str, ...]
    seeds: tuple[int, ...]
    needs: Mapping[str, str]
    bounds: frozenset[str]
    control: str


def table(cells: Sequence[Cell], grid: Grid, method: str, metric: str) -> Table:
    """A metric of a method's cells: (folds, seeds)."""
    values = np.full((len(grid.folds), len(grid.seeds)), np.nan)
    for cell in cells:
        if cell.method == method and cell.metrics is not None:
            place = grid.folds.index(cell.fold), grid.seeds.index(cell.seed)
            values[place] = cell.metrics.get(metric, np.nan)
    return values


def compare(cells: Sequence[Cell], grid: Grid) -> list[Line]:
    """One line a method, in the grid's order."""
    target = {method: table(cells, grid, method, "target/miou") for method in grid.methods}
    seconds = {method: table(cells, grid, method, "time/training_seconds") for method in grid.methods}
    nothing = np.full((len(grid.folds), len(grid.seeds)), np.nan)
    control = target.get(grid.control, nothing)
    bound = next((target[method] for method in grid.methods if method in grid.bounds), nothing)
    lines = []
    for method in grid.methods:
        closed = gap_closed(target[method], control, bound)
        known = closed[np.isfinite(closed)]
        quartiles = np.quantile(known, [0.5, 0.25, 0.75]) if len(known) else np.full(3, np.nan)
        spent = seconds[method]
        lines.append(
            Line(
                method=method,
                needs=grid.needs[method],
                bound=method in grid.bounds,
                target=spread(target[method]),
                source_val=spread(table(cells, grid, method, "selected/source_val_miou")),
                gain=spread(target[method] - control),
                gap_closed=(float(quartiles[0]), float(quartiles[1]), float(quartiles[2])),
                gap_cells=len(known),
                seconds=_median(spent),
                cost=_median(spent / seconds.get(grid.control, nothing)),
            )
        )
    return lines


def _median(values: Table) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def summary_metrics(line: Line) -> dict[str, float]:
    """A line as metrics of its summary run in MLflow."""
    return {
        "summary/target_miou_mean": line.target.mean,
        "summary/target_miou_std": line.target.seed_std,
        "summary/target_miou_low": line.target.low,
        "summary/target_miou_high": line.target.high,
        "summary/source_val_miou_mean": line.source_val.mean,
        "summary/drop_mean": line.source_val.mean - line.target.mean,
        "summary/gain_mean": line.gain.mean,
        "summary/gap_closed_median": line.gap_closed[0],
        "summary/worst_fold_miou": line.target.worst,
        "summary/cells": line.target.cells,
        "summary/training_seconds": line.seconds,
        "summary/training_seconds_over_control": line.cost,
    }
