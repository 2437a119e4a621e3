"""The selection rules side by side: what each would have cost, on the runs of a comparison."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.evaluation.comparison import SHARES, Cell, Grid
from benchmark.evaluation.selection import RULES, Record, regret, select
from benchmark.evaluation.statistics import Spread, average_ranks, spread


@dataclass(frozen=True)
class RuleLine:
    """The results of a rule in a comparison; shares, not percent, each over folds and seeds.

    Attributes:
        rule: its name.
        sees, legitimate: see `benchmark.evaluation.selection.Rule`.
        runs: number of runs that it takes a checkpoint of; `of` is the number of all.
        target: mean IoU on the target test of the checkpoints that it takes within each run.
        control: the same of the control's runs alone, on the folds and seeds of these runs.
        regret: difference of the best checkpoint of the run to that, mean over the runs.
        rank_correlation: Spearman's, of its scores with target mean IoU over all checkpoints of all methods.
        regret_among_all: the same for the one checkpoint that it takes among all methods.
    """

    rule: str
    sees: str
    legitimate: bool
    runs: int
    of: int
    target: Spread
    control: Spread
    regret: Spread
    rank_correlation: Spread
    regret_among_all: Spread


def compare_rules(cells: Sequence[Cell], grid: Grid) -> list[RuleLine]:
    """Return one line a rule, of those that took a checkpoint anywhere.

    Over the runs of methods that choose among checkpoints and saw no target labels in training: not those of bounds,
    nor of methods that learn from the test stream, which have one candidate and no score. A rule that cannot choose in
    some of them, because it lacks a score or may not look (`Grid.may_choose`), has fewer runs than others, so that its
    numbers are to be compared with the control's on the same folds and seeds.
    """
    eligible = [cell for cell in cells if cell.records and cell.method not in grid.bounds]
    pool = [cell for cell in eligible if all(record.scores for record in cell.records)] or eligible
    lines = []
    for name, rule in RULES.items():
        within = [c for c in pool if grid.may_choose(c.method, name) and select(c.records, name) is not None]
        between = within if rule.between_runs else []
        control = [cell for cell in within if cell.method == grid.control]
        if within:
            lines.append(
                RuleLine(
                    name,
                    rule.sees,
                    rule.legitimate,
                    len(within),
                    len(pool),
                    target=_spread(within, grid, _of_each(_taken, name), SHARES),
                    control=_spread(control, grid, _of_each(_taken, name), SHARES),
                    regret=_spread(within, grid, _of_each(regret, name), SHARES),
                    rank_correlation=_spread(between, grid, _of_all(rank_correlation, name), (-1.0, 1.0)),
                    regret_among_all=_spread(between, grid, _of_all(regret, name), SHARES),
                )
            )
    return lines


def rank_correlation(records: Sequence[Record], rule: str) -> float:
    """Return Spearman's correlation of a rule's scores with target mean IoU; NaN for fewer than three or equal ones."""
    pairs = [(RULES[rule].score(record), record.target_miou) for record in records]
    finite = np.array([pair for pair in pairs if all(map(math.isfinite, pair))])
    if len(finite) < 3 or (finite == finite[0]).all(0).any():
        return math.nan
    return float(np.corrcoef([average_ranks(values) for values in finite.T])[0, 1])


Measure = Callable[[Sequence[Record], str], float]


def _taken(records: Sequence[Record], rule: str) -> float:
    chosen = select(records, rule)
    return math.nan if chosen is None else records[chosen].target_miou


def _of_each(measure: Measure, rule: str) -> Callable[[Sequence[Cell]], float]:
    return lambda cells: float(np.mean([measure(cell.records, rule) for cell in cells]))


def _of_all(measure: Measure, rule: str) -> Callable[[Sequence[Cell]], float]:
    return lambda cells: measure([record for cell in cells for record in cell.pooled], rule)


def _spread(
    cells: Sequence[Cell], grid: Grid, value: Callable[[Sequence[Cell]], float], within: tuple[float, float]
) -> Spread:
    """Return the spread of a value of the cells of each fold and seed, which cannot be outside of what is given."""
    by_place: dict[tuple[str, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        by_place[cell.fold, cell.seed].append(cell)
    values = np.full((len(grid.folds), len(grid.seeds)), math.nan)
    for row, fold in enumerate(grid.folds):
        for column, seed in enumerate(grid.seeds):
            if in_place := by_place.get((fold, seed)):
                values[row, column] = value(in_place)
    return spread(values, grid.groups, within)
