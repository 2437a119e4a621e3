"""How long a run takes: from runs of its own, else by its ratio to source-only."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.conformance.costs import Cost
from benchmark.experiments.results import RunRecord
from benchmark.planning.pace import Pace, Paces, assumed_base, measured_paces, stream_factor, work_of

SIZES = (100, 10, 20, 30)
FACTS = {"network": "unet tu-test_resnet", "encoder_depth": "2", "batch_size": "2", "crop": "32"}
FACTS |= {"precision": "32-true", "fingerprint": "towns", "steps": "4", "checkpoints": "2"}
COSTS = {"dacs": Cost(2.0, 3.0), "tent": Cost(0.5, 1.0), "source-only": Cost(0.9, 1.0)}


def _run(method, fold="north", *, training=8.0, lasted=20.0, device="cpu", **facts):
    about = FACTS | {"method": method, "fold": fold} | facts
    metrics = {"time/training_seconds": training}
    return RunRecord("i", "n", "FINISHED", about, metrics, {"device": device}, None, Path("none"), 100.0, 100 + lasted)


def test_a_run_takes_its_steps_and_predicts_at_every_checkpoint(outlined, recipe):
    work = work_of("source-only", SIZES, 4, recipe, outlined.shape)
    # Two checkpoints: validation, test, the few, and a sample of 20 and 10 patches in windows of a quarter.
    assert (work.steps, work.patches) == (4, 2 * (10 + 30 + 4 + 30 / 4))
    assert work_of("few-target-labels", SIZES, 4, recipe, outlined.shape).patches == 2 * (10 + 30 + 30 / 4)
    bare = work_of("source-only", (100, 10, 0, 30), 0, recipe, outlined.shape)
    assert bare.patches == 2 * (10 + 30), "nothing unlabelled, no sample"


def test_what_looks_at_validation_of_its_own_predicts_a_sample_of_it_now_and_then(outlined, recipe):
    looks, plain = (work_of(label, SIZES, 4, recipe, outlined.shape).patches for label in ("swad", "source-only"))
    assert looks - plain == 20 * 10


def test_what_learns_from_the_stream_has_its_batches_for_steps(outlined, recipe):
    work = work_of("tent", SIZES, 4, recipe, outlined.shape)
    assert (work.steps, work.patches) == (15, 10 + 30)


def test_a_method_s_own_runs_come_first_then_its_name_s_then_its_ratio(outlined, recipe):
    measured = {"dacs": Pace(5.0, 1.0, "mine")}
    paces = Paces(measured, Pace(1.0, 0.5, "measured now"), COSTS, stream=4.0)
    assert paces.of("dacs").step == paces.of("dacs[confidence=0.5]").step == 5.0
    assert paces.of("source-only") == Pace(1.0, 0.5, "measured now"), "its own ratio is 1, whatever was measured"
    assert paces.of("tent") == Pace(0.5 * 4, 0.5, "2.00 × source-only")
    assert paces.of("mmd").words == "1.00 × source-only, assumed"
    assert Paces(measured, None, COSTS, 1.0).of("mmd") is None


def test_finished_runs_tell_seconds_a_step_and_a_patch(outlined, recipe):
    paces, device, mine = measured_paces(
        [_run("source-only"), _run("source-only", "south", training=16.0, lasted=16.0), _run("dacs[confidence=0.5]")],
        outlined,
        recipe,
    )
    assert paces["source-only"].step == pytest.approx((2 + 4) / 2) and paces["source-only"].words == "2 runs here"
    north = work_of("source-only", SIZES, 4, recipe, outlined.shape).patches
    assert paces["source-only"].patch == pytest.approx((12 / north + 0) / 2)
    assert paces["dacs"].step == paces["dacs[confidence=0.5]"].step == 2
    assert device == "cpu" and len(mine) == 3


def test_a_run_of_other_steps_counts_by_its_own(outlined, recipe):
    paces, *_ = measured_paces([_run("source-only", steps="8", checkpoints="1")], outlined, recipe)
    assert paces["source-only"].step == 1


@pytest.mark.parametrize("change", [{"crop": "64"}, {"batch_size": "4"}, {"fingerprint": "x"}, {"precision": "bf16"}])
def test_runs_of_another_training_tell_nothing(outlined, recipe, change):
    assert measured_paces([_run("source-only", **change)], outlined, recipe) == ({}, "", [])


def test_runs_of_methods_that_are_gone_are_left_aside(outlined, recipe):
    runs = [_run("gone:Method"), _run("dacs[no_such=1]"), _run("source-only")]
    assert list(measured_paces(runs, outlined, recipe)[0]) == ["source-only"]


def test_of_two_devices_that_of_the_run_that_ended_last_counts(outlined, recipe):
    runs = [_run("source-only", lasted=21.0, device="H100"), _run("source-only", training=80.0)]
    paces, device, _ = measured_paces(runs, outlined, recipe)
    assert device == "H100" and paces["source-only"].step == 2


def test_what_is_given_stands_for_source_only(outlined, recipe):
    base = assumed_base(0.6, None, recipe, outlined.shape)
    # A third of a patch's share of a step, of four times the pixels.
    assert base.step == 0.6 and base.patch == pytest.approx(0.6 / 2 / 3 * 4)
    assert assumed_base(0.6, 0.01, recipe, outlined.shape).patch == 0.01
    assert stream_factor(recipe, outlined.shape) == 4
    assert math.isclose(stream_factor(replace(recipe, crop=0), outlined.shape), 1)
