"""Shares of classes in a zone, as a map shows them and corrected for its confusion; pure functions on counts.

Shares counted on a map are biased by its errors. Where the rates p(predicted | true) of another sample hold in the zone
and only the shares differ (label shift), the true shares solve q = M' p, with the predicted shares q and the
row-normalised confusion matrix M of that sample (Forman, Data Mining and Knowledge Discovery 2008; Lipton, Wang and
Smola, ICML 2018). The estimator of areas of remote sensing (Olofsson et al., Remote Sensing of Environment 2014)
weights p(true | predicted) instead. It is right for a random sample of the mapped zone itself, and wrong here: these
rates change with the shares.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.comparison import SHARES, Grid
from benchmark.evaluation.statistics import CONFIDENCE, NAN, Spread, average_ranks, spread, t_quantile
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


@dataclass(frozen=True)
class ShareErrors:
    """Errors of the class shares that a run's predictions give, as shares of the ground.

    An error is the quantity disagreement of Pontius and Millones (International Journal of Remote Sensing 2011): half
    the sum over classes of the absolute difference between predicted and true share. It is the ground that is counted
    in a wrong class after errors of opposite sign have cancelled; with two classes, the error of the share of either.

    Attributes:
        zones, domains: mean over the zones of the target test, and over its domains, each of which counts alike.
        corrected_zones, corrected_domains: the same after the correction by the confusion of source validation; NaN
            where the run has none.
    """

    zones: float
    corrected_zones: float
    domains: float
    corrected_domains: float


@dataclass(frozen=True)
class ShareLine:
    """A method's `ShareErrors` over folds and seeds, beside its mean IoU on the target.

    Attributes:
        method: its label; ``bound`` marks what is no result.
        miou: mean over folds of the mean over seeds.
    """

    method: str
    bound: bool
    miou: float
    zones: Spread
    corrected_zones: Spread
    domains: Spread
    corrected_domains: Spread


def quantity_disagreement(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Return half the sum of the absolute differences of two sets of shares (C,)."""
    return float(np.abs(predicted - true).sum() / 2)


def share_errors(
    test: Mapping[str, NDArray[np.int64]], source_validation: Iterable[NDArray[np.int64]]
) -> ShareErrors | None:
    """Return the errors of a run's class shares; None where no zone has a pixel that counts.

    Args:
        test: confusion matrix (C + 1, C) of each zone of the target test, by ``domain|zone``.
        source_validation: those of source validation.
    """
    zones = {name: matrix[:-1] for name, matrix in test.items() if matrix[:-1].any()}
    if not zones:
        return None
    sums: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros_like(next(iter(zones.values()))))
    for name, matrix in zones.items():
        sums[name.partition("|")[0]] += matrix
    source = np.asarray(np.sum([matrix[:-1] for matrix in source_validation], axis=0, dtype=np.float64))
    rates = _rates(source, np.eye(len(source))) if source.any() else None
    return ShareErrors(*_mean_errors(zones.values(), rates), *_mean_errors(sums.values(), rates))


def compare_shares(
    errors: Mapping[tuple[str, str, int], ShareErrors], miou: Mapping[str, float], grid: Grid
) -> list[ShareLine]:
    """Return one line a method that has errors, in the grid's order.

    Args:
        errors: errors of each run, by method, fold and seed.
        miou: mean IoU on the target of each method.
    """
    lines = []
    for method in grid.methods:
        of = [[errors.get((method, fold, seed)) for seed in grid.seeds] for fold in grid.folds]
        spreads = [
            spread(
                np.array([[NAN if run is None else getattr(run, name) for run in row] for row in of]),
                grid.groups,
                SHARES,
            )
            for name in ("zones", "corrected_zones", "domains", "corrected_domains")
        ]
        if spreads[0].cells:
            lines.append(ShareLine(method, method in grid.bounds, miou[method], *spreads))
    return lines


def rank_correlation(lines: Sequence[ShareLine]) -> float:
    """Return Spearman's correlation over methods but bounds of mean IoU with the error of domains; NaN for under three.

    It is -1 where the order by mean IoU is that by the error.
    """
    pairs = np.array([(line.miou, line.domains.mean) for line in lines if not line.bound]).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(1)]
    if len(pairs) < 3 or not pairs.std(0).all():
        return NAN
    return float(np.corrcoef(average_ranks(pairs[:, 0]), average_ranks(pairs[:, 1]))[0, 1])


def _mean_errors(matrices: Iterable[NDArray[np.int64]], rates: NDArray[np.float64] | None) -> tuple[float, float]:
    """Return the mean quantity disagreement of matrices (C, C), as they are and corrected."""
    plain, corrected = [], []
    for matrix in matrices:
        true, predicted = matrix.sum(1) / matrix.sum(), matrix.sum(0) / matrix.sum()
        plain.append(quantity_disagreement(predicted, true))
        if rates is not None:
            corrected.append(quantity_disagreement(invert(predicted, rates), true))
    return float(np.mean(plain)), float(np.mean(corrected)) if corrected else NAN


def _rates(counts: NDArray[np.float64], otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return counts (C, C) divided by the sum of their row; another row where a class has none."""
    sums = counts.sum(1, keepdims=True)
    return np.divide(counts, sums, out=otherwise.copy(), where=sums > 0)
