"""The table of confidence."""

import json
from types import SimpleNamespace

import pytest

from benchmark.evaluation.comparison import Cell, Grid
from benchmark.reporting.confidence_table import compare_confidence, confidence_record, confidence_tables

NEEDS = dict.fromkeys(("source-only", "adapted", "oracle", "old"), "")
GRID = Grid(tuple(NEEDS), ("north", "south"), (0, 1), NEEDS, frozenset({"oracle"}), "source-only")
ECE = {"source-only": 0.1, "adapted": 0.2, "oracle": 0.05}


def _cell(method, fold, seed):
    metrics = {"target/miou": 0.5 + 0.1 * (fold == "south")}
    if method in ECE:
        metrics |= {"target/ece": ECE[method] + 0.02 * seed, "target/selective_miou": 0.7}
    if method == "source-only":
        metrics |= {"target/ece_temperature": 0.04, "target/temperature": 1.5}
    return Cell(method, fold, seed, "done", metrics=metrics)


@pytest.fixture
def state():
    cells = [_cell(method, fold, seed) for method in GRID.methods for fold in GRID.folds for seed in GRID.seeds]
    return SimpleNamespace(cells=cells, grid=GRID)


def test_the_best_calibrated_is_first_and_bounds_are_last(state):
    (table,) = confidence_tables(state)
    assert table.header[0] == "method" and table.title == "Confidence"
    assert [list(row) for row in table.rows] == [
        ["source-only", "55.0", "70.0", "11.0", "4.0", "1.50"],
        ["adapted", "55.0", "70.0", "21.0", "–", "–"],
        ["oracle (bound)", "55.0", "70.0", "6.0", "–", "–"],
    ]


def test_all_means_of_a_line_are_over_the_cells_with_such_numbers(state):
    """Another rule may have taken a checkpoint of an older run, which has none."""
    state.cells = [cell for cell in state.cells if (cell.method, cell.fold) != ("adapted", "south")]
    state.cells += [Cell("adapted", "south", seed, "done", metrics={"target/miou": 0.6}) for seed in (0, 1)]
    line = {line.method: line for line in compare_confidence(state.cells, GRID)}["adapted"]
    assert line.values["target mIoU"] == pytest.approx(0.5)


def test_the_record_holds_the_numbers_by_the_names_of_the_metrics(state):
    record = json.loads(json.dumps(confidence_record(state)))["confidence"]
    assert record["source-only"]["temperature"] == 1.5 and record["adapted"]["ece_temperature"] is None
    assert record["source-only"]["ece"] == pytest.approx(0.11) and "old" not in record


def test_runs_of_older_versions_have_no_table(state):
    state.cells = [cell for cell in state.cells if cell.method == "old"]
    assert confidence_tables(state) == [] and confidence_record(state) == {}
