"""Shares of classes in zones: their errors where they are counted on a map, and their correction; pure functions.

Shares that are counted on a map are biased by its errors. They are corrected by the mean error on labelled zones, the
difference estimator of survey sampling (Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992). Its
interval needs zones that are a sample of such zones, and nothing else. Two other estimators need more: the inverse of
the confusion matrix, that the rates p(predicted | true) are the same in all zones (label shift; Forman, Data Mining and
Knowledge Discovery 2008); that of Olofsson et al. (Remote Sensing of Environment 2014), that p(true | predicted) are.
`results/README.md` has what each does on published runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.comparison import SHARES, Grid
from benchmark.evaluation.statistics import NAN, Spread, average_ranks, spread, t_quantile

LEAST_ZONES = 5  # labelled; fewer say too little of how zones differ
_ALMOST = 0.9  # of the median of their pixels; zones of one size differ by what of them has data
Shares = NDArray[np.float64]
"""(C,) share of each class, or (zones, C)."""


@dataclass(frozen=True)
class Corrected:
    """Quantities of a zone (K,) that are corrected for the errors of the map, with their 95 % intervals.

    The interval is of a zone like the labelled ones, at least as large as half of them: errors of smaller ones vary
    more. It says nothing of other domains.
    """

    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def correct(
    values: NDArray[np.float64],
    pixels: float,
    predicted: NDArray[np.float64],
    true: NDArray[np.float64],
    labelled_pixels: NDArray[np.float64],
) -> Corrected:
    """Return shares of a zone less the mean error on labelled zones, with Student's t interval of a further zone.

    Each labelled zone counts alike, whatever its size: the zone is the unit that is drawn.

    Args:
        values: (K,) quantities between 0 and 1 as the map shows them.
        pixels: pixels of the zone.
        predicted, true: (zones, K) the same of the labelled zones, predicted and true; NaN where a zone has none.
        labelled_pixels: (zones,) pixels of these.

    Returns:
        NaN where no zone is labelled; as interval also where fewer than five are, and of a zone smaller than half of
        them.
    """
    errors = predicted - true
    known = np.isfinite(errors)
    count = known.sum(0)
    mean = np.divide(np.where(known, errors, 0).sum(0), count, out=np.full(len(values), NAN), where=count > 0)
    squares = np.where(known, (errors - mean) ** 2, 0).sum(0)
    half = np.full(len(values), NAN)
    if len(errors) and pixels >= _ALMOST * np.median(labelled_pixels):
        for index in np.flatnonzero(count >= LEAST_ZONES):
            number = int(count[index])
            half[index] = t_quantile(number - 1) * np.sqrt(squares[index] / (number - 1) * (1 + 1 / number))
    middle = values - mean
    return Corrected(*(np.clip(end, 0, 1) for end in (middle, middle - half, middle + half)))


def shares_of(matrices: Iterable[NDArray[np.int64]]) -> tuple[Shares, Shares, NDArray[np.float64]]:
    """Return predicted and true shares (zones, C) and pixels (zones,) of confusion matrices (C + 1, C).

    Pixels of ignored truth are out, and so are zones without a pixel that counts.
    """
    counts = [matrix[:-1] for matrix in matrices]
    classes = len(counts[0]) if counts else 0
    stack = np.array(counts, np.float64).reshape(len(counts), classes, classes)
    stack = stack[stack.any((1, 2))]
    pixels = stack.sum((1, 2))
    return stack.sum(1) / pixels[:, None], stack.sum(2) / pixels[:, None], pixels


@dataclass(frozen=True)
class ShareErrors:
    """Errors of the class shares that a run's predictions give, as shares of the ground.

    An error is the quantity disagreement of Pontius and Millones (International Journal of Remote Sensing 2011): half
    the sum over classes of the absolute difference between predicted and true share. It is the ground that is counted
    in a wrong class after errors of opposite sign have cancelled; with two classes, the error of the share of either.

    Attributes:
        domains, zones: mean over the domains of the target test, and over its zones, each of which counts alike.
        by_source, by_others: that of zones after the mean error on the zones of source validation, or on the other
            zones of the test, is subtracted; NaN where there are none.
    """

    domains: float
    zones: float
    by_source: float
    by_others: float


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
    domains: Spread
    zones: Spread
    by_source: Spread
    by_others: Spread


def quantity_disagreement(predicted: Shares, true: Shares) -> float:
    """Return half the sum of the absolute differences of two sets of shares (C,), mean over zones."""
    return float(np.abs(predicted - true).sum(-1).mean() / 2) if predicted.size else NAN


def share_errors(
    test: Mapping[str, NDArray[np.int64]], source_validation: Iterable[NDArray[np.int64]]
) -> ShareErrors | None:
    """Return the errors of a run's class shares; None where no zone has a pixel that counts.

    Args:
        test: confusion matrix (C + 1, C) of each zone of the target test, by ``domain|zone``.
        source_validation: those of source validation.
    """
    predicted, true, _ = shares_of(test.values())
    if not predicted.size:
        return None
    domains: dict[str, NDArray[np.int64]] = {}
    for name, matrix in test.items():
        domain = name.partition("|")[0]
        domains[domain] = domains.get(domain, 0) + matrix
    source, of_source, _ = shares_of(source_validation)
    errors, number = predicted - true, len(predicted)
    of_others = (errors.sum(0) - errors) / (number - 1) if number > 1 else errors[:0]
    return ShareErrors(
        quantity_disagreement(*shares_of(domains.values())[:2]),
        quantity_disagreement(predicted, true),
        quantity_disagreement(_possible(predicted - (source - of_source).mean(0)), true) if source.size else NAN,
        quantity_disagreement(_possible(predicted - of_others), true) if number > 1 else NAN,
    )


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
            for name in ("domains", "zones", "by_source", "by_others")
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


def _possible(shares: Shares) -> Shares:
    """Return shares (zones, C) without negative ones, and with the sum 1."""
    positive = shares.clip(min=0)
    return positive / positive.sum(-1, keepdims=True)
