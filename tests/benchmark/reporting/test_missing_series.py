"""What methods lose where something is missing of the series."""

from dataclasses import replace

import pytest

from benchmark.data.series.corruptions import CORRUPTIONS
from benchmark.evaluation.comparison import Cell, Grid
from benchmark.reporting.missing_series import compare_missing

NEEDS = {"source-only": "", "idea": "", "stream": "", "oracle": "", "blind": ""}
GRID = Grid(tuple(NEEDS), ("north", "south"), (0, 1), NEEDS, frozenset({"oracle"}), "source-only")
WHOLE = {"source-only": 0.4, "idea": 0.5, "stream": 0.45, "oracle": 0.6}
LOST = dict(zip(CORRUPTIONS, (0.01, 0.1, 0.2, 0.3), strict=True))


def _cell(method, fold, seed):
    if method == "blind":
        return Cell(method, fold, seed, "skipped", "why")
    metrics = {"target/miou": WHOLE[method] + 0.02 * seed}
    if method != "stream":
        metrics |= {f"target_missing/{name}/miou": metrics["target/miou"] - lost for name, lost in LOST.items()}
    return Cell(method, fold, seed, "done", metrics=metrics)


@pytest.fixture
def cells():
    return [_cell(method, fold, seed) for method in GRID.methods for fold in GRID.folds for seed in GRID.seeds]


def test_each_method_has_its_means_best_first_and_bounds_last(cells):
    lines = compare_missing(cells, GRID)
    assert [line.method for line in lines] == ["idea", "stream", "source-only", "oracle"] and lines[-1].bound
    assert lines[0].whole == pytest.approx(0.51)
    assert lines[0].missing == pytest.approx({name: 0.51 - lost for name, lost in LOST.items()})
    assert (lines[0].cells, lines[0].expected) == (4, 4)
    assert lines[1].whole == pytest.approx(0.46) and not any(value >= 0 for value in lines[1].missing.values())


def test_all_columns_of_a_line_are_means_over_the_same_cells(cells):
    """A cell whose checkpoint another rule took has no such numbers."""
    one = next(n for n, cell in enumerate(cells) if (cell.method, cell.fold, cell.seed) == ("idea", "south", 0))
    cells[one] = replace(cells[one], metrics={"target/miou": 0.0})
    line = compare_missing(cells, GRID)[0]
    assert line.whole == pytest.approx((0.51 + 0.52) / 2) and line.cells == 3 and line.expected == 4
    assert line.missing["no-series"] == pytest.approx(line.whole - 0.3)


def test_without_such_numbers_there_is_no_line(cells):
    assert compare_missing([cell for cell in cells if cell.method in ("stream", "blind")], GRID) == []
    assert compare_missing([], GRID) == []
