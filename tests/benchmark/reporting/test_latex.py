"""The LaTeX table has as many columns in each row as it declares, and nothing in a name is a command."""

import re
from dataclasses import replace

import pytest

from benchmark.evaluation.comparison import Cell, Grid, compare
from benchmark.reporting.latex import COLUMNS, MOST_FOLDS, escape, latex_table
from benchmark.reporting.tables import HEADER, rows

NASTY = r"a_b&c%d#e$f{g}h~i^j\k[l=1]<|>" + '"–é'
GRID = Grid(
    methods=("source-only", NASTY, "oracle"),
    folds=("D012_2019", "50 % & more"),
    seeds=(0,),
    needs={"source-only": "source labels", NASTY: "target images", "oracle": "all labels"},
    bounds=frozenset({"oracle"}),
    control="source-only",
)
SPECIAL = r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}"


def _cells(grid):
    miou = {"source-only": 0.4, NASTY: 0.35, "oracle": 0.6}
    return [
        Cell(method, fold, 0, "done", metrics={"target/miou": miou[method] + 0.1 * number})
        for method in grid.methods
        for number, fold in enumerate(grid.folds)
    ]


def _table(grid=GRID, pixels=None, warnings=()):
    cells = _cells(grid)
    lines = compare(cells, grid)
    return latex_table(lines, cells, grid, pixels or {}, "steps 10\n50 %", warnings), rows(lines, pixels)


def _parsed(text):
    """Columns that are declared, and the cells of each row."""
    lines = text.splitlines()
    assert all(line.startswith("%") for line in lines[:2]) and lines[2].startswith(r"\begin{tabular}")
    inside = lines[3:]
    assert inside[-1] == r"\end{tabular}"
    plain = re.sub(r"\\[{}]", "", "\n".join(lines[2:]))
    depth = 0
    for sign in plain:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    rules = [line for line in inside[:-1] if not line.endswith(r"\\")]
    assert rules[0] == r"\toprule" and rules[-1] == r"\bottomrule" and set(rules[1:-1]) == {r"\midrule"}
    rows = [line.removesuffix(r"\\").strip() for line in inside if line.endswith(r"\\")]
    return re.fullmatch(r"\\begin\{tabular\}\{(l?r*)\}", lines[2])[1], [re.split(r" (?<!\\)& ", row) for row in rows]


@pytest.mark.parametrize("pixels", [None, {"D012_2019": 0.2, "50 % & more": 0.3}])
def test_every_row_has_the_declared_columns_and_the_numbers_of_the_table(pixels):
    text, expected = _table(pixels=pixels)
    columns, found = _parsed(text)
    assert columns == "l" + "r" * 5 and all(len(row) == 6 for row in found)
    assert found[0] == ["method", "target mIoU", r"95 \% interval", "gain", r"D012\_2019", r"50 \% \& more"]
    for mine, row in zip(found[1:], expected, strict=True):
        numbers = [row[HEADER.index(name)] for name in COLUMNS[1:]]
        assert [cell.strip("$").replace("--", "–") for cell in mine[1:4]] == numbers
    assert [row[4] for row in found[1:4]] == ["40.0", "35.0", "60.0"]
    assert found[2][3] == "$-5.0$" and text.count(r"\midrule") == 2, "bounds and the baseline have a line above them"
    assert text.index(r"\midrule" + "\noracle") > 0


def test_no_name_is_read_as_a_command():
    """Without what escapes it, nothing special is left of a name."""
    left = re.sub(SPECIAL + r"|\\[&%$#_{}]|\{[\[\]*]\}", "", escape(NASTY))
    assert left == "abcdefghijkl=1''--é"
    assert escape("a\nb\x1b") == r"a b\textbackslash{}x1b"
    assert escape(NASTY) in _table()[0]


def test_of_many_folds_no_column_is_drawn_and_warnings_stand_below():
    many = replace(GRID, folds=tuple(f"f{number}" for number in range(MOST_FOLDS + 1)))
    text, _ = _table(many, warnings=["not calibrated, 50 % of it"])
    columns, found = _parsed(text)
    assert columns == "lrrr" and {len(row) for row in found[:-1]} == {4}
    assert found[-1] == [r"\multicolumn{4}{l}{\footnotesize not calibrated, 50 \% of it}"]
