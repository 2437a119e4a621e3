"""Summaries of tables of folds by seeds: by hand, and by simulated tables whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmark.evaluation.statistics import (
    average_ranks,
    covariance_of_means,
    gap_closed,
    interval,
    seed_error,
    shared_levels,
    spread,
)

TABLES = 2000
BINOMIAL = 3 * math.sqrt(0.95 * 0.05 / TABLES)  # three standard errors of a share of 95 %


def test_a_table_in_one_line():
    values = np.array([[0.2, 0.4], [0.6, 0.8]])
    line = spread(values)
    assert line.mean == pytest.approx(0.5) and line.worst == pytest.approx(0.3) and line.cells == 4
    assert line.seed_std == pytest.approx(np.std([0.4, 0.6], ddof=1))
    half = stats.t.ppf(0.975, 1) * np.std([0.3, 0.7], ddof=1) / math.sqrt(2)
    assert (line.low, line.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_an_interval_ends_where_no_value_can_be():
    line = spread(np.array([[0.2], [0.8]]), within=(0.0, 1.0))
    assert (line.low, line.high) == (0, 1)


def test_one_fold_has_no_interval_however_many_seeds():
    line = spread(np.array([[0.2, 0.3, 0.4]]))
    assert line.mean == pytest.approx(0.3) and np.isnan([line.low, line.high]).all()


def test_missing_cells_are_left_out():
    line = spread(np.array([[0.2, np.nan], [0.6, 0.8], [np.nan, np.nan]]))
    assert line.mean == pytest.approx((0.2 + 0.7) / 2) and line.cells == 3
    assert np.isnan(line.seed_std), "one whole seed has no spread"


def test_nothing_gives_nothing():
    line = spread(np.full((2, 2), np.nan))
    assert np.isnan(line.mean) and line.cells == 0


def covered(tables, truth, groups=()):
    """Share of the intervals that contain the truth."""
    ends = np.array([(found.low, found.high) for found in (spread(table, groups) for table in tables)])
    return float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())


def test_the_interval_of_three_folds_and_two_seeds_covers_what_it_says(noise):
    """Domains differ by 5 points, seeds by 2. (A bootstrap over folds and seeds covers 76 %.)"""
    tables = 0.1 + noise.normal(0, 0.05, (TABLES, 3, 1)) + noise.normal(0, 0.02, (TABLES, 3, 2))
    assert covered(tables, 0.1) == pytest.approx(0.95, abs=BINOMIAL)


def test_shared_levels_are_those_that_make_folds_depend_on_each_other():
    crossed = [{"place": place, "time": time} for place in "abc" for time in ("2019", "2020")]
    places, times = shared_levels(crossed)
    assert places.tolist() == [0, 0, 1, 1, 2, 2] and times.tolist() == [0, 1] * 3
    assert shared_levels([{"time": str(year)} for year in range(3)]) == [], "each time is held out once"
    one_time = [{"place": place, "time": "2019"} for place in "abc"]
    assert shared_levels(one_time) == [], "of other times nothing can be said"
    (years,) = shared_levels([{"place": p, "time": t} for p, t in zip("abcd", "xyxy", strict=True)])
    assert years.tolist() == [0, 1, 0, 1], "each place is held out once, at one of two times"
    assert len(shared_levels([values | {"country": values["place"]} for values in crossed])) == 2


@pytest.mark.parametrize(
    ("places", "times", "of_places", "of_times", "of_folds"),
    [(5, 3, 1.0, 0.0, 0.3), (5, 3, 0.0, 1.0, 0.3), (5, 3, 1.0, 1.0, 0.3), (8, 8, 1.0, 0.0, 0.5)],
)
def test_the_interval_of_crossed_folds_covers_at_least_what_it_says(
    noise, places, times, of_places, of_times, of_folds
):
    """Folds taken as independent cover 50 to 71 % here, and means over the factor with fewer levels 31 to 48 % where
    places alone differ."""
    place, time = np.repeat(np.arange(places), times), np.tile(np.arange(times), places)
    tables = (
        of_places * noise.normal(size=(TABLES, places))[:, place]
        + of_times * noise.normal(size=(TABLES, times))[:, time]
        + of_folds * noise.normal(size=(TABLES, places * times))
    )[..., None]
    assert covered(tables, 0.0, [place, time]) >= 0.95 - BINOMIAL
    assert covered(tables[:300], 0.0) < 0.8


@pytest.mark.parametrize(("of_both", "of_folds", "covers"), [(1.0, 0.3, 0.993), (0.5, 1.0, 0.996), (0.0, 1.0, 0.999)])
def test_the_interval_of_crossed_folds_is_wide(noise, of_both, of_folds, covers):
    """By how much the documentation says: 4 places at 3 times."""
    place, time = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
    effects = noise.normal(size=(TABLES, 4))[:, place] + noise.normal(size=(TABLES, 3))[:, time]
    tables = (of_both * effects + of_folds * noise.normal(size=(TABLES, 12)))[..., None]
    assert covered(tables, 0.0, [place, time]) == pytest.approx(covers, abs=0.006)


def test_the_interval_of_places_at_few_times_is_over_times(noise):
    """Nine places, each seen at one of three times; times differ. One degree of freedom a time but one."""
    time = np.repeat(np.arange(3), 3)
    tables = (noise.normal(size=(TABLES, 3))[:, time] + 0.5 * noise.normal(size=(TABLES, 9)))[..., None]
    assert covered(tables, 0.0, [time]) == pytest.approx(0.95, abs=BINOMIAL)


def test_equal_values_share_the_mean_of_their_ranks():
    values = np.random.default_rng(0).integers(0, 5, 40).astype(float)
    np.testing.assert_array_equal(average_ranks(values), stats.rankdata(values))


def test_balanced_levels_give_the_variance_of_their_means():
    values, levels = np.array([1.0, 3.0, 2.0, 6.0]), np.array([0, 0, 1, 1])
    variance, freedom = covariance_of_means(values[:, None], [levels])
    assert variance[0, 0] == pytest.approx(np.var([2.0, 4.0], ddof=1) / 2) and freedom == 1
    assert interval(values, [levels])[0] == 3


def test_the_error_over_seeds_is_pooled_over_folds():
    """Deviations of 1, 1 and 2, 2 about the folds' means: variance (2 + 8) / 2, of a mean of two means of two."""
    error, reach = seed_error(np.array([[1.0, 3.0], [5.0, 9.0]]))
    assert error == pytest.approx(math.sqrt(5 * (1 / 2 + 1 / 2)) / 2)
    assert reach == pytest.approx(stats.t.ppf(0.975, 2) * error)
    assert np.isnan(seed_error(np.array([[1.0], [2.0]]))).all(), "one seed"
    error, _ = seed_error(np.array([[1.0, 3.0], [5.0, np.nan], [np.nan, np.nan]]))
    assert error == pytest.approx(math.sqrt(2 * (1 / 2 + 1)) / 2)


