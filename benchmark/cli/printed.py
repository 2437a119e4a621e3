"""The comparison in the terminal."""

import re
from collections.abc import Sequence

from benchmark.common.console import console, plain_table
from benchmark.common.texts import shown
from benchmark.reporting.tables import HEADER

COLUMNS = (  # each with its turn to be left out where the terminal is too narrow; 0 for never
    ("method", 0),
    ("target mIoU", 0),
    ("95 % interval", 4),
    ("gain", 0),
    ("gap closed", 6),
    ("source val", 5),
    ("worst", 2),
    ("rare", 1),
    ("device-seconds", 3),
)
MEANING = {
    "target mIoU": "percent, mean over folds and seeds",
    "gain": "points over source-only",
    "gap closed": "share of the way from source-only to the oracle",
    "source val": "mIoU on source images that were not trained on",
    "worst": "the lowest fold",
    "rare": "the rarer half of the classes",
    "device-seconds": "of one training, median",
}
TWO_LINES = re.compile("(target |gap |source |device-)")


def print_comparison(body: Sequence[Sequence[str]], rules: str, empty: str, shared: str) -> None:
    """Print the comparison as a table, with as many columns as the terminal is wide.

    Args:
        body: rows of `benchmark.reporting.tables.rows`.
        rules: which rules chose the checkpoints; "" where that is not known.
        empty: cells without a result, a line each.
        shared: what all runs share.
    """
    for left_out in range(1 + max(turn for _, turn in COLUMNS)):
        columns = [name for name, turn in COLUMNS if not 0 < turn <= left_out]
        # Two names in two lines, or they would be wider than their numbers.
        header = [TWO_LINES.sub(r"\1\n", column) for column in columns]
        table = plain_table(header, [[row[HEADER.index(column)] for column in columns] for row in body])
        if console.measure(table, options=console.options.update(width=10_000)).maximum <= console.width:
            break
    console.print(table)
    meaning = "; ".join(f"{column}: {MEANING[column]}" for column in columns if column in MEANING)
    console.print(meaning, style="dim", markup=False, highlight=False)
    if rules:
        console.print(rules, style="dim", markup=False, highlight=False)
    if empty:
        console.print("cells without a result:", highlight=False)
        console.print("\n".join(map(shown, empty.splitlines())), markup=False, highlight=False, soft_wrap=True)
    console.print(shown(shared), style="dim", markup=False, highlight=False)
