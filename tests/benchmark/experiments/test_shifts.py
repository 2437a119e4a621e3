"""Every measure of every fold of a tiny world, and that they tell a held-out time from a held-out place."""

import numpy as np
import pytest

from benchmark.data.classes import slug
from benchmark.experiments.jobs import Bench, ExperimentPlan
from benchmark.experiments.shifts import MEASURES, measure_shifts
from benchmark.models.segmentation import NetworkSettings, SegmentationNetwork
from benchmark.training import prediction as evaluation
from benchmark.training.config import TrainingConfig
from methods.parts.randomness import numpy_generator

SETTINGS = NetworkSettings(encoder="tu-test_resnet", encoder_depth=2, decoder_channels=(8, 8))


@pytest.fixture(scope="module")
def measured(world, stores, tmp_path_factory):
    """Folds of a held-out time and of a held-out place."""
    found = {}
    for column in ("time", "place"):
        path = tmp_path_factory.mktemp(column) / f"{column}.toml"
        path.write_text(
            f'name = "{column}"\nversion = 1\ndataset = "world"\ntitle = "t"\ndescription = "d"\n'
            f'confounds = "c"\nhold_out = ["{column}"]\n[split]\ntarget_share = 0.5\n'
        )
        bench = Bench(ExperimentPlan(str(path), world, tmp_path_factory.mktemp("results"), stores, TrainingConfig()))
        found[column] = bench, measure_shifts(bench, SETTINGS, 6)
    return found


def test_every_fold_has_every_measure(measured):
    for bench, shifts in measured.values():
        assert [shift.fold for shift in shifts] == list(bench.folds)
        for shift in shifts:
            assert set(shift.values) == set(MEASURES)
            assert set(shift.bands) == {"red", "green", "blue", "nir", "height"}
            assert slug(shift.fold)


def test_place_and_time_are_told_apart(measured):
    time, place = (measured[column][1][0].values for column in ("time", "place"))
    assert time["day_gap"] > 20 and place["day_gap"] < 5
    assert place["km"] > 100 > time["km"]
    assert place["nearest_m"] > 100_000 > time["nearest_m"] > 0
    assert time["new_camera"] == 1 and place["new_camera"] == 0


def test_the_gaps_are_those_of_the_pixels(measured):
    bench, shifts = measured["time"]
    fold = bench.folds[shifts[0].fold]
    sides = [
        bench.store.read(bench.store.rows([*fold.parts[one], *fold.parts[other]])).astype(float)
        for one, other in (("source_train", "source_val"), ("target_adapt", "target_test"))
    ]
    gap = sides[1][:, 0].mean() - sides[0][:, 0].mean()
    assert shifts[0].bands["red"][0] == pytest.approx(gap)
    assert shifts[0].values["mean_gap"] == pytest.approx(np.mean([abs(mean) for mean, _ in shifts[0].bands.values()]))


def test_too_few_zones_give_no_proxy_distance(measured):
    """Four zones a place: no five groups on each side."""
    assert all(np.isnan(shift.values["proxy_a"]) for shift in measured["time"][1])


def test_patches_are_drawn_the_same_each_time(measured):
    bench, shifts = measured["place"]
    calls = []
    again = measure_shifts(bench, SETTINGS, 6, lambda *done: calls.append(done))
    assert calls == [(0, 2), (1, 2), (2, 2)]
    assert [str(shift.values) for shift in again] == [str(shift.values) for shift in shifts]
    assert numpy_generator(0, "shift", "a", 3).random() != numpy_generator(0, "shift", "b", 3).random()


def test_features_of_large_patches_are_computed_one_by_one(measured, monkeypatch):
    bench, shifts = measured["place"]
    sizes, features = [], SegmentationNetwork.features
    monkeypatch.setattr(evaluation, "PIXELS_AT_ONCE", 1)
    monkeypatch.setattr(
        SegmentationNetwork, "features", lambda self, images: sizes.append(len(images)) or features(self, images)
    )
    again = measure_shifts(bench, SETTINGS, 6)
    assert set(sizes) == {1}
    for one, other in zip(again, shifts, strict=True):
        assert one.values == pytest.approx(other.values, rel=1e-4, nan_ok=True)