GAIN = 0.20  # of the oracle


def simulated(noise, closed, gain=GAIN, folds=3, seeds=2):
    """Gains of a method that closes a share of the gap, and of the oracle. Source-only's noise is in both."""
    shape = (TABLES, folds, seeds)
    domains = 1 + 0.15 * noise.normal(size=(TABLES, folds, 1))
    source, mine, oracle = (0.02 * noise.normal(size=shape) for _ in range(3))
    return closed * gain * domains + mine - source, gain * domains + oracle - source


@pytest.mark.parametrize("closed", [0.0, 0.5])
def test_gap_closed_covers_the_truth_as_often_as_it_says(noise, closed):
    found = [gap_closed(mine, oracle) for mine, oracle in zip(*simulated(noise, closed), strict=True)]
    printed = [ratio for ratio in found if math.isfinite(ratio.value)]
    assert len(printed) > 0.95 * TABLES
    assert np.mean([ratio.low <= closed <= ratio.high for ratio in printed]) == pytest.approx(0.95, abs=BINOMIAL)


def test_a_method_equal_to_source_only_closes_nothing_of_a_small_gap(noise):
    """The oracle gains three points, and cells vary by as much. (The median of the cells with a gap of at least a point
    was 0.1 on average.) Printed ratios are rare, and most of their intervals contain 0."""
    found = [gap_closed(mine, oracle) for mine, oracle in zip(*simulated(noise, 0.0, gain=0.03), strict=True)]
    false = [ratio for ratio in found if math.isfinite(ratio.value) and not ratio.low <= 0 <= ratio.high]
    assert len(false) / TABLES <= 0.05 + BINOMIAL


def test_no_ratio_where_the_oracle_gains_nothing(noise):
    """Half of the 5 % of intervals that miss 0 are above it."""
    found = [gap_closed(mine, oracle) for mine, oracle in zip(*simulated(noise, 0.0, gain=0.0), strict=True)]
    printed = np.mean([math.isfinite(ratio.value) for ratio in found])
    assert printed == pytest.approx(0.025, abs=BINOMIAL)


def test_gap_closed_by_hand():
    """Means 0.1 and 0.2. At the ends of the interval the mean of gain - r * oracle's gain is a quantile of t from 0."""
    mine, oracle = (
        np.array([[0.08, 0.10], [0.12, 0.10], [0.09, 0.11]]),
        np.array([[0.2, 0.2], [0.19, 0.21], [0.21, 0.19]]),
    )
    oracle = oracle + np.array([[0.0], [0.01], [-0.01]])
    ratio = gap_closed(mine, oracle)
    assert ratio.value == pytest.approx(0.5)
    for end in (ratio.low, ratio.high):
        left = (mine - end * oracle).mean(1)
        assert abs(left.mean()) / (left.std(ddof=1) / math.sqrt(3)) == pytest.approx(stats.t.ppf(0.975, 2))


def test_gap_closed_takes_the_cells_that_have_both():
    mine, oracle = np.array([[0.1, 0.9], [0.1, 0.1]]), np.array([[0.2, np.nan], [0.2, 0.2]])
    assert gap_closed(mine, oracle).value == pytest.approx(0.5)
    assert math.isnan(gap_closed(mine[:1], oracle[:1]).value), "one fold cannot say whether there is a gap"
