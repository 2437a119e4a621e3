"""The comparison of a protocol: every cell of the grid, and what it says of each method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmark.evaluation.selection import RULES, Record
from benchmark.evaluation.statistics import (
    NO_RATIO,
    Groups,
    Ratio,
    ScoreTable,
    Spread,
    gap_closed,
    mean_of_known,
    shared_levels,
    spread,
)

SHARES = (0.0, 1.0)  # mean IoU is none outside


@dataclass(frozen=True)
class Cell:
    """One place of the grid.

    Attributes:
        method, fold, seed: place of the cell.
        status: ``done``, ``running``, ``failed``, ``skipped`` or ``not run``.
        reason: why it is empty.
        metrics: metrics of a cell that is done.
        records: what the selection rules know of its checkpoints, of a cell that is done.
        pooled: the same, with scores that can be compared with those of other runs of the fold and seed.
        rule: what chose the checkpoint that its metrics are of; "" where that is not known.
    """

    method: str
    fold: str
    seed: int
    status: str
    reason: str = ""
    metrics: Mapping[str, float] | None = None
    records: Sequence[Record] = ()
    pooled: Sequence[Record] = ()
    rule: str = ""


@dataclass(frozen=True)
class Line:
    """The results of a method in a comparison; all numbers are shares, not percent.

    Attributes:
        method, needs: label and needs, as logged; ``bound`` marks what is no result.
        target, source_val: mean IoU on the target test and on source validation, at the selected checkpoint.
        gain: over the control on the same folds and seeds.
        gap_closed: its mean gain over the oracle's; NaN where the oracle's is not clear of 0.
        rare: mean IoU of the rare classes, mean over folds of the mean over seeds; NaN where they are not known.
        seconds: median device-seconds of a training.
        cost: median ratio of its time to the control's on the same fold and seed.
        images: median number of images it was trained on, source and target; of the test stream those it learned from.
        rule: what chose the checkpoints.
        expected: cells that there are once all is done.
    """

    method: str
    needs: str
    bound: bool
    target: Spread
    source_val: Spread
    gain: Spread
    gap_closed: Ratio
    rare: float
    seconds: float
    cost: float
    images: float
    rule: str
    expected: int

    @property
    def partial(self) -> bool:
        """Cells are missing: a mean over some folds is not one over others."""
        return self.target.cells < self.expected

    @property
    def shown(self) -> str:
        """The name in tables and figures."""
        counted = f" ({self.target.cells} of {self.expected} cells)" if self.partial else ""
        return f"{self.method}{' (bound)' if self.bound else ''}{counted}"


@dataclass(frozen=True)
class Grid:
    """The axes of a requested comparison, and what each method needs.

    Attributes:
        methods: labels, in the order of the request.
        folds, seeds: the other two axes.
        needs: needs of each method.
        bounds: labels of the methods that are no results; the first is what a gap is measured to.
        control: label of the method every other is compared with; "" if it is not among them.
        held_out: held-out value of each column, by fold; a fold may be missing.
        source_free: labels of the methods that see no source data, and so cannot be chosen by source labels.
        target_images: labels of the methods that see target images beside the source's labels.
        target_control: label of the one that sees them without a loss on them; "" if it is not among the methods.
        lacking: controls that belong into a published table and are not among the methods, in words.
    """

    methods: tuple[str, ...]
    folds: tuple[str, ...]
    seeds: tuple[int, ...]
    needs: Mapping[str, str]
    bounds: frozenset[str]
    control: str
    held_out: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    source_free: frozenset[str] = frozenset()
    target_images: frozenset[str] = frozenset()
    target_control: str = ""
    lacking: tuple[str, ...] = ()

    def may_choose(self, method: str, rule: str) -> bool:
        """Return whether a rule may choose the checkpoint of a method; where not, the last one counts.

        The last one of a bound, which is trained on the target. So it is of a method that sees no source data where the
        rule looks at source labels.
        """
        return not (method in self.bounds or (method in self.source_free and RULES[rule].sees_source_labels))

    @property
    def groups(self) -> Groups:
        """The levels that folds share, so that they are no independent sample (`shared_levels`)."""
        return shared_levels([self.held_out.get(fold, {}) for fold in self.folds])


def table(cells: Sequence[Cell], grid: Grid, method: str, metric: str) -> ScoreTable:
    """Return a metric of a method's cells: (folds, seeds)."""
    values = np.full((len(grid.folds), len(grid.seeds)), np.nan)
    for cell in cells:
        if cell.method == method and cell.metrics is not None:
            place = grid.folds.index(cell.fold), grid.seeds.index(cell.seed)
            values[place] = cell.metrics.get(metric, np.nan)
    return values


