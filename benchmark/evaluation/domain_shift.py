"""Distances between a source and a target, one number a kind of shift. Pure functions on arrays.

Shifts of a different kind are measured apart: what covers the land (`prior_divergence`), how it looks (`moment_gap`,
and on the features of one frozen encoder `proxy_a_distance`, `frechet_distance`), when (`day_of_year_gap`),
where (`nearest_distance`, `centre_distance`) and with what it was taken (`camera_change`). A number is NaN where
nothing is known of one of the sets; patches of which something is unknown are left out.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigvals
from scipy.spatial import cKDTree
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

Array = NDArray[np.float64]

NAN = float("nan")
YEAR = 366  # days on the calendar's circle: 29 February has its place, and a date has the same place in every year
FOLDS = 5  # of the cross-validation in `proxy_a_distance`
PENALTY = 0.01  # C of its classifier: strong, as noise in many columns separates few rows; and ten times faster than 1


def prior_divergence(source_counts: ArrayLike, target_counts: ArrayLike) -> float:
    """Return the Jensen-Shannon divergence of two class histograms in bits: 0 for equal shares, 1 for no common class.

    Args:
        source_counts, target_counts: (C,) pixels of each class, in the same order; only their shares matter.

    Raises:
        ValueError: a count is negative.
    """
    source, target = np.asarray(source_counts, float), np.asarray(target_counts, float)
    if min(source.min(), target.min()) < 0:
        raise ValueError(f"counts of pixels are 0 or more; got {source.min():g} and {target.min():g} as the smallest")
    if not source.any() or not target.any():
        return NAN
    return float(jensenshannon(source, target, base=2) ** 2)  # scipy's distance is the root of the divergence


def moment_gap(
    source_mean: ArrayLike, source_std: ArrayLike, target_mean: ArrayLike, target_std: ArrayLike
) -> tuple[Array, Array]:
    """Return target minus source, band by band: the gap of the means and the gap of the standard deviations.

    Args:
        source_mean, source_std, target_mean, target_std: (bands,) on the scale 0 to 255, the same for both.

    Returns:
        two (bands,) on this scale: above 0 the target is brighter, or has more contrast.
    """
    return (
        np.asarray(target_mean, float) - np.asarray(source_mean, float),
        np.asarray(target_std, float) - np.asarray(source_std, float),
    )


def day_of_year_gap(source_dates: Iterable[str], target_dates: Iterable[str]) -> float:
    """Return the days between the mean days of two sets, the shorter way round the year: 0 to 183, whatever the years.

    The mean is the circular one (direction of the mean of unit vectors; Mardia and Jupp 2000, section 2.2). Unlike
    the circular median it is unique, but for sets that balance round the year (half January, half July), which have
    no mean day: NaN. 28 February and 1 March are two days apart in every year.

    Args:
        source_dates, target_dates: ISO dates, ``""`` where unknown.
    """
    turn = np.angle(_mean_day(target_dates) * np.conj(_mean_day(source_dates))) / (2 * np.pi)
    return float(abs(turn)) * YEAR


def nearest_distance(source_xy: ArrayLike, target_xy: ArrayLike) -> float:
    """Return the smallest distance in metres between a patch of one set and a patch of the other.

    Args:
        source_xy, target_xy: (N, 2) and (M, 2) metres in one projection, NaN where unknown.
    """
    source, target = _known(source_xy), _known(target_xy)
    if not len(source) or not len(target):
        return NAN
    return float(cKDTree(source).query(target)[0].min())


def centre_distance(source_xy: ArrayLike, target_xy: ArrayLike) -> float:
    """Return the distance in kilometres between the centroids of two sets; arguments as for `nearest_distance`."""
    source, target = _known(source_xy), _known(target_xy)
    if not len(source) or not len(target):
        return NAN
    return float(np.linalg.norm(source.mean(0) - target.mean(0))) / 1000


def camera_change(source_cameras: Iterable[str], target_cameras: Iterable[str]) -> float:
    """Return the share of target patches with a camera that the source does not have; ``""`` is an unknown camera."""
    source, target = set(source_cameras) - {""}, [camera for camera in target_cameras if camera]
    if not source or not target:
        return NAN
    return float(np.mean([camera not in source for camera in target]))


@dataclass(frozen=True)
class ProxyDistance:
    """A proxy A-distance beside what the same procedure finds where there is nothing to find.

    Attributes:
        value: 2 for sets that a classifier separates without a mistake, about 0 for sets that it cannot separate. It is
            an estimate, so it can be below 0.
        chance: median of the value with shuffled domain labels.
        chance_high: 95th percentile of the same; a value below it is no evidence of a shift.
    """

    value: float
    chance: float
    chance_high: float


def proxy_a_distance(
    source: ArrayLike, target: ArrayLike, seed: int, permutations: int = 20, groups: Sequence[str] = ()
) -> ProxyDistance:
    """Return 2 (1 - 2 error) of a linear classifier that separates source and target (Ben-David et al., NeurIPS 2006).

    The error is the mean of both domains' error rates, so that sets of unequal size are no easier, and is
    cross-validated on standardised features with a fixed C: nothing is chosen by looking at the answer. Patches of
    one zone are alike: with groups, a zone is either trained or tested on, and labels are shuffled zone by zone;
    without them zones are recognised instead of domains.

    Args:
        source, target: (N, D) and (M, D) features of one frozen encoder.
        seed: seed of the folds and the shuffles.
        permutations: number of shuffles of the domain labels, at least 1.
        groups: the zone of each row of the source and then of the target; none is in both.

    Raises:
        ValueError: a set has fewer than 5 rows, or fewer than 5 groups.
    """
    rows, labels = _stacked(source, target)
    names, group = np.unique(groups or np.arange(len(rows)).astype(str), return_inverse=True)
    side = np.zeros(len(names), dtype=np.int64)
    side[group] = labels
    smallest = int(np.bincount(side, minlength=2).min())
    if smallest < FOLDS:
        raise ValueError(
            f"the proxy A-distance needs at least {FOLDS} {'groups' if groups else 'rows'} in each set; the smaller "
            f"one has {smallest}"
        )
    classifier = make_pipeline(StandardScaler(), LinearSVC(C=PENALTY, class_weight="balanced", dual=False))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)

    def distance(side: NDArray[np.int64]) -> float:
        labels = side[group]
        # Whole groups are dealt to the folds, so that each has its share of both sides.
        dealt = [np.isin(group, tested) for _, tested in folds.split(names, side)]
        splits = [(np.flatnonzero(~tested), np.flatnonzero(tested)) for tested in dealt]
        predicted = cross_val_predict(classifier, rows, labels, cv=splits)
        return _a_distance(1 - balanced_accuracy_score(labels, predicted))

    random = np.random.default_rng(seed)
    shuffled = [distance(random.permutation(side)) for _ in range(permutations)]
    return ProxyDistance(distance(side), float(np.median(shuffled)), float(np.quantile(shuffled, 0.95)))


def frechet_distance(source: ArrayLike, target: ArrayLike) -> float:
    """Return the squared Frechet distance of two Gaussians (Heusel et al., 2017).

    It is biased upwards with few rows: have many more rows than columns, for example by reducing features to 64
    columns. The trace of the root is the sum of the roots of the eigenvalues of S1 S2.

    Args:
        source, target: (N, D) and (M, D); the result has the unit of the features, squared.

    Raises:
        ValueError: a set has no more rows than columns, so that its covariance is singular.
    """
    first, second = np.asarray(source, float), np.asarray(target, float)
    for rows, columns in (first.shape, second.shape):
        if rows <= columns:
            raise ValueError(
                f"the Frechet distance needs many more rows than columns; got {rows} rows of {columns} columns"
            )
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (first, second)]
    roots = np.sqrt(eigvals(covariances[0] @ covariances[1]).real.clip(0))  # real and >= 0 but for rounding
    spread = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * roots.sum()
    return float(max(0.0, np.sum((first.mean(0) - second.mean(0)) ** 2) + spread))


def _a_distance(error: float) -> float:
    return 2 * (1 - 2 * error)


def _stacked(source: ArrayLike, target: ArrayLike) -> tuple[Array, NDArray[np.int64]]:
    """Return the rows of both sets, and for each 0 for source and 1 for target."""
    sets = np.asarray(source, float), np.asarray(target, float)
    return np.concatenate(sets), np.repeat([0, 1], [len(features) for features in sets])


def _known(xy: ArrayLike) -> Array:
    points = np.asarray(xy, float).reshape(-1, 2)
    return points[np.isfinite(points).all(1)]


def _mean_day(dates: Iterable[str]) -> complex:
    """Return the mean of the dates as points on the unit circle; NaN where there is none or it has no direction."""
    # In a leap year, so that 29 February is a date.
    days = [datetime.date.fromisoformat(date).replace(year=2000).timetuple().tm_yday for date in dates if date]
    if not days:
        return complex(NAN, NAN)
    mean = complex(np.exp(2j * np.pi * np.array(days) / YEAR).mean())
    return mean if abs(mean) > 1e-6 else complex(NAN, NAN)
