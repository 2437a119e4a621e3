"""A short measurement measures: more work takes longer, and what is kept for the backward pass grows with it."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.models.segmentation import build_network
from benchmark.planning.probe import activations_of, probe, weights_of

pytestmark = pytest.mark.usefixtures("networks_once")


def test_it_measures_whole_batches_where_they_are_quick(outlined, recipe):
    found = probe(replace(recipe, batch_size=4), outlined.shape, "cpu")
    assert found.batch == 4 and found.device == "cpu" and 0 < found.patch < found.step < 5


def test_a_batch_that_would_take_long_is_scaled(outlined, recipe, monkeypatch):
    monkeypatch.setattr("benchmark.planning.probe.LONGEST", 1e-4)
    found = probe(replace(recipe, batch_size=64), outlined.shape, "cpu")
    assert found.batch == 2 and found.step > 0


def test_activations_grow_with_batch_and_crop(outlined, recipe):
    small = activations_of(recipe, outlined.shape)
    assert activations_of(replace(recipe, batch_size=6), outlined.shape) == pytest.approx(3 * small)
    assert activations_of(replace(recipe, crop=0), outlined.shape) == pytest.approx(4 * small, rel=0.05)


def test_weights_are_those_of_the_network_whatever_they_are(outlined, recipe):
    network = build_network(recipe.network, 3, 5, np.zeros(3), np.ones(3), 0)
    expected = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    imagenet = replace(recipe, network=replace(recipe.network, encoder_weights="imagenet"))
    assert weights_of(recipe, outlined.shape) == weights_of(imagenet, outlined.shape) == expected