def rarer_half(pixels: Mapping[str, int]) -> list[str]:
    """Return the rarer half, rounded down, of the classes that occur, rarest first.

    Args:
        pixels: number of pixels of each class.
    """
    there = sorted((name for name, count in pixels.items() if count), key=lambda name: pixels[name])
    return there[: len(there) // 2]


def compare(cells: Sequence[Cell], grid: Grid, rare: Mapping[str, Sequence[str]] | None = None) -> list[Line]:
    """Return one line a method, in the grid's order.

    Args:
        rare: names of the rare classes, as in metrics, by fold; a fold may be missing.
    """
    target = {method: table(cells, grid, method, "target/miou") for method in grid.methods}
    seconds = {method: table(cells, grid, method, "time/training_seconds") for method in grid.methods}
    nothing = np.full((len(grid.folds), len(grid.seeds)), np.nan)
    control = target.get(grid.control, nothing)
    bound = next((target[method] for method in grid.methods if method in grid.bounds), nothing) - control
    groups = grid.groups
    lines = []
    for method in grid.methods:
        spent, gain = seconds[method], target[method] - control
        rates = table(cells, grid, method, "time/images_per_second")
        lines.append(
            Line(
                method=method,
                needs=grid.needs[method],
                bound=method in grid.bounds,
                target=spread(target[method], groups, SHARES),
                source_val=spread(table(cells, grid, method, "selected/source_val_miou"), groups, SHARES),
                gain=spread(gain, groups),
                # The control closes 0 of the gap and a bound all of it, by definition.
                gap_closed=NO_RATIO if method in {grid.control, *grid.bounds} else gap_closed(gain, bound, groups),
                rare=mean_of_known(np.array([mean_of_known(row) for row in _rare(cells, grid, method, rare or {})])),
                seconds=_median(spent),
                cost=_median(spent / seconds.get(grid.control, nothing)),
                images=_median(rates * table(cells, grid, method, "time/training_seconds")),
                rule=", ".join(dict.fromkeys(cell.rule for cell in cells if cell.method == method and cell.rule)),
                expected=sum(cell.method == method and cell.status != "skipped" for cell in cells),
            )
        )
    return lines


def _rare(cells: Sequence[Cell], grid: Grid, method: str, rare: Mapping[str, Sequence[str]]) -> ScoreTable:
    """Return the mean IoU of each fold's rare classes: (folds, seeds)."""
    values = np.full((len(grid.folds), len(grid.seeds)), np.nan)
    for row, fold in enumerate(grid.folds):
        if names := rare.get(fold):
            values[row] = np.mean([table(cells, grid, method, f"target/iou/{name}")[row] for name in names], axis=0)
    return values


def _median(values: ScoreTable) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def summary_metrics(line: Line) -> dict[str, float]:
    """Return a line as metrics of its summary run in MLflow."""
    return {
        "summary/target_miou_mean": line.target.mean,
        "summary/target_miou_std": line.target.seed_std,
        "summary/target_miou_low": line.target.low,
        "summary/target_miou_high": line.target.high,
        "summary/source_val_miou_mean": line.source_val.mean,
        "summary/drop_mean": line.source_val.mean - line.target.mean,
        "summary/gain_mean": line.gain.mean,
        "summary/gap_closed": line.gap_closed.value,
        "summary/gap_closed_low": line.gap_closed.low,
        "summary/gap_closed_high": line.gap_closed.high,
        "summary/worst_fold_miou": line.target.worst,
        "summary/cells": line.target.cells,
        "summary/rare_miou_mean": line.rare,
        "summary/device_seconds": line.seconds,
        "summary/images": line.images,
        "summary/training_seconds_over_control": line.cost,
    }
