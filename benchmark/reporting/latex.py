r"""The comparison as a LaTeX table, for a paper: a ``tabular`` in the style of the package booktabs."""

import re
from collections.abc import Mapping, Sequence

from benchmark.common.texts import shown
from benchmark.evaluation.comparison import Cell, Grid, Line
from benchmark.reporting.tables import HEADER, PIXELS, fold_rows, rows

COLUMNS = ("method", "target mIoU", "95 % interval", "gain")  # of the headline; those of the folds come after
MOST_FOLDS = 12  # with more, a page has no room for a column each
_SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # behind the end of a row they would belong to it
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≈": r"$\approx$",
}


def latex_table(
    lines: Sequence[Line],
    cells: Sequence[Cell],
    grid: Grid,
    pixels: Mapping[str, float],
    shared: str,
    warnings: Sequence[str] = (),
) -> str:
    """Return the headline table: target mIoU in percent with its interval, gain over the control, and every fold.

    Bounds and the per-pixel baseline stand below a line of their own. With more than `MOST_FOLDS` folds their columns
    are left out.

    Args:
        pixels: mean IoU of the per-pixel baseline on each fold; empty for none.
        shared: what all runs have in common, for a comment.
        warnings: what a reader must know before the table is believed; they are printed below it.
    """
    folds = grid.folds if len(grid.folds) <= MOST_FOLDS else ()
    of_fold = {row[0]: row[1:] for row in fold_rows(cells, grid, pixels)[1]} if folds else {}
    names = {line.shown: line.method for line in lines} | {PIXELS: PIXELS}
    apart = {line.shown for line in lines if line.bound} | {PIXELS}
    places = [HEADER.index(name) for name in COLUMNS]
    body, ruled = [], False
    for row in rows(lines, pixels):
        if row[0] in apart and not ruled:
            body.append(r"\midrule")
            ruled = True
        body.append(_row([*(row[place] for place in places), *of_fold.get(names[row[0]], ())]))
    header, count = [*COLUMNS, *folds], len(COLUMNS) + len(folds)
    return "\n".join(
        [
            r"% \usepackage{booktabs} belongs into the preamble. mIoU in percent, mean over folds and seeds.",
            f"% {shown(shared)}",
            rf"\begin{{tabular}}{{l{'r' * (count - 1)}}}",
            r"\toprule",
            _row(header),
            r"\midrule",
            *body,
            r"\bottomrule",
            *(rf"\multicolumn{{{count}}}{{l}}{{\footnotesize {escape(warning)}}} \\" for warning in warnings),
            r"\end{tabular}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Return a text as LaTeX prints it, in one line: names come from data."""
    return "".join(_SPECIAL.get(sign, sign) for sign in shown(text))


def _row(values: Sequence[str]) -> str:
    return " & ".join(f"${value}$" if _is_negative(value) else escape(value) for value in values) + r" \\"


def _is_negative(value: str) -> bool:
    """Return whether it is a number below zero, which needs a minus sign and not a hyphen."""
    return bool(re.fullmatch(r"-[\d.]+", value))
