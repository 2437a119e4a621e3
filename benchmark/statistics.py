"""From the cells of a comparison to one line a method. Pure functions on numbers.

A cell's value lies in a table of folds (rows) by seeds (columns); NaN where a cell is not done.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
"""(folds, seeds), NaN where there is no value."""

RESAMPLES = 2000
NAN = float("nan")
MIN_GAIN = 0.01  # of mIoU: below this oracle gain there is no gap to close, and a quotient would be noise


@dataclass(frozen=True)
class Spread:
    """A method's values in one line.

    Attributes:
        mean: over folds of the mean over seeds.
        seed_std: standard deviation over seeds of the mean over folds; NaN with fewer than two whole seeds.
        low, high: 95 % bootstrap interval of the mean, folds and then seeds resampled.
        worst: the lowest fold (mean over seeds).
        cells: how many values there are.
    """

    mean: float
    seed_std: float
    low: float
    high: float
    worst: float
    cells: int


def spread(values: Table, seed: int = 0) -> Spread:
    """Summarise a table; NaN everywhere where it holds nothing."""
    known = values[np.isfinite(values).any(1)]
    if not len(known):
        return Spread(NAN, NAN, NAN, NAN, NAN, cells=0)
    by_fold = np.nanmean(known, axis=1)
    whole = known[:, np.isfinite(known).all(0)]
    seed_std = float(whole.mean(0).std(ddof=1)) if whole.shape[1] > 1 else NAN
    low, high = bootstrap_interval(known, seed)
    return Spread(float(by_fold.mean()), seed_std, low, high, float(by_fold.min()), int(np.isfinite(values).sum()))


def bootstrap_interval(values: Table, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Two-level percentile bootstrap of the mean: folds are drawn with replacement, and seeds within each fold.

    The folds are the sample of held-out domains one would like to speak about; with a handful of them the interval is
    rough, and too narrow rather than too wide. (Davison and Hinkley 1997, section 3.8, on nested resampling.)
    """
    random = np.random.default_rng(seed)
    folds = random.integers(0, len(values), (RESAMPLES, len(values)))
    # Known values first in each row, so that an index below their count is one of them.
    packed = np.take_along_axis(values, np.argsort(np.isnan(values), axis=1, kind="stable"), 1)
    counts = np.isfinite(values).sum(1)[folds][..., None]
    places = (random.random((*folds.shape, values.shape[1])) * counts).astype(int)
    drawn = np.take_along_axis(packed[folds], places, 2)
    inside = np.arange(values.shape[1]) < counts  # of a fold, as many draws as it has values
    means = (np.where(inside, drawn, 0).sum(2) / counts[..., 0]).mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def gap_closed(method: Table, source_only: Table, oracle: Table) -> Table:
    """(method - source-only) / (oracle - source-only), cell by cell on the same fold and seed.

    NaN where one of the three is missing or the oracle gains less than a point: there is no gap to close.
    """
    gain = oracle - source_only
    return np.divide(method - source_only, gain, out=np.full_like(gain, np.nan), where=gain >= MIN_GAIN)


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Mean of what is not NaN; NaN where nothing is known."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else NAN
