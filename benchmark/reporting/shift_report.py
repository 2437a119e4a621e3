"""Shifts as a table, and as a figure: where and when the domains are, and what the shift costs source-only."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmark.common.texts import markdown as escaped

ENOUGH = 5  # folds for a rank correlation to be quoted
YARDSTICKS = ("chance",)  # beside what another measure is read; no measure of the shift itself

DomainShiftRow = Mapping[str, Any]
"""protocol, fold, a number for each measure, and drop: of source-only, from source validation to target, in points."""


def header(measures: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the table's columns."""
    return ("protocol", "fold", *measures, "drop")


def cells(rows: Sequence[DomainShiftRow], measures: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the table's rows as text."""
    return [(row["protocol"], row["fold"], *(_number(row[name]) for name in (*measures, "drop"))) for row in rows]


def markdown(rows: Sequence[DomainShiftRow], measures: Mapping[str, str], note: str) -> str:
    """Return the table, what its columns mean, and how each measure ranks with the drop."""
    names = header(list(measures))
    lines = [f"| {' | '.join(names)} |", f"|---|---|{'---:|' * (len(names) - 2)}"]
    lines += [f"| {' | '.join(map(escaped, row))} |" for row in cells(rows, list(measures))]
    lines += ["", *(f"- *{name}*: {text}" for name, text in measures.items())]
    lines += ["- *drop*: source-only's mIoU on source validation minus that on the target, in points", "", note]
    ranks = correlations(rows, list(measures))
    if ranks:
        text = ", ".join(f"{name} {rank:+.2f}" for name, rank in sorted(ranks.items(), key=lambda item: -item[1]))
        lines += ["", f"Rank correlation (Spearman) with the drop over {len(_known(rows))} folds: {text}."]
    return "\n".join(lines) + "\n"


def as_csv(rows: Sequence[DomainShiftRow], measures: Sequence[str]) -> str:
    """Return the table as CSV, with all digits that count."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header(measures))
    for row in rows:
        writer.writerow([row["protocol"], row["fold"], *(f"{row[name]:.6g}" for name in (*measures, "drop"))])
    return text.getvalue()


def correlations(rows: Sequence[DomainShiftRow], measures: Sequence[str]) -> dict[str, float]:
    """Return Spearman's rank correlation of each measure with the drop, where there are folds enough and both vary."""
    with_drop = _known(rows)
    drops = np.array([row["drop"] for row in with_drop])
    by_measure = {}
    for name in (name for name in measures if name not in YARDSTICKS):
        values = np.array([row[name] for row in with_drop])
        if len(with_drop) >= ENOUGH and np.isfinite(values).all() and np.ptp(values) > 0 and np.ptp(drops) > 0:
            by_measure[name] = float(spearmanr(values, drops).statistic)
    return by_measure


def draw(rows: Sequence[DomainShiftRow], patches: pd.DataFrame, measures: Sequence[str], path: Path) -> None:
    """Draw a map of the domains, coloured by time, and the drop against two measures, or the measures alone."""
    import matplotlib

    matplotlib.rcParams["text.parse_math"] = False  # a name with $ is no formula
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.6))
    left, middle, right = figure.subplots(1, 3, width_ratios=[5, 4, 4])
    _draw_domains(left, patches)
    for axes, name in ((middle, "proxy_a"), (right, "prior_js")):
        _draw_measure(axes, rows, name)
    handles, labels = middle.get_legend_handles_labels()
    if labels:
        middle.legend(handles, labels, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _draw_domains(axes: Any, patches: pd.DataFrame) -> None:
    from matplotlib import colormaps

    times = sorted(patches["time"].unique())
    centres = patches.groupby(["place", "time"])[["x", "y"]].mean().reset_index()
    mapped = bool(np.isfinite(centres[["x", "y"]]).all(axis=None))
    if not mapped:  # without coordinates: a grid of places and times
        order = {place: number for number, place in enumerate(sorted(centres["place"].unique()))}
        centres["x"], centres["y"] = centres["time"].map(times.index), -centres["place"].map(order)
    reach = float(np.ptp(centres["x"])) or 1.0
    for number, time in enumerate(times):
        chosen = centres[centres["time"] == time]
        color = colormaps["viridis"](number / max(1, len(times) - 1))
        # Domains of one place are on the same ground: drawn beside each other, so that all are seen.
        aside = 0.02 * reach * (number - (len(times) - 1) / 2) if mapped else 0.0
        axes.plot(chosen["x"] + aside, chosen["y"], "o", color=color, markersize=9, label=str(time) or "no time")
    for place, group in centres.groupby("place"):
        axes.annotate(
            place, (group["x"].mean(), group["y"].mean()), xytext=(0, 9), textcoords="offset points", ha="center"
        )
    axes.legend(title="time", fontsize=8)
    axes.set_title("domains: place" + (" (x, y of the data set)" if mapped else " and time; no coordinates known"))
    axes.margins(0.15)
    if mapped:
        axes.set_aspect("equal", adjustable="datalim")
        axes.ticklabel_format(useOffset=False, style="plain")
        axes.tick_params(labelsize=7)
    else:
        axes.set_xticks(range(len(times)), times)
        axes.set_yticks([])


def _draw_measure(axes: Any, rows: Sequence[DomainShiftRow], name: str) -> None:
    with_drop = _known(rows)
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    colors = [f"C{number}" for number in range(10)]
    if with_drop:
        for protocol, color in zip(protocols, colors, strict=False):
            shown = [row for row in with_drop if row["protocol"] == protocol and math.isfinite(row[name])]
            axes.plot(
                [row[name] for row in shown],
                [row["drop"] for row in shown],
                "o",
                color=color,
                label=protocol,
            )
            for row in shown:
                axes.annotate(
                    row["fold"], (row[name], row["drop"]), xytext=(4, 3), textcoords="offset points", fontsize=6
                )
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set(xlabel=name, ylabel="drop of source-only, points")
        return
    axes.barh([row["fold"] for row in rows], [row[name] for row in rows], color="C0")
    if name == "proxy_a":
        axes.plot([row["chance"] for row in rows], [row["fold"] for row in rows], "k|", markersize=10, label="chance")
    axes.tick_params(labelsize=7)
    axes.set_xlabel(name)


def _known(rows: Sequence[DomainShiftRow]) -> list[DomainShiftRow]:
    return [row for row in rows if math.isfinite(row["drop"])]


def _number(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
