"""Estimates of the accuracy on the target, against official code and cases worked out here."""

import numpy as np
import pytest
from scipy.special import softmax

from benchmark.evaluation.accuracy_estimates import (
    TEMPERATURES,
    best_temperature,
    confidence_transport,
    difference_of_confidences,
    fit_temperature,
)
from tests.benchmark.evaluation.test_validators import official


def test_the_difference_of_confidences_equals_the_official_one():
    values = official("accuracy_estimation")
    estimate = difference_of_confidences(values["in_src_logits"], values["in_src_labels"], values["in_target_logits"])
    assert 1 - estimate == pytest.approx(float(values["out_doc_target_err"]), rel=1e-5)


def test_the_transport_equals_the_official_one():
    values = official("accuracy_estimation")
    shares = values["in_cot_onehot"].sum(0)
    estimate = confidence_transport(values["in_target_logits"], shares)
    assert 1 - estimate == pytest.approx(float(values["out_cot_target_err"]), rel=1e-5)


def test_the_transport_cost_is_what_the_shares_of_the_source_cannot_take():
    """All pixels are predicted as one class, for sure: the source's other classes must move there."""
    sure = np.tile([50.0, 0.0, 0.0], (10, 1))
    assert confidence_transport(sure, np.array([0.5, 0.3, 0.2])) == pytest.approx(0.5)
    assert confidence_transport(sure, np.array([1.0, 0.0, 0.0])) == pytest.approx(1)
    assert confidence_transport(sure, np.array([0.87, 0.05, 0.08])) == pytest.approx(0.9), "8.7 is rounded up to 9"


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.6])
def test_the_temperature_is_that_by_which_logits_are_too_sharp(temperature):
    random = np.random.default_rng(0)
    logits = random.normal(scale=2, size=(20_000, 4))
    labels = (softmax(logits, axis=1).cumsum(1) < random.random((20_000, 1))).sum(1)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.04)


def test_a_temperature_outside_of_the_grid_is_its_nearest_end():
    assert best_temperature(np.arange(len(TEMPERATURES))) == TEMPERATURES[0]
    assert best_temperature(-np.arange(len(TEMPERATURES))) == TEMPERATURES[-1]
