"""Rules on a comparison made by hand, whose best checkpoints are known."""

import math
from dataclasses import replace

import pytest

from benchmark.evaluation.comparison import Cell, Grid
from benchmark.evaluation.selection import Record
from benchmark.evaluation.selection_rules import compare_rules

GRID = Grid(
    methods=("source-only", "idea", "oracle", "stream"),
    folds=("north", "south"),
    seeds=(0,),
    needs={},
    bounds=frozenset({"oracle"}),
    control="source-only",
)


def run(method, fold, *checkpoints):
    """Checkpoints as (source validation, target, score of nuclear norm)."""
    records = [
        Record(step, validation, target, {} if score is None else {"nuclear-norm": score})
        for step, (validation, target, score) in enumerate(checkpoints, 1)
    ]
    return Cell(method, fold, 0, "done", metrics={}, records=records, pooled=records)


CELLS = [
    run("source-only", "north", (0.5, 0.40, 3.0), (0.6, 0.30, 1.0)),
    run("idea", "north", (0.4, 0.50, 4.0), (0.3, 0.20, 0.0)),
    run("source-only", "south", (0.5, 0.10, 1.0), (0.6, 0.20, 2.0)),
    run("idea", "south", (0.7, 0.15, 1.5), (0.4, 0.25, 2.5)),
    run("oracle", "north", (0.9, 0.99, 9.0), (0.9, 0.99, 9.0)),
    run("stream", "north", (0.9, 0.99, None)),
]


@pytest.fixture
def lines():
    return {line.rule: line for line in compare_rules(CELLS, GRID)}


def test_regret_within_a_run_is_the_mean_over_runs(lines):
    """Source validation takes the second, first, second and first checkpoint: 0.1, 0, 0 and 0.1 are lost."""
    assert lines["source-validation"].target.mean == pytest.approx((0.3 + 0.5 + 0.2 + 0.15) / 4)
    assert lines["source-validation"].regret.mean == pytest.approx(0.05)
    assert lines["nuclear-norm"].regret.mean == 0, "its scores rank as the target does"
    assert lines["oracle-rule"].regret.mean == 0 and not lines["oracle-rule"].legitimate


def test_regret_among_all_lets_the_rule_choose_the_method_too(lines):
    """Source validation takes 0.30 of 0.50 in the north, and 0.15 of 0.25 in the south."""
    assert lines["source-validation"].regret_among_all.mean == pytest.approx((0.2 + 0.1) / 2)
    assert lines["nuclear-norm"].regret_among_all.mean == 0
    assert math.isnan(lines["last-step"].regret_among_all.mean), "all runs end at the same step"


def test_rank_correlation_is_over_all_checkpoints_of_a_fold(lines):
    """North: validation ranks 3 4 2 1, target 3 2 4 1, so rho = 1 - 6 * 8 / 60; south: 2 3 4 1 and 1 3 2 4, so
    1 - 6 * 14 / 60."""
    assert lines["source-validation"].rank_correlation.mean == pytest.approx((0.2 - 0.4) / 2)
    assert lines["nuclear-norm"].rank_correlation.mean == pytest.approx(1)


def test_each_rule_says_of_how_many_runs_it_is_and_what_source_only_gives_on_them(lines):
    """A run without source data is not for source validation to choose in; nuclear norm has a score of it."""
    free = run("free", "south", (0.9, 0.7, 1.0), (0.1, 0.6, 2.0))
    grid = replace(GRID, methods=(*GRID.methods, "free"), source_free=frozenset({"free"}))
    found = {line.rule: line for line in compare_rules([*CELLS, free], grid)}
    assert (found["source-validation"].runs, found["source-validation"].of) == (4, 5)
    assert found["source-validation"].target == lines["source-validation"].target
    assert (found["nuclear-norm"].runs, found["nuclear-norm"].of) == (5, 5)
    assert found["nuclear-norm"].target.mean == pytest.approx(((0.4 + 0.5) / 2 + (0.2 + 0.25 + 0.6) / 3) / 2)
    assert found["source-validation"].control.mean == pytest.approx((0.3 + 0.2) / 2)
    assert found["nuclear-norm"].control.mean == pytest.approx((0.4 + 0.2) / 2)


def test_a_rule_that_took_nothing_has_no_line(lines):
    assert "target-entropy" not in lines and compare_rules([], GRID) == []


def test_without_scores_the_rules_that_need_none_are_compared():
    bare = [Cell(c.method, c.fold, 0, "done", records=[Record(1, 0.5, 0.4), Record(2, 0.6, 0.3)]) for c in CELLS[:2]]
    assert {line.rule for line in compare_rules(bare, GRID)} == {"source-validation", "last-step", "oracle-rule"}
