"""From the cells of a comparison to one line a method. Pure functions on numbers.

A cell's value is in a table of folds (rows) by seeds (columns); NaN where a cell is not done. Intervals speak of other
domains than those held out: their unit is the fold, or the place or time that several folds share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

ScoreTable = NDArray[np.float64]
"""(folds, seeds), NaN where there is no value."""

Groups = Sequence[NDArray[np.int64]]
"""Factors that folds share the levels of: of each factor the level (folds,) of every fold; none where folds share none.
"""

CONFIDENCE = 0.95
NAN = float("nan")


@dataclass(frozen=True)
class Spread:
    """A method's values in one line.

    Attributes:
        mean: over folds of the mean over seeds.
        seed_std: standard deviation over seeds of the mean over folds; NaN with fewer than two whole seeds.
        low, high: 95 % interval of the mean over held-out domains; NaN with fewer than two.
        worst: the lowest fold (mean over seeds).
        cells: number of values.
    """

    mean: float
    seed_std: float
    low: float
    high: float
    worst: float
    cells: int


def spread(values: ScoreTable, groups: Groups = (), within: tuple[float, float] = (-math.inf, math.inf)) -> Spread:
    """Summarise a table; NaN everywhere where it holds nothing.

    Args:
        within: limits of a value, and so of the interval.
    """
    by_fold = fold_means(values)
    finite = np.isfinite(by_fold)
    if not finite.any():
        return Spread(NAN, NAN, NAN, NAN, NAN, cells=0)
    whole = values[finite][:, np.isfinite(values[finite]).all(0)]
    seed_std = float(whole.mean(0).std(ddof=1)) if whole.shape[1] > 1 else NAN
    mean, low, high = interval(by_fold, groups)
    low, high = (min(max(end, within[0]), within[1]) if math.isfinite(end) else NAN for end in (low, high))
    return Spread(mean, seed_std, low, high, float(by_fold[finite].min()), int(np.isfinite(values).sum()))


def fold_means(values: ScoreTable) -> NDArray[np.float64]:
    """Return the mean over seeds (folds,); NaN for a fold without any value."""
    count = np.isfinite(values).sum(1)
    return np.divide(np.nansum(values, axis=1), count, out=np.full(len(values), NAN), where=count > 0)


def shared_levels(held_out: Sequence[Mapping[str, str]]) -> list[NDArray[np.int64]]:
    """Return the factors that make folds depend on each other: columns of which several folds hold out the same value.

    A column with one value for all folds is left out: nothing can be said of other values. So is one whose values say
    the same as another's.

    Args:
        held_out: held-out value of each column, by fold (`protocols.base.Fold.held_out`).
    """
    distinct: list[NDArray[np.int64]] = []
    for column in sorted({name for values in held_out for name in values}):
        _, first, levels = np.unique(
            [values.get(column, "") for values in held_out], return_index=True, return_inverse=True
        )
        levels = np.argsort(np.argsort(first))[levels]  # numbered as they come, so that equal partitions are equal
        if 1 < len(first) < len(held_out) and not any(np.array_equal(levels, other) for other in distinct):
            distinct.append(levels)
    return distinct


def covariance_of_means(values: NDArray[np.float64], groups: Groups = ()) -> tuple[NDArray[np.float64], int]:
    """Return the covariance (k, k) of the means over folds of k quantities (folds, k), and its degrees of freedom.

    Folds that share no level are a sample: covariance over folds, divided by their number. Where they share the levels
    of a factor, the levels are the sample. Where they are crossed, say places by times, the covariances over both are
    added (Cameron, Gelbach and Miller 2011, without the subtraction, which with few levels makes intervals too narrow),
    with the degrees of freedom of the factor with fewer levels.

    Returns:
        NaN and 0 degrees of freedom where some factor has fewer than two levels.
    """
    folds, size = values.shape
    centred = values - values.mean(0) if folds else values
    total, freedom = np.zeros((size, size)), []
    for levels in groups or [np.arange(folds)]:
        names, level = np.unique(levels, return_inverse=True)
        sums = np.zeros((len(names), size))
        np.add.at(sums, level, centred / folds)
        freedom.append(len(names) - 1)
        total += sums.T @ sums * len(names) / max(len(names) - 1, 1)
    if min(freedom) < 1:
        return np.full((size, size), NAN), 0
    return total, min(freedom)


def interval(by_fold: NDArray[np.float64], groups: Groups = ()) -> tuple[float, float, float]:
    """Return the mean over folds (folds,) with its 95 % interval by Student's t, whose ends are NaN for one domain."""
    finite = np.isfinite(by_fold)
    if not finite.any():
        return NAN, NAN, NAN
    variance, freedom = covariance_of_means(by_fold[finite, None], [levels[finite] for levels in groups])
    mean = float(by_fold[finite].mean())
    half = t_quantile(freedom) * math.sqrt(variance[0, 0])
    return mean, mean - half, mean + half


def seed_error(values: ScoreTable) -> tuple[float, float]:
    """Return how much other seeds would change the mean over these very folds.

    The variance between seeds is pooled over the folds, so that two seeds on three folds give three degrees of freedom.

    Returns:
        standard error of the mean, and half width of its 95 % interval; NaN where no fold has two seeds.
    """
    count = np.isfinite(values).sum(1)
    freedom = int((count - 1).clip(min=0).sum())
    if not freedom:
        return NAN, NAN
    variance = np.nansum((values - fold_means(values)[:, None]) ** 2) / freedom
    error = math.sqrt(variance * (1 / count[count > 0]).sum()) / int((count > 0).sum())
    return error, t_quantile(freedom) * error


@dataclass(frozen=True)
class Ratio:
    """A ratio of two means with its 95 % interval over held-out domains; NaN where none can be given."""

    value: float
    low: float
    high: float


NO_RATIO = Ratio(NAN, NAN, NAN)


def gap_closed(gain: ScoreTable, oracle_gain: ScoreTable, groups: Groups = ()) -> Ratio:
    """Return (mean gain of a method over source-only) / (mean gain of the oracle), over the cells that have both.

    The interval is Fieller's (1954): all ratios r for which the mean of gain - r * oracle's gain does not differ from 0
    (t test at 5 %). It is an interval just where the oracle's own interval does not contain 0; elsewhere there is no
    gap to speak of, and no ratio.
    """
    both = np.isfinite(gain) & np.isfinite(oracle_gain)
    gains, oracle = (fold_means(np.where(both, values, NAN)) for values in (gain, oracle_gain))
    finite = np.isfinite(gains)
    if finite.sum() < 2:
        return NO_RATIO
    pair = np.stack([gains[finite], oracle[finite]], axis=1)
    covariance, freedom = covariance_of_means(pair, [levels[finite] for levels in groups])
    upper, lower = pair.mean(0)
    (a, b), (_, c) = covariance * t_quantile(freedom) ** 2
    square = lower**2 - c
    if not (square > 0 and lower > 0):
        return NO_RATIO
    middle = (upper * lower - b) / square
    half = math.sqrt(max(middle**2 - (upper**2 - a) / square, 0.0))
    return Ratio(float(upper / lower), float(middle - half), float(middle + half))


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Return the mean of what is not NaN; NaN where nothing is known."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else NAN


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks (n,) of values (n,), the smallest is 1; equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])


@cache
def t_quantile(freedom: int) -> float:
    """Return the upper end of the 95 % interval of Student's t; NaN without degrees of freedom."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import, this module a third

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) if freedom else NAN
