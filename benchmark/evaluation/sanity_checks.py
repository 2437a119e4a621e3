"""Sanity checks of the numbers of a comparison, for likely mistakes. Pure functions; one line an alarm."""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import numpy as np

from benchmark.evaluation.comparison import Cell, Grid, table
from benchmark.evaluation.statistics import ScoreTable, fold_means

METRICS = ("target/miou", "target/loss")  # two settings that give the same of both on every cell are one
NEARLY = 5e-5  # of mean IoU: the same to four digits


def alarms(
    cells: Sequence[Cell],
    grid: Grid,
    majority: Mapping[str, float],
    within_noise: Collection[str] = (),
    pixels: Mapping[str, float] | None = None,
) -> list[str]:
    """Return all alarms of a comparison but those of versions, the most serious first.

    Args:
        majority: mean IoU on each fold of predicting its most frequent class everywhere; a fold may be missing.
        within_noise: methods whose difference from the control other seeds could turn.
        pixels: mean IoU on each fold of the per-pixel baseline; a fold may be missing.
    """
    values = {method: [table(cells, grid, method, metric) for metric in METRICS] for method in grid.methods}
    miou = {method: metrics[0] for method, metrics in values.items()}
    return [
        *_below(miou, grid, majority, "predicting the most frequent class everywhere"),
        *_below(miou, grid, pixels or {}, "a classifier of single pixels"),
        *_alike(values),
        *_below_control(miou, grid, within_noise),
    ]


def majority_miou(confusion: np.ndarray) -> float:
    """Return the mean IoU, over the classes that have truth, of predicting the most frequent class everywhere.

    Args:
        confusion: (C + 1, C), whose rows are true classes and the last row pixels that are ignored.
    """
    pixels = confusion[:-1].sum(1)
    return float(pixels.max() / pixels.sum() / np.count_nonzero(pixels)) if pixels.sum() else float("nan")


def _alike(values: Mapping[str, Sequence[ScoreTable]]) -> list[str]:
    messages = []
    for (one, first), (other, second) in combinations(values.items(), 2):
        both = np.isfinite(first[0]) & np.isfinite(second[0])
        if not both.any():
            continue
        where = f"all {both.sum()} cells" if both.sum() > 1 else "the one cell of both"
        if all(np.array_equal(a[both], b[both], equal_nan=True) for a, b in zip(first, second, strict=True)):
            # One method under two labels differs in its hyperparameters alone.
            same_method = one.partition("[")[0] == other.partition("[")[0]
            what = "what differs in their hyperparameters changes nothing" if same_method else "they should differ"
            messages.append(f"{one} and {other} are the same to the last bit on {where}: {what}")
        elif np.abs(first[0][both] - second[0][both]).max() < NEARLY:
            messages.append(f"{one} and {other} agree to four digits on {where}: one may do nothing")
    return messages


def _below(miou: Mapping[str, ScoreTable], grid: Grid, reference: Mapping[str, float], words: str) -> list[str]:
    """Return one line for all methods that are below on the same folds."""
    by_folds: dict[str, list[str]] = {}
    for method, values in miou.items():
        means = dict(zip(grid.folds, fold_means(values), strict=True))
        if below := [fold for fold in means if means[fold] < reference.get(fold, -np.inf)]:
            by_folds.setdefault(", ".join(below), []).append(method)
    return [
        f"{', '.join(methods)} {'is' if len(methods) == 1 else 'are'} below {words} on {folds}: hardly anything was "
        "learned; more --steps, a larger --crop or a pretrained encoder (--preset small) may help"
        for folds, methods in by_folds.items()
    ]


def _below_control(miou: Mapping[str, ScoreTable], grid: Grid, within_noise: Collection[str]) -> list[str]:
    """Return one line for all: a method may lose, but a reader of the table must have seen it."""
    if grid.control not in miou:
        return []
    below = []
    for method, values in miou.items():
        gains = values - miou[grid.control]
        if np.isfinite(gains).any() and np.nanmean(gains) < 0:
            below.append(method)
    bounds = [method for method in below if method in grid.bounds]
    below = [method for method in below if method not in bounds]
    clear = [method for method in below if method not in within_noise]
    unclear = [method for method in below if method in within_noise]
    too_low = [
        f"{', '.join(bounds)}, a bound, is below {grid.control} on average: too few labels of the target, or steps"
    ]
    return too_low * bool(bounds) + [
        f"below {grid.control} on average{words}: {', '.join(methods)}"
        for methods, words in ((clear, ""), (unclear, ", by less than other seeds could change"))
        if methods
    ]
