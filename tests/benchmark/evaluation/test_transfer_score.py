"""The parts of the Transfer Score on cases worked out here: the authors give no numbers of them alone."""

import numpy as np
import pytest

from benchmark.evaluation.transfer_score import hopkins, lack_of_uniformity, transfer_score
from benchmark.evaluation.validators import Sample


def test_a_regular_simplex_is_uniform_and_opposed_classes_are_not():
    """Three directions at 120 degrees are what arccos(-1 / 2) demands; at right angles each is 30 degrees off."""
    angles = np.radians([0, 120, 240])
    simplex = np.stack((np.cos(angles), np.sin(angles)), 1) * [[1], [5], [0.1]]
    assert lack_of_uniformity(simplex) == pytest.approx(0, abs=1e-12)
    assert lack_of_uniformity(np.eye(3)) == pytest.approx(np.radians(30) ** 2)
    assert lack_of_uniformity(np.ones((2, 4))) == pytest.approx(np.pi**2, rel=1e-6)


def test_clusters_are_told_from_an_even_spread():
    random, patches = np.random.default_rng(0), np.arange(600) // 6
    centres = random.permutation(np.repeat(random.uniform(size=(5, 3)), 120, axis=0))
    clustered = Sample(centres + random.normal(scale=0.005, size=(600, 3)), patches)
    even = Sample(random.uniform(size=(600, 3)), patches)
    assert hopkins(even, 0) == pytest.approx(0.5, abs=0.04) and hopkins(clustered, 0) > 0.9


def test_the_pixels_of_one_patch_are_no_cluster():
    """Each patch is one point of an even spread, seen sixteen times."""
    random = np.random.default_rng(0)
    spread = Sample(np.repeat(random.uniform(size=(100, 2)), 16, axis=0), np.repeat(np.arange(100), 16))
    assert hopkins(spread, 0) == pytest.approx(0.5, abs=0.08)
    assert np.isnan(hopkins(Sample(spread.features[:16], spread.patches[:16]), 0))


def test_the_score_is_the_sum_of_its_parts():
    """Half the pixels surely of one class, half of another: the mutual information is ln 2, all of it."""
    logits = np.repeat([[50.0, 0.0], [0.0, 50.0]], 30, axis=0)
    features = Sample(np.random.default_rng(1).normal(size=(60, 2)), np.arange(60) // 4)
    opposed = np.array([[1.0, 0.0], [-2.0, 0.0]])
    assert transfer_score(logits, features, opposed, 0) == pytest.approx(hopkins(features, 0) + 1)
    assert transfer_score(logits, features, np.eye(2), 0) == pytest.approx(
        hopkins(features, 0) + 1 - np.radians(90) ** 2
    )
