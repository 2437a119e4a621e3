import numpy as np
import pytest

from benchmark.evaluation.comparison import Grid
from benchmark.evaluation.shares import (
    LEAST_ZONES,
    ShareErrors,
    compare_shares,
    correct,
    rank_correlation,
    share_errors,
    shares_of,
)

RATES = np.array([[0.85, 0.1, 0.05], [0.08, 0.8, 0.12], [0.03, 0.07, 0.9]])


def matrix(rng, shares, pixels: int = 5000, spread: float = 40):
    """Return the confusion matrix of a zone whose rates are its own; its last row, of ignored truth, is not empty."""
    truth = np.round(shares * pixels).astype(int)
    own = [rng.multinomial(count, rng.dirichlet(row * spread)) for count, row in zip(truth, RATES, strict=True)]
    return np.vstack([own, np.full(3, 100)])


def test_the_mean_error_on_labelled_zones_is_subtracted():
    true = np.tile([0.2, 0.8], (6, 1))
    noise = np.array([[0.01], [-0.01]] * 3)
    corrected = correct(np.array([0.5, 0.02]), 9, true + np.array([0.1, 0.05]) + noise, true, np.full(6, 9))
    assert corrected.values.tolist() == pytest.approx([0.4, 0.0])
    half = 2.5706 * np.sqrt(6 * 0.01**2 / 5 * (1 + 1 / 6))  # Student's t with 5 degrees of freedom
    assert (corrected.low[0], corrected.high[0]) == pytest.approx((0.4 - half, 0.4 + half), rel=1e-4)
    assert corrected.low[1] == 0 and corrected.high[1] == pytest.approx(0.02 - 0.05 + half, abs=1e-6)


def test_nothing_is_said_where_nothing_is_known():
    number = LEAST_ZONES - 1
    few = correct(np.array([0.5]), 9, np.full((number, 1), 0.6), np.full((number, 1), 0.5), np.full(number, 9))
    assert few.values[0] == pytest.approx(0.4) and np.isnan([few.low[0], few.high[0]]).all()
    none = correct(np.array([0.5, 0.5]), 9, np.array([[np.nan, 0.6]]), np.array([[np.nan, 0.5]]), np.array([9]))
    assert np.isnan(none.values[0]) and none.values[1] == pytest.approx(0.4)
    empty = correct(np.array([0.5, 0.5, 0.5]), 9, *shares_of([np.vstack([np.zeros((3, 3), int), np.ones(3, int)])]))
    assert np.isnan(empty.values).all() and np.isnan(empty.low).all()


@pytest.mark.parametrize(("zones", "size"), [(5, 1), (12, 1), (40, 1), (12, 4)])
def test_the_interval_covers(zones, size):
    """Of zones whose shares and rates of confusion are their own; of larger ones it covers more."""
    rng, hits = np.random.default_rng(1), []
    for _ in range(400):
        sample = [matrix(rng, rng.dirichlet([3, 4, 3])) for _ in range(zones)]
        zone = sum(matrix(rng, rng.dirichlet([3, 4, 3])) for _ in range(size))
        (values,), (truth,), (pixels,) = shares_of([zone])
        corrected = correct(values, pixels, *shares_of(sample))
        hits.append((corrected.low <= truth) & (truth <= corrected.high))
    assert 0.93 <= np.mean(hits) <= (0.975 if size == 1 else 1)


@pytest.mark.parametrize("zones", [5, 12, pytest.param(40, marks=pytest.mark.slow)])
def test_the_interval_covers_or_is_silent_where_zones_are_of_unequal_size(zones):
    """Large zones are of many parts whose errors are their own: small ones err more than the labelled zones did."""

    def draw():
        parts = int(rng.lognormal(1, 1)) + 1
        return sum(matrix(rng, rng.dirichlet([3, 4, 3]), 500) for _ in range(parts))

    rng, hits = np.random.default_rng(1), []
    for _ in range(400):
        zone, sample = draw(), [draw() for _ in range(zones)]
        (values,), (truth,), (pixels,) = shares_of([zone])
        corrected = correct(values, pixels, *shares_of(sample))
        if np.isfinite(corrected.low).all():
            hits.append((corrected.low <= truth) & (truth <= corrected.high))
    assert np.mean(hits) >= 0.93 and 130 < len(hits) < 330  # about half of the zones


def test_errors_cancel_over_the_zones_of_a_domain():
    over, under = np.array([[50, 0], [20, 30], [9, 0]]), np.array([[30, 20], [0, 50], [0, 9]])
    errors = share_errors(
        {"a@2020|1": over, "a@2020|2": under, "b@2020|1": over, "b@2020|2": np.zeros((3, 2), int)}, []
    )
    assert (errors.zones, errors.domains) == pytest.approx((0.2, 0.1))
    assert np.isnan(errors.by_source)
    assert share_errors({"a|1": np.array([[0, 0], [0, 0], [5, 5]])}, [over]) is None
    assert np.isnan(share_errors({"a|1": over}, []).by_others)


def test_errors_are_corrected_by_those_of_other_zones():
    over = np.array([[50, 0], [20, 30], [9, 0]])
    errors = share_errors({"a|1": over, "a|2": over, "b|1": over}, [over[::-1][[1, 2, 0]], over])
    assert errors.zones == pytest.approx(0.2) and errors.by_others == pytest.approx(0)
    source = share_errors({"a|1": over, "a|2": over}, [over, over, over])
    assert source.by_source == pytest.approx(0)


def test_a_method_has_one_line():
    methods = ("first", "second", "third", "oracle")
    grid = Grid(methods, ("f", "g"), (0,), dict.fromkeys(methods, ""), frozenset({"oracle"}), "first")
    errors = {
        (method, fold, 0): ShareErrors(value + shift, 0.1, 0.2, 0.3)
        for method, value in (("first", 0.1), ("second", 0.2), ("oracle", 0.01))
        for fold, shift in (("f", -0.01), ("g", 0.01))
    }
    lines = compare_shares(errors, {"first": 0.8, "second": 0.5, "oracle": 0.9}, grid)
    assert [line.method for line in lines] == ["first", "second", "oracle"]
    assert lines[1].domains.mean == pytest.approx(0.2) and lines[1].domains.low < 0.19
    assert lines[2].bound and np.isnan(rank_correlation(lines))
    errors["third", "f", 0] = ShareErrors(0.5, 0, 0, 0)
    lines = compare_shares(errors, {"first": 0.8, "second": 0.5, "third": 0.1, "oracle": 0.0}, grid)
    assert rank_correlation(lines) == pytest.approx(-1)
