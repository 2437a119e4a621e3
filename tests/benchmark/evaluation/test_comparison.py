"""From cells to lines: what is paired is of one fold and seed, in whatever order the cells come and whichever lack."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from benchmark.evaluation.comparison import Cell, Grid, compare, table

GRID = Grid(
    methods=("control", "idea", "bound"),
    folds=("south", "north", "east"),
    seeds=(7, 0),
    needs=dict.fromkeys(("control", "idea", "bound"), "source labels"),
    bounds=frozenset({"bound"}),
    control="control",
)
ADDED = {"control": 0.0, "idea": 0.1, "bound": 0.4}
SLOWER = {"control": 1.0, "idea": 3.0, "bound": 1.0}


@pytest.fixture
def cells():
    """Every cell of the control has a value and a time of its own; the others differ from it by the same everywhere."""
    values = {}
    for number, (fold, seed) in enumerate((fold, seed) for fold in GRID.folds for seed in GRID.seeds):
        values[fold, seed] = 0.1 + 0.09 * number
    found = [
        Cell(
            method,
            fold,
            seed,
            "done",
            metrics={
                "target/miou": value + ADDED[method],
                "selected/source_val_miou": 0.9 - value,
                "time/training_seconds": 1000 * value * SLOWER[method],
            },
        )
        for method in GRID.methods
        for (fold, seed), value in values.items()
    ]
    random.Random(0).shuffle(found)
    return found


def test_a_value_is_in_the_row_of_its_fold_and_the_column_of_its_seed(cells):
    found = table(cells, GRID, "control", "target/miou")
    assert found == pytest.approx(np.array([[0.1, 0.19], [0.28, 0.37], [0.46, 0.55]]))
    assert table(cells, GRID, "idea", "target/miou") == pytest.approx(found + 0.1)
    assert np.isnan(table(cells, GRID, "idea", "no such metric")).all()


@pytest.mark.parametrize("missing", [None, ("control", "south", 7), ("idea", "east", 0), ("idea", "north", 7)])
def test_a_method_is_compared_with_the_control_on_the_same_fold_and_seed(cells, missing):
    """A gain that is the same everywhere has no spread, however much folds and seeds differ."""
    kept = [
        replace(cell, status="failed", metrics=None) if (cell.method, cell.fold, cell.seed) == missing else cell
        for cell in cells
    ]
    lines = {line.method: line for line in compare(kept, GRID)}
    gain = lines["idea"].gain
    assert (gain.mean, gain.low, gain.high, gain.worst) == pytest.approx((0.1,) * 4)
    assert gain.cells == (6 if missing is None else 5)
    assert lines["idea"].cost == pytest.approx(3) and lines["control"].gain.mean == 0
    ratio = lines["idea"].gap_closed
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.25,) * 3)
    assert math.isnan(lines["bound"].gap_closed.value) and math.isnan(lines["control"].gap_closed.value)


def test_target_and_source_validation_are_not_confused(cells):
    line = compare(cells, GRID)[0]
    assert line.target.mean == pytest.approx(0.325) and line.source_val.mean == pytest.approx(0.575)
    assert line.target.worst == pytest.approx(0.145), "the mean over seeds of the worst fold"
