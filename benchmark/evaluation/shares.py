"""Shares of classes in a zone, as a map shows them and corrected for its confusion; pure functions on counts.

Shares counted on a map are biased by its errors. Where the rates p(predicted | true) of another sample hold in the zone
and only the shares differ (label shift), the true shares solve q = M' p, with the predicted shares q and the
row-normalised confusion matrix M of that sample (Forman, Data Mining and Knowledge Discovery 2008; Lipton, Wang and
Smola, ICML 2018). The estimator of areas of remote sensing (Olofsson et al., Remote Sensing of Environment 2014)
weights p(true | predicted) instead. It is right for a random sample of the mapped zone itself, and wrong here: these
rates change with the shares.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.statistics import CONFIDENCE, NAN, t_quantile
from methods.parts.randomness import numpy_generator

DRAWS = 400
LEAST_ZONES = 5  # of the confusion; fewer show too little of how zones differ
_WEIGHT = 1e3  # of the equation "the shares sum to 1" against the others


@dataclass(frozen=True)
class Corrected:
    """Shares that are corrected for confusion.

    Attributes:
        shares: (C,) of each class; NaN where the zone has no pixel or the matrices none.
        draws: (draws, C) shares that the zone may have; none where the matrices are of too few zones.
    """

    shares: NDArray[np.float64]
    draws: NDArray[np.float64]

    def interval(self, of: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> tuple[float, float]:
        """Return the 95 % interval of a function of shares (..., C) -> (...); NaN where there are no draws."""
        if not len(self.draws):
            return NAN, NAN
        low, high = np.quantile(of(self.draws), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high)


def correct(pixels: NDArray[np.int64], matrices: Sequence[NDArray[np.int64]], *address: str | int) -> Corrected:
    """Return the shares of the classes of a zone, corrected for confusion, with what chance does to them.

    Two things are chance: which zones the matrices are of, and that the rates of this zone are its own. So each draw
    takes as many zones again for the matrix that corrects, and others for the rates that made the map: as many as the
    zone is large, in pixels. The spread is widened as Student's t is for the number of zones. All this is true of zones
    that are like those of the matrices; of others no interval speaks.

    Args:
        pixels: (C,) predicted pixels of each class in the zone, of about the size of those of the matrices.
        matrices: confusion matrix (C + 1, C) of each zone of a labelled sample; pixels of ignored truth do not count.
        address: what the draws are for (`methods.parts.randomness`).
    """
    size, total = len(pixels), float(pixels.sum())
    counts = np.array(matrices, np.float64).reshape(-1, size + 1, size)[:, :-1]
    if not total or not counts.sum():
        return Corrected(np.full(size, NAN), np.empty((0, size)))
    rates = _rates(counts.sum(0), np.eye(size))
    shares = invert((pixels / total).astype(np.float64), rates)
    number = len(counts)
    if number < LEAST_ZONES:
        return Corrected(shares, np.empty((0, size)))
    generator = numpy_generator("shares", *address)
    own = int(np.clip(round(total / counts.sum((1, 2)).mean()), 1, number))
    errors = np.empty((DRAWS, size))
    for draw in range(DRAWS):
        of_sample, of_zone = generator.integers(number, size=number), generator.integers(number, size=own)
        shown = shares @ _rates(counts[of_zone].sum(0), rates)
        errors[draw] = invert(shown, _rates(counts[of_sample].sum(0), rates)) - shares
    wider = np.sqrt(number / (number - 1)) * t_quantile(number - 1) / t_quantile(10**6)
    draws = (shares - wider * errors).clip(min=0)
    return Corrected(shares, draws / draws.sum(1, keepdims=True))


def invert(predicted: NDArray[np.float64], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shares p (C,), none negative and with the sum 1, with the least squares of q - M' p.

    Args:
        predicted: (C,) predicted shares q.
        rates: (C, C) rates M, p(predicted | true); rows are true classes.
    """
    from scipy.optimize import nnls  # takes half a second to import

    equations = np.vstack([rates.T, np.full(len(rates), _WEIGHT)])
    shares = nnls(equations, np.append(predicted, _WEIGHT))[0]
    return shares / shares.sum()


def _rates(counts: NDArray[np.float64], otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return counts (C, C) divided by the sum of their row; another row where a class has none."""
    sums = counts.sum(1, keepdims=True)
    return np.divide(counts, sums, out=otherwise.copy(), where=sums > 0)
