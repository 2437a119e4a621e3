import numpy as np
import pytest

from benchmark.evaluation.comparison import Grid
from benchmark.evaluation.shares import (
    LEAST_ZONES,
    ShareErrors,
    compare_shares,
    correct,
    invert,
    rank_correlation,
    share_errors,
)

RATES = np.array([[0.85, 0.1, 0.05], [0.08, 0.8, 0.12], [0.03, 0.07, 0.9]])
SOURCE, TARGET = np.array([0.3, 0.4, 0.3]), np.array([0.08, 0.22, 0.7])


def matrix(rng, shares, pixels: int = 5000, spread: float = 40):
    """Return the confusion matrix of a zone whose rates are its own; its last row, of ignored truth, is not empty."""
    truth = np.round(shares * pixels).astype(int)
    own = [rng.multinomial(count, rng.dirichlet(row * spread)) for count, row in zip(truth, RATES, strict=True)]
    return np.vstack([own, np.full(3, 100)])


def test_an_inverted_share_is_the_true_one():
    assert invert(TARGET @ RATES, RATES).tolist() == pytest.approx(TARGET.tolist())
    impossible = invert(np.array([0.0, 0.0, 1.0]), RATES)
    assert impossible.min() >= 0 and impossible.sum() == pytest.approx(1)
    assert impossible[2] == pytest.approx(1)


def test_the_correction_holds_where_shares_differ_and_rates_do_not():
    exact = [np.vstack([SOURCE[:, None] * RATES * 1e6, np.full(3, 1e5)]).astype(np.int64)] * 6
    predicted = np.round(TARGET @ RATES * 1e6).astype(np.int64)
    corrected = correct(predicted, exact).shares
    assert corrected.tolist() == pytest.approx(TARGET.tolist(), abs=1e-5)
    # The estimator by p(true | predicted) of the other sample keeps much of that sample's shares.
    joint = SOURCE[:, None] * RATES
    olofsson = (joint / joint.sum(0)) @ (TARGET @ RATES)
    assert np.abs(olofsson - TARGET).max() > 0.03


def test_a_class_that_the_sample_lacks_is_taken_as_it_is_mapped():
    rates = np.eye(3) * 1000
    rates[1] = 0
    assert correct(np.array([20, 30, 50]), [np.vstack([rates, np.zeros(3)])]).shares.tolist() == pytest.approx(
        [0.2, 0.3, 0.5]
    )


def test_nothing_is_said_where_nothing_is_known():
    rng = np.random.default_rng(0)
    few = correct(np.array([5, 5, 90]), [matrix(rng, SOURCE) for _ in range(LEAST_ZONES - 1)])
    assert np.isfinite(few.shares).all() and np.isnan(few.interval(lambda shares: shares[..., 0])).all()
    for pixels, matrices in (
        (np.zeros(3, int), [matrix(rng, SOURCE)]),
        (np.ones(3, int), []),
        (np.ones(3, int), [np.zeros((4, 3))]),
    ):
        assert np.isnan(correct(pixels, matrices).shares).all()


@pytest.mark.parametrize(("zones", "size"), [(6, 1), (12, 1), (12, 4)])
def test_the_interval_covers(zones, size):
    rng, hits, sizes = np.random.default_rng(1), [], []
    for trial in range(60):
        sample = [matrix(rng, rng.dirichlet(SOURCE * 10)) for _ in range(zones)]
        zone = sum(matrix(rng, TARGET) for _ in range(size))[:-1]
        corrected, truth = correct(zone.sum(0), sample, trial), zone.sum(1) / zone.sum()
        low, high = np.transpose(
            [corrected.interval(lambda shares, number=number: shares[..., number]) for number in range(3)]
        )
        hits.append((low <= truth) & (truth <= high))
        sizes.append(high - low)
    assert 0.88 <= np.mean(hits) <= 0.99  # of 180 shares; 0.92 to 0.96 of 450
    assert np.mean(sizes) < 0.25


def test_errors_cancel_over_the_zones_of_a_domain():
    over, under = np.array([[50, 0], [20, 30], [9, 0]]), np.array([[30, 20], [0, 50], [0, 9]])
    errors = share_errors(
        {"a@2020|1": over, "a@2020|2": under, "b@2020|1": over, "b@2020|2": np.zeros((3, 2), int)}, []
    )
    assert (errors.zones, errors.domains) == pytest.approx((0.2, 0.1))
    assert np.isnan(errors.corrected_zones) and np.isnan(errors.corrected_domains)
    assert share_errors({"a|1": np.array([[0, 0], [0, 0], [5, 5]])}, [over]) is None


def test_errors_are_corrected_by_source_validation():
    zone = np.vstack([np.round(TARGET[:, None] * RATES * 1e6), np.zeros(3)]).astype(np.int64)
    source = np.vstack([np.round(SOURCE[:, None] * RATES * 1e6), np.full(3, 1e5)]).astype(np.int64)
    errors = share_errors({"a|1": zone}, [source, source])
    assert errors.zones == errors.domains > 0.03
    assert errors.corrected_zones == pytest.approx(0, abs=1e-5) and errors.corrected_domains < 1e-5


def test_a_method_has_one_line():
    methods = ("first", "second", "third", "oracle")
    grid = Grid(methods, ("f", "g"), (0,), dict.fromkeys(methods, ""), frozenset({"oracle"}), "first")
    errors = {
        (method, fold, 0): ShareErrors(0.1, 0.2, value + shift, 0.3)
        for method, value in (("first", 0.1), ("second", 0.2), ("oracle", 0.01))
        for fold, shift in (("f", -0.01), ("g", 0.01))
    }
    lines = compare_shares(errors, {"first": 0.8, "second": 0.5, "oracle": 0.9}, grid)
    assert [line.method for line in lines] == ["first", "second", "oracle"]
    assert lines[1].domains.mean == pytest.approx(0.2) and lines[1].domains.low < 0.19
    assert lines[2].bound and np.isnan(rank_correlation(lines))
    errors["third", "f", 0] = ShareErrors(0, 0, 0.5, 0)
    lines = compare_shares(errors, {"first": 0.8, "second": 0.5, "third": 0.1, "oracle": 0.0}, grid)
    assert rank_correlation(lines) == pytest.approx(-1)
