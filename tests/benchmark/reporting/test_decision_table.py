"""The table of decisions."""

import json
from types import SimpleNamespace

from benchmark.evaluation.comparison import Cell, Grid
from benchmark.reporting.decision_table import decision_record, decision_tables

NEEDS = dict.fromkeys(("adapted", "source-only", "oracle", "old"), "")
GRID = Grid(tuple(NEEDS), ("north", "south"), (0,), NEEDS, frozenset({"oracle"}), "source-only")
ARGMAX = {"adapted": 0.4, "source-only": 0.5, "oracle": 0.7, "old": 0.6}


def _cell(method, fold):
    metrics = {"target/miou": ARGMAX[method] + 0.1 * (fold == "south")}
    if method != "old":
        metrics["target_decision/rankseg/miou"] = metrics["target/miou"] + 0.02
    if method in ("source-only", "oracle"):
        metrics["target_decision/prior/miou"] = metrics["target/miou"] - 0.01
    return Cell(method, fold, 0, "done", metrics=metrics)


def test_each_decision_has_its_gain_over_argmax_on_the_same_cells():
    cells = [_cell(method, fold) for method in GRID.methods for fold in GRID.folds]
    cells[1] = Cell("adapted", "south", 0, "done", metrics={"target/miou": 0.9})  # as of an older version
    state = SimpleNamespace(cells=cells, grid=GRID)
    (table,) = decision_tables(state)
    assert table.header == ("method", "argmax", "RankSEG", "prior")
    assert [list(row) for row in table.rows] == [
        ["source-only", "55.0", "+2.0", "-1.0"],
        ["adapted", "40.0", "+2.0", "–"],
        ["oracle (bound)", "75.0", "+2.0", "-1.0"],
    ]
    record = json.loads(json.dumps(decision_record(state)))["decisions"]
    assert record["adapted"]["prior"] is None and set(record) == {"adapted", "source-only", "oracle"}
    state.cells = [cell for cell in cells if cell.method == "old"]
    assert decision_tables(state) == [] and decision_record(state) == {}
