"""The tables of a comparison that are about series: what is lost without them, and what they add to images."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.common.texts import markdown, markdown_table, percent
from benchmark.data.series.corruptions import CORRUPTIONS
from benchmark.reporting.missing_series import MissingLine, compare_missing
from benchmark.reporting.modalities import Modalities

if TYPE_CHECKING:
    from benchmark.reporting.collect import ComparisonState

ABOUT_MISSING = f"""\
Target mIoU in percent, mean over folds and seeds, where something is missing of the test's series: the training had
all of it, and the checkpoint was chosen before. {
    " ".join(f"*{name.replace('-', ' ').capitalize()}*: {each.words}." for name, each in CORRUPTIONS.items())
} A network of image and series then has the image left, one of the series alone nothing. What sees *the test stream*
has no such numbers: it learns from the test itself, so that each would be of another training."""
ABOUT_MODALITIES = """\
Target mIoU in percent, mean over the folds and seeds that all columns have, with networks that differ in their series
settings alone; in brackets the gain over {control} of the same column, in points. The last row is what {control} gains
over itself on images alone. Folds: {folds}; seeds: {seeds}."""


@dataclass(frozen=True)
class TextTable:
    """A table of texts, with what it means in Markdown, and lines below it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    about: str
    lines: Sequence[str] = ()

    @property
    def markdown(self) -> str:
        """Return all of it in Markdown."""
        table = markdown_table(self.header, self.rows)
        return "\n\n".join(
            filter(None, [f"{self.title}:", table, self.about, "\n".join(f"- {markdown(line)}" for line in self.lines)])
        )


def series_tables(state: "ComparisonState") -> list[TextTable]:
    """Return the tables that a comparison has; none where no network sees series."""
    tables = []
    if missing := compare_missing(state.cells, state.grid):
        header = ("method", "as they are", *(name.replace("-", " ") for name in CORRUPTIONS))
        tables.append(TextTable("Missing series", header, [_missing_row(line) for line in missing], ABOUT_MISSING))
    if modalities := state.modalities:
        header, rows = ("method", *modalities.lines), modality_rows(modalities)
        folds, seeds = (", ".join(map(str, names)) for names in (modalities.folds, modalities.seeds))
        about = ABOUT_MODALITIES.format(control=modalities.control, folds=folds, seeds=seeds)
        tables.append(TextTable("Modalities", header, rows, about, _not_there(modalities)))
    return tables


def _missing_row(line: MissingLine) -> list[str]:
    counted = f" ({line.cells} of {line.expected} cells)" if line.cells < line.expected else ""
    shown = f"{line.method}{' (bound)' if line.bound else ''}{counted}"
    return [shown, percent(line.whole), *map(percent, line.missing.values())]


def modality_rows(modalities: Modalities) -> list[list[str]]:
    """Return a row a method with a column a modality, and a last one with the gains of the control over images."""
    rows = []
    for method in modalities.methods:
        bound = any(lines[method].bound for lines in modalities.lines.values() if method in lines)
        cells = [_cell(modalities, name, method) for name in modalities.lines]
        rows.append([f"{method}{' (bound)' if bound else ''}", *cells])
    gains = [percent(modalities.over_images.get(name, math.nan), sign=True) for name in modalities.lines]
    return [*rows, [f"{modalities.control} over itself on images alone (no method)", *gains]]


def _cell(modalities: Modalities, name: str, method: str) -> str:
    line = modalities.lines[name].get(method)
    if line is None:
        return "not requested"
    if not line.target.cells:
        return _status(modalities, name, method)
    gain = "" if method == modalities.control else f" ({percent(line.gain.mean, sign=True)})"
    return percent(line.target.mean) + gain + (f", {line.target.cells} of {line.expected} cells" * line.partial)


def _status(modalities: Modalities, name: str, method: str) -> str:
    """Return the commonest status of cells without any result."""
    return Counter(cell.status for cell in modalities.cells[name] if cell.method == method).most_common(1)[0][0]


def _not_there(modalities: Modalities) -> list[str]:
    """Return why cells, and whole modalities, hold no result."""
    counts = Counter(
        (cell.method, name, cell.status, cell.reason)
        for name, cells in modalities.cells.items()
        for cell in cells
        if cell.status != "done"
    )
    lines = [
        f"{method}, {name}: {count} × {status}{f': {reason}' if reason else ''}"
        for (method, name, status, reason), count in sorted(counts.items())
    ]
    return lines + [f"{name} is left out: {reason}" for name, reason in modalities.left_out.items()]


def series_record(state: "ComparisonState") -> dict[str, Any]:
    """Return the numbers of the tables (shares) for ``comparison.json``; None where one is not known."""
    record: dict[str, Any] = {}
    if missing := compare_missing(state.cells, state.grid):
        record["missing_series"] = {
            line.method: {name: _number(value) for name, value in {"as-they-are": line.whole, **line.missing}.items()}
            for line in missing
        }
    if modalities := state.modalities:
        record["modalities"] = {
            "folds": modalities.folds,
            "seeds": modalities.seeds,
            "methods": [
                {"method": method, "modality": name, "target_miou": _number(line.target.mean)}
                | {"gain": _number(line.gain.mean), "cells": line.target.cells}
                for name, lines in modalities.lines.items()
                for method, line in lines.items()
            ],
            "control_over_images": {name: _number(gain) for name, gain in modalities.over_images.items()},
            "left_out": modalities.left_out,
        }
    return record


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
