"""Measures of shift, against the values of official code and by hand."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.evaluation.domain_shift import (
    camera_change,
    centre_distance,
    day_of_year_gap,
    frechet_distance,
    moment_gap,
    nearest_distance,
    prior_divergence,
    proxy_a_distance,
)

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def official() -> Any:
    """Values computed by the official code of the measures; skipped where the file is not at hand."""
    data = Path(os.environ.get("LANDSHIFT_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    path = data.parent / "fixtures" / "shift_measures.npz"
    if not path.is_file():
        pytest.skip(f"no reference values at {path}")
    return np.load(path, allow_pickle=False)


def test_frechet_of_official_code(official):
    distance = frechet_distance(official["in_frechet_X"], official["in_frechet_Y"])
    assert distance == pytest.approx(float(official["out_frechet"]), abs=1e-6)


def test_frechet_by_hand(noise):
    features = noise.normal(size=(200, 4))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + np.array([3, 0, 0, 4])) == pytest.approx(25), (
        "the mean alone has moved"
    )
    variance = features.var(0, ddof=1).sum()
    assert frechet_distance(features - features.mean(0), 3 * (features - features.mean(0))) == pytest.approx(
        4 * variance
    )
    assert frechet_distance([[0.0], [2]], [[5.0], [7]]) == pytest.approx(25)


def test_frechet_of_columns_that_repeat(noise):
    features = np.repeat(noise.normal(size=(60, 2)), 5, axis=1)
    assert frechet_distance(features, 2 * features) == pytest.approx(
        features.var(0, ddof=1).sum() + (features.mean(0) ** 2).sum()
    )


def test_frechet_refuses_a_singular_covariance(noise):
    many, few = noise.normal(size=(50, 8)), noise.normal(size=(8, 8))
    for sets in ((many, few), (few, many)):
        with pytest.raises(ValueError, match="got 8 rows of 8 columns"):
            frechet_distance(*sets)


def test_sets_far_apart_are_told_apart(noise):
    result = proxy_a_distance(noise.normal(0, 1, (60, 8)), noise.normal(5, 1, (60, 8)), seed=0)
    assert result.value == 2
    assert abs(result.chance) < 0.4 and result.chance <= result.chance_high < 1


def test_chance_covers_sets_of_one_distribution():
    covered = 0
    for seed in range(4):
        random = np.random.default_rng(seed)
        result = proxy_a_distance(random.normal(size=(50, 8)), random.normal(size=(50, 8)), seed)
        covered += result.value <= result.chance_high
    assert covered >= 3
    same = random.normal(size=(50, 8))
    result = proxy_a_distance(same, same, seed=0)
    assert result.value <= result.chance_high


def test_a_small_target_is_no_easier(noise):
    result = proxy_a_distance(noise.normal(size=(300, 4)), noise.normal(size=(20, 4)), seed=0)
    assert result.value < 0.8, "always answering 'source' errs on 6 % of the rows, and would give 1.75"


def test_both_errors_weigh_the_same():
    source, target = np.repeat([[0.0], [1]], 45, axis=0), np.ones((10, 1))
    result = proxy_a_distance(source, target, seed=0, permutations=1)
    assert result.value == 1, "half of the source looks like the target, and none of the target like the source"


def test_the_error_is_not_that_of_the_rows_trained_on(noise):
    result = proxy_a_distance(noise.normal(size=(30, 20)), noise.normal(size=(30, 20)), seed=0)
    assert abs(result.chance) < 0.5, "a classifier can part sixty rows of twenty columns by heart"


def test_units_of_features_do_not_matter(noise):
    source, target = noise.normal(0, 1, (60, 3)), noise.normal(0.7, 1, (60, 3))
    units = np.array([1, 1e-3, 1e4])
    plain = proxy_a_distance(source, target, seed=0, permutations=1)
    assert proxy_a_distance(source * units, target * units, seed=0, permutations=1) == plain


def test_the_seed_decides(noise):
    sets = noise.normal(0, 1, (40, 4)), noise.normal(0.5, 1, (40, 4))
    first, again, other = (proxy_a_distance(*sets, seed, permutations=3) for seed in (1, 1, 2))
    assert first == again and first.value != other.value


def test_too_few_rows_for_the_proxy_distance(noise):
    with pytest.raises(ValueError, match="at least 5 rows in each set; the smaller one has 4"):
        proxy_a_distance(noise.normal(size=(9, 2)), noise.normal(size=(4, 2)), seed=0)


def test_the_proxy_distance_takes_seconds(noise):
    start = time.process_time()
    proxy_a_distance(noise.normal(size=(500, 64)), noise.normal(0.1, 1, (500, 64)), seed=0)
    assert time.process_time() - start < 20, "two seconds on one core; processor time of all threads"


def test_divergence_of_classes():
    assert prior_divergence([1, 2, 3], [10, 20, 30]) == pytest.approx(0, abs=1e-12)
    assert prior_divergence([5, 0], [0, 7]) == pytest.approx(1)
    # (1/2, 1/2) and (1, 0): H(3/4, 1/4) - (H(1/2, 1/2) + H(1, 0)) / 2 = 0.811278 - 0.5 bits
    assert prior_divergence([4, 4], [3, 0]) == pytest.approx(0.311278, abs=1e-6)
    assert prior_divergence([4, 4], [3, 0]) == prior_divergence([3, 0], [4, 4])
    with pytest.raises(ValueError, match="got -1 and 1"):
        prior_divergence([-1, 2], [1, 2])


@pytest.mark.filterwarnings("error")
def test_sets_without_labels_have_no_classes():
    assert np.isnan(prior_divergence([0, 0], [1, 2])) and np.isnan(prior_divergence([1, 2], [0, 0]))


def test_gaps_of_moments_have_a_sign():
    means, stds = moment_gap([100, 80], [10, 20], [110, 60], [15, 20])
    assert means.tolist() == [10, -20] and stds.tolist() == [5, 0]


def test_days_between_seasons():
    assert day_of_year_gap(["2019-07-01"], ["2021-07-11"]) == pytest.approx(10)
    assert day_of_year_gap(["2021-07-11"], ["2019-07-01"]) == pytest.approx(10), "it has no sign"
    assert day_of_year_gap(["2019-12-30"], ["2021-01-04"]) == pytest.approx(5), "the shorter way round the year"
    assert day_of_year_gap(["2019-07-01", "2019-07-03"], ["2020-07-02"]) == pytest.approx(0)
    assert day_of_year_gap(["2019-01-01"], ["2019-07-02"]) == pytest.approx(183)


def test_leap_days_are_days():
    assert day_of_year_gap(["2020-02-29"], ["2019-03-01"]) == pytest.approx(1)
    assert day_of_year_gap(["2020-03-01"], ["2019-03-01"]) == pytest.approx(0)


def test_dates_that_are_missing():
    assert day_of_year_gap(["", "2019-07-01"], ["2019-07-04", ""]) == pytest.approx(3)
    assert np.isnan(day_of_year_gap(["", ""], ["2019-07-04"])) and np.isnan(day_of_year_gap(["2019-07-04"], []))


def test_dates_that_balance_have_no_mean():
    assert np.isnan(day_of_year_gap(["2019-01-01", "2019-07-02"], ["2019-07-02"]))


def test_distances_on_the_ground():
    source, target = [[0, 0], [0, 1000]], [[300, 1400], [3700, 4600]]
    assert nearest_distance(source, target) == pytest.approx(500)
    assert centre_distance(source, target) == pytest.approx(np.hypot(2, 2.5))
    assert nearest_distance(source, source) == 0 and centre_distance(source, source) == 0


def test_places_that_are_missing():
    nowhere = [np.nan, np.nan]
    assert nearest_distance([[0, 0], nowhere], [[3, 4], [np.nan, 0]]) == pytest.approx(5)
    assert centre_distance([[0, 0], nowhere], [[3, 4], [np.nan, 0]]) == pytest.approx(0.005)
    for measure in (nearest_distance, centre_distance):
        assert np.isnan(measure([nowhere], [[0, 0]])) and np.isnan(measure([[0, 0]], []))


def test_new_cameras():
    assert camera_change(["a", "b"], ["a", "b", "c", "d"]) == 0.5
    assert camera_change(["a", "b"], ["b"]) == 0 and camera_change(["a"], ["b"]) == 1
    assert camera_change(["a", ""], ["", "b", "a"]) == 0.5, "an unknown camera is neither old nor new"
    assert np.isnan(camera_change(["", ""], ["a"])) and np.isnan(camera_change(["a"], [""]))
