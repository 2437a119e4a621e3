"""Batches of a training and of an evaluation carry the series of their patches, cut and turned with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.conformance.fixtures import recipe_with
from benchmark.conformance.world import open_world
from benchmark.data.series.corruptions import CORRUPTIONS
from benchmark.training.devices import make_fabric
from benchmark.training.fold_data import batches_of
from benchmark.training.prediction import evaluate
from methods import registry
from methods.base import Task

RECIPE = replace(recipe_with("late"), crop=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_world(tmp_path_factory.mktemp("world"), set(), set(), 32, RECIPE.series_view)


def _first(data, recipe=RECIPE):
    method = type(
        "M", (), {"needs": registry.available()["dacs"].needs, "sampling_weights": lambda self, pixels: None}
    )()
    return next(batches_of(make_fabric("cpu", "32-true"), method, data, recipe, 0))


def test_source_and_target_batches_have_series_of_their_own_patches(data):
    source, target = _first(data)
    for batch in (source, target):
        series = batch.series
        assert series.values.shape == (4, series.valid.shape[1], 10, 8, 8) and series.values.dtype is torch.float32
        assert series.days.shape == series.valid.shape and bool(series.valid.any(1).all())
        assert 4 <= series.valid.sum(1).max() <= 12, "months"
    assert not hasattr(target, "labels")


def test_series_are_turned_as_the_crops_are(data):
    """The whole patches turned: the mean over the quarters of the series follows those of the images."""
    recipe = replace(RECIPE, crop=32)
    turned, (straight, _) = _first(data, recipe)[0], _first(data, replace(recipe, turn=False))
    assert torch.equal(turned.origin.positions, straight.origin.positions)
    different = 0
    for number in range(4):
        views = [straight.images[number].rot90(k, (-2, -1)) for k in range(4)]
        views += [view.flip(-1) for view in views]
        (symmetry,) = [k for k, view in enumerate(views) if torch.equal(view, turned.images[number])]
        series = straight.series.values[number].rot90(symmetry % 4, (-2, -1))
        assert torch.equal(series.flip(-1) if symmetry >= 4 else series, turned.series.values[number])
        different += symmetry != 0
    assert different


def test_evaluation_passes_the_series_of_the_whole_patches(data):
    seen = []

    def predict(batch):
        seen.append(batch.series)
        return torch.zeros(len(batch.images), len(data.task.classes), 32, 32)

    evaluate(make_fabric("cpu", "32-true"), predict, data, "source_val", batch_size=2)
    rows = data.parts["source_val"].rows
    expected = data.series.read(rows[:2], 32)
    assert torch.equal(seen[0].values, expected.values) and sum(len(each.days) for each in seen) == len(rows)


def test_something_is_missing_of_the_series_alone_and_of_one_evaluation(data):
    seen = []

    def predict(batch):
        seen.append(batch)
        return torch.zeros(len(batch.images), len(data.task.classes), 32, 32)

    for fold in (data, data.with_missing(CORRUPTIONS["no-series"]), data):
        evaluate(make_fabric("cpu", "32-true"), predict, fold, "target_test")
    whole, missing, again = seen
    assert torch.equal(whole.images, missing.images) and not missing.series.valid.any()
    assert torch.equal(whole.series.values, again.series.values) and whole.series.valid.any()
    assert replace(data, series=None).with_missing(CORRUPTIONS["no-series"]).series is None


def test_without_a_series_batches_have_none(data):
    source, target = _first(replace(data, series=None))
    assert source.series is None and target.series is None


def test_a_network_is_given_the_moments_of_the_source_alone(data):
    given = data.series_input()
    keys = {data.series.keys[row] for row in data.parts["source_train"].rows.tolist()}
    np.testing.assert_allclose(given.mean, data.series.store.moments(keys)[0])
    every = data.series.store.moments(data.series.store.keys)[0]
    assert not np.allclose(given.mean, every, rtol=1e-3)
    assert given.cells == pytest.approx(0.08) and isinstance(data.task, Task)
