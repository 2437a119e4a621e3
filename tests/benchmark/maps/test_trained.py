"""A finished run is loaded as it was when it was scored, without its data; or it is said why not."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.common.errors import DataError, SettingsError, TrackingError
from benchmark.experiments.image_record import IMAGES
from benchmark.maps.trained import find_run, load_run


def test_a_run_is_found_by_the_start_of_its_id(finished, run):
    assert find_run(finished.results, run.record.id[:5]).id == run.record.id
    with pytest.raises(TrackingError, match="there is no run with an id that begins with"):
        find_run(finished.results, "0" * 16)


def test_the_best_run_of_a_method_is_found(finished):
    best = find_run(finished.results, "best:tent")
    assert best.id == find_run(finished.results, "best:tent@2020", "tiny").id == finished.runs["tent"].id
    for name, words in (
        (("best:dann",), "no finished run of 'dann'"),
        (("best:tent@",), "'best:tent@' names no run"),
        (("best:tent@2021",), "on the fold '2021', but on 2020"),
        (("best:tent", "other"), "no finished run of 'tent'"),
    ):
        with pytest.raises(TrackingError, match=words):
            find_run(finished.results, *name)


def test_of_several_runs_the_one_with_the_highest_source_validation_is_best(finished, monkeypatch):
    record = finished.runs["source-only"]

    def other(key, miou, **facts):
        metrics = {**record.metrics, "selected/source_val_miou": miou}
        return replace(record, id=key, metrics=metrics, facts={**record.facts, **facts})

    runs = [other("a", 0.4, seed="1"), other("b", 0.6, method="source-only[x=1]")]
    monkeypatch.setattr(finished.results, "finished", lambda experiment: {run.id: run for run in runs})
    assert find_run(finished.results, "best:source-only").id == "b"
    monkeypatch.setattr("benchmark.maps.trained.keys", lambda results, experiment: [])
    with pytest.raises(TrackingError, match="no finished run"):  # runs of a search are of no comparison
        find_run(finished.results, "best:source-only")
    monkeypatch.undo()
    monkeypatch.setattr(finished.results, "finished", lambda experiment: {run.id: run for run in runs})
    runs.append(other("d", 0.1, comparison="another"))
    with pytest.raises(TrackingError, match=r"is in several comparisons: .* another of tiny; .*--comparison"):
        find_run(finished.results, "best:source-only")
    assert find_run(finished.results, "best:source-only", "", "anoth").id == "d"


def test_a_loaded_run_has_the_weights_and_the_classes_of_the_run(finished, run):
    assert not run.method.training and run.images.bands == ("red", "green", "blue", "nir", "height")
    assert run.method.task.classes == run.images.classes.names and run.method.task.domains
    assert run.legend.values[0] == 1 and run.values.dtype == np.uint8
    assert run.confusion is not None and run.confusion.shape == (len(run.values) + 1, len(run.values))
    assert run.confusion[:-1].sum() > 0
    again = load_run(run.record, "cpu")
    image = torch.rand(1, 5, 32, 32) * 255
    assert torch.equal(again.predict(image), run.predict(image))
    assert set(run.facts) >= {"run", "method", "protocol", "training_domains", "weights", "software"}


def test_a_run_names_the_times_it_was_trained_on_where_days_are_not_known(run):
    images = replace(run.images, dates=("", ""), places=("a", "b"), domains=("a@2016", "b@2016", "b@2020"))
    assert replace(run, images=images).facts["training_domains"] == "a, b (2016, 2020)"
    assert replace(run, images=replace(images, domains=("a@", "b@"))).facts["training_domains"] == "a, b"


@pytest.fixture
def copied(run, tmp_path):
    """The record of the run, with a copy of its files."""
    shutil.copytree(str(run.record.artifacts), tmp_path / "run")
    return replace(run.record, artifacts=tmp_path / "run")


def test_a_run_of_an_earlier_version_or_of_another_code_is_refused(copied):
    path = copied.artifacts / IMAGES
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "bands": ["red"]}))
    with pytest.raises(DataError, match="does not fit source-only as it is installed"):
        load_run(copied, "cpu")
    path.write_text(json.dumps({**content, "classes": 3}))
    with pytest.raises(DataError, match="no record of images"):
        load_run(copied, "cpu")
    path.unlink()
    with pytest.raises(DataError, match="an earlier version of landshift trained it; train it again"):
        load_run(copied, "cpu")


def test_what_cannot_be_given_is_refused(run):
    with pytest.raises(SettingsError, match="coding 'mine' does not exist"):
        load_run(run.record, "cpu", "mine")
    with pytest.raises(SettingsError, match="cannot predict with --accelerator"):
        load_run(run.record, "abacus")
    images = replace(run.images, dates=("", ""), places=("a", "b"), domains=("a", "b"))
    assert replace(run, images=images).facts["training_domains"] == "a, b"
