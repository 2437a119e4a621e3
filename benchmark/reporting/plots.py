"""Figures of a comparison."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure  # not pyplot, which would take a notebook's own figures over
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image

from benchmark.evaluation.comparison import Cell, Grid, Line, table
from benchmark.evaluation.significance import Ranking
from benchmark.evaluation.statistics import mean_of_known

matplotlib.rcParams["text.parse_math"] = False  # a name with $ is no formula
DPI = 130
BLUE, GREY, ORANGE = "#0072b2", "#888888", "#d55e00"


def draw(
    lines: Sequence[Line],
    cells: Sequence[Cell],
    grid: Grid,
    title: str,
    path: Path | None = None,
    pixels: Mapping[str, float] | None = None,
) -> Figure | None:
    """Draw two panels: target mIoU of each method (folds small, mean and interval large), and the gain of every fold.

    Args:
        path: file that the figure is written to; None to write none.
        pixels: mean IoU of the per-pixel baseline on each fold, for a line to compare with.
    """
    ordered = sorted((line for line in lines if line.target.cells), key=_upwards)
    if not ordered:
        return None  # nothing is done yet, and an empty figure would say less than the reasons in the text
    names = [line.method for line in ordered]
    height = 1.6 + 0.36 * len(ordered)
    width = max(3.0, 0.62 * len(grid.folds))
    figure = Figure(figsize=(7 + width, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[5, width])
    for place, line in enumerate(ordered):
        folds = 100 * np.array([mean_of_known(row) for row in table(cells, grid, line.method, "target/miou")])
        color = GREY if line.bound else BLUE
        left.plot(folds, np.full(len(folds), place - 0.2), "o", color=color, alpha=0.6, markersize=4)
        left.plot([100 * line.target.low, 100 * line.target.high], [place, place], color=color, linewidth=3)
        left.plot(100 * line.target.mean, place, "o", color=color, markersize=9)
        left.plot(100 * line.source_val.mean, place, "|", color=ORANGE, markersize=14, markeredgewidth=2)
        if line.method == grid.control:
            left.axvline(100 * line.target.mean, color="black", linewidth=0.8, linestyle="dotted")
    left.set_yticks(range(len(names)), [line.shown for line in ordered])
    left.set_ylim(-0.6, len(names) - 0.4)
    reference = ""
    if pixels and np.isfinite(list(pixels.values())).all():
        left.axvline(100 * np.mean(list(pixels.values())), color=ORANGE, linewidth=0.8, linestyle="dashed")
        reference = "; dashed: per-pixel baseline"
    left.set_xlabel(f"target mIoU (%): mean, 95 % interval, folds\norange: source validation{reference}")
    _draw_gains(right, names, cells, grid)
    figure.suptitle(title, fontsize=11)
    if path:
        _save(figure, path)
    return figure


def _upwards(line: Line) -> tuple[bool, bool, float]:
    """Return the key that sorts from the bottom up: bounds, what lacks cells, and then the worst first."""
    return not line.bound, not line.partial, line.target.mean


def _draw_gains(axes: Any, names: Sequence[str], cells: Sequence[Cell], grid: Grid) -> None:
    control = table(cells, grid, grid.control, "target/miou")
    gains = [[mean_of_known(row) for row in table(cells, grid, name, "target/miou") - control] for name in names]
    values = 100 * np.array(gains).reshape(len(names), len(grid.folds))
    reach = max(5.0, float(np.nanmax(np.abs(values)))) if np.isfinite(values).any() else 5.0
    axes.imshow(values, cmap="RdBu", vmin=-reach, vmax=reach, aspect="auto", origin="lower")
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text, dark = (f"{value:+.1f}", abs(value) > 0.6 * reach) if math.isfinite(value) else ("–", False)
        _write(axes, column, row, text, "white" if dark else "black")
    axes.set_xticks(range(len(grid.folds)), grid.folds, rotation=45, ha="right", fontsize=8)
    axes.set_yticks([])
    axes.set_xlabel(f"gain over {grid.control or 'the control'}\nin points, by held-out fold")


def _write(axes: Any, column: int, row: int, text: str, color: str) -> None:
    """Write into a cell of a heat map, where the figure's layout need not measure it."""
    axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color).set_in_layout(False)


def draw_ranks(ranking: Ranking, path: Path) -> None:
    """Draw a critical-difference diagram: mean ranks, and bars over methods that Nemenyi's test does not separate."""
    import pandas as pd
    from scikit_posthocs import critical_difference_diagram  # takes seconds to import

    names = list(ranking.ranks)
    different = pd.DataFrame(ranking.nemenyi_p, index=names, columns=names)
    figure = Figure(figsize=(9, 1.6 + 0.16 * len(names)), layout="constrained")
    axes = figure.subplots()
    critical_difference_diagram(dict(ranking.ranks), different, ax=axes, label_props={"fontsize": 8})
    axes.set_title(
        f"Mean rank over {ranking.domains} held-out domains (1 is best); critical difference "
        f"{ranking.critical_difference:.2f} (Nemenyi, 5 %), Friedman p = {ranking.friedman_p:.2g}",
        fontsize=9,
    )
    _save(figure, path)


def draw_classes(lines: Sequence[Line], cells: Sequence[Cell], classes: Mapping[str, float], path: Path) -> None:
    """Draw a heat map of IoU by method and class, mean over folds and seeds.

    Args:
        classes: share of the tests' pixels of each class, by the name it has in metrics; shown most frequent first.
    """
    ordered = [line.method for line in sorted(lines, key=lambda line: line.target.mean) if line.target.cells]
    names = sorted(classes, key=lambda name: -classes[name])
    values = np.full((len(ordered), len(names)), math.nan)
    for row, method in enumerate(ordered):
        runs = [cell.metrics for cell in cells if cell.method == method and cell.metrics]
        for column, name in enumerate(names):
            values[row, column] = 100 * mean_of_known(np.array([m.get(f"target/iou/{name}", math.nan) for m in runs]))
    size = (max(7.0, 3.4 + 0.62 * len(names)), 1.8 + 0.28 * len(ordered))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto", origin="lower")
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text = f"{value:.0f}" if math.isfinite(value) else "–"
        _write(axes, column, row, text, "white" if value < 60 else "black")
    labels = [f"{name.replace('_', ' ')}\n{100 * classes[name]:.1f} %" for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(ordered)), ordered, fontsize=8)
    axes.set_title("IoU (%) by class; below each class its share of the tests' pixels", fontsize=9)
    _save(figure, path)


def draw_costs(lines: Sequence[Line], path: Path) -> None:
    """Draw the gain over the control against the time of a training over the control's, one point a method."""
    shown = [line for line in lines if math.isfinite(line.cost) and math.isfinite(line.gain.mean) and line.cost > 0]
    if not shown:
        return
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for line in shown:
        x, y = line.cost, 100 * line.gain.mean
        axes.plot(x, y, "o", color=GREY if line.bound else BLUE, markersize=6)
        axes.annotate(line.method, (x, y), xytext=(5, 3), textcoords="offset points", fontsize=7)
    axes.axhline(0, color="black", linewidth=0.8, linestyle="dotted")
    axes.axvline(1, color="black", linewidth=0.8, linestyle="dotted")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0.8 * min(line.cost for line in shown), 2 * max(line.cost for line in shown))  # room for the names
    axes.set_xlabel("time of a training over source-only's (of the test stream: of predictions and updates)")
    axes.set_ylabel("gain over source-only, points of mIoU")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """Save a figure as a PNG of 256 colours, a third of the size, since every summary run has a copy."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path)
