"""What a comparison would cost: jobs as a run lists them, hours from finished runs, disk."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.common.errors import SettingsError
from benchmark.data.shapes import Shape
from benchmark.experiments.estimate import Timing, count_jobs, outline, run_bytes, store_bytes
from benchmark.experiments.jobs import Bench, ExperimentPlan
from benchmark.experiments.run_folder import FetchedFiles
from benchmark.experiments.run_record import RunRecord
from benchmark.tuning.plan import Tuning
from benchmark.tuning.session import TuningSession
from benchmark.tuning.space import trial_labels

LABELS = ["source-only", "dacs", "tent", "few-target-labels", "oracle"]
COSTS = {"dacs": 2.0, "mmd": 3.0, "tent": 0.5}
FACTS = {"network": "unet tu-test_resnet", "encoder_depth": "2", "batch_size": "2", "crop": "32"}
FACTS |= {"precision": "32-true", "fingerprint": "towns", "steps": "4", "checkpoints": "2"}


@pytest.fixture
def absent(recipe, tmp_path, monkeypatch):
    """A pinned protocol whose data are not here."""
    monkeypatch.chdir(tmp_path)
    return ExperimentPlan("dubai-leave-one-place-out", None, tmp_path / "results", tmp_path / "stores", recipe)


@pytest.fixture
def towns(plan):
    """Two folds of patches that are twice as wide as the crops; the mean test has 21 patches."""
    sizes = {"north": (100, 10, 20, 30), "south": (80, 20, 10, 12)}
    return replace(outline(plan), fingerprint="towns", sizes=sizes, shape=Shape(3, 64, 5), patches=200)


def _run(method, *, training=8.0, lasted=20.0, fold="north", device="cpu", files=Path("none"), **facts):
    about, metrics = FACTS | {"method": method, "fold": fold} | facts, {"time/training_seconds": training}
    return RunRecord("i", "n", "FINISHED", about, metrics, {"device": device}, None, files, 100.0, 100 + lasted)


def test_with_a_store_the_jobs_are_those_of_a_run(plan, bench):
    found = outline(plan)
    assert found.decoded and found.fingerprint == bench.fingerprint and found.patches == len(bench.catalog)
    assert found.jobs(LABELS, list(found.sizes), [0, 1]) == bench.jobs(LABELS, [0, 1])
    assert found.sizes == {name: fold.sizes for name, fold in bench.folds.items()}


def test_data_that_are_not_decoded_stay_so_and_their_jobs_are_as_many(plan, bench, tmp_path):
    found = outline(replace(plan, stores=tmp_path / "stores"))
    assert not found.decoded and not (tmp_path / "stores").exists()
    listed, real = found.jobs(LABELS, list(found.sizes), [0, 1]), bench.jobs(LABELS, [0, 1])
    assert [(job.label, job.fold, job.seed, job.skip) for job in listed] == [
        (job.label, job.fold, job.seed, job.skip) for job in real
    ]
    assert {job.identity for job in listed}.isdisjoint(job.identity for job in real)


def test_without_data_sizes_are_pinned_or_published_or_missing(absent):
    assert outline(absent).sizes["Tile 1"] == (1239, 354, 36, 45) and outline(absent).shape.size == 128
    published = outline(replace(absent, protocol="flair1-leave-departments-out"))
    assert len(published.sizes) == 50 and published.patches == pytest.approx(77_412, abs=25)
    with pytest.raises(SettingsError, match="the folds of flair1-official-v1 are known only with its data; give"):
        outline(replace(absent, protocol="flair1-official"))


def test_jobs_are_counted_once_by_their_state(plan, results, add_run):
    found = outline(plan)
    first, second, *_ = jobs = found.jobs(["tent", "sar"], list(found.sizes), [0])
    add_run(results, "another experiment", first.identity, {})
    add_run(results, "tiny-v1", second.identity, {}, "running")
    counts = count_jobs("c", [*jobs, *jobs], {"sar": "sharp"}, results).counts()
    assert (first.label, second.label) == ("source-only", "tent")
    assert counts == {
        "source-only": ("source-only", {"done": 1, "left": 1}),
        "tent": ("tent", {"running": 1, "left": 1}),
        "sharp": ("sar", {"left": 2}),
    }


def test_what_cannot_be_run_says_why(plan, protocol_file, tmp_path):
    (tmp_path / "bare.toml").write_text(protocol_file.read_text() + "adapt_share = 0\n")
    for stores in (plan.stores, tmp_path / "stores"):
        found = outline(replace(plan, protocol=str(tmp_path / "bare.toml"), stores=stores))
        stage = count_jobs("c", found.jobs(["source-only", "dacs", "mmd"], list(found.sizes), [0, 1]), {}, None)
        ((reason, rows),) = stage.skipped().items()
        assert rows == ["dacs", "mmd"] and "no target_adapt part" in reason and len(stage.work.left) == 4


def test_trials_are_those_of_a_tuning_and_done_for_the_comparison(plan, tmp_path):
    plan, tuning, labels = replace(plan, results=tmp_path), Tuning("target-entropy", 3), ["source-only", "shot"]
    found, trials = outline(plan), trial_labels(labels, plan.recipe, tuning)[0]
    jobs = found.jobs([trial for of in trials.values() for trial in of], list(found.sizes), [0])
    stage = count_jobs("t", jobs, {}, None)
    session = TuningSession(Bench(plan), tuning, labels)
    assert {job.identity for job in stage.work.left} == {job.identity for job in session.jobs()}
    compared = count_jobs("c", found.jobs(labels, list(found.sizes), [0, 1]), {}, None, stage.work.left)
    assert {job.seed for job in compared.work.done} == {0} and {job.seed for job in compared.work.left} == {1}


def test_hours_are_medians_of_finished_runs_in_proportion_to_steps_and_checkpoints(towns, recipe):
    runs = [_run("source-only"), _run("source-only", fold="south", training=9.0, lasted=13.0)]
    timing = Timing([*runs, _run("dacs[confidence=0.5]", training=5.0, lasted=5.0)], towns, recipe, COSTS)
    assert timing.of("source-only") == (8.5 + 8, "2 runs of 4 steps")
    assert timing.of("dacs[confidence=0.5]") == timing.of("dacs") == (5, "1 run of 4 steps")
    longer = replace(recipe, steps=4000, checkpoints=6)
    assert Timing(runs, towns, longer, {}).of("source-only")[0] == 8.5 * 1000 + 8 * 3


def test_without_a_run_the_cost_of_a_step_tells(towns, recipe):
    timing = Timing([_run("source-only")], towns, recipe, COSTS)
    assert timing.of("mmd") == (3 * 8 + 12, "3.00 × source-only")
    # 11 updates for 4 steps, of four times the pixels; and one scoring in place of two checkpoints.
    assert timing.of("tent") == (0.5 * 8 / 4 * 11 * 4 + 12 / 2, "0.50 × source-only")
    assert math.isnan(timing.of("sag-net")[0]) and math.isnan(Timing([], towns, recipe, COSTS).of("mmd")[0])
    assert Timing([_run("tent", steps="400")], towns, recipe, {}).of("tent")[0] == 20, "steps say nothing of the stream"


def test_runs_of_another_config_or_a_missing_method_or_an_earlier_device_do_not_count(towns, recipe):
    others = ({"crop": "64"}, {"batch_size": "4"}, {"fingerprint": "x"}, {"precision": "bf16"}, {"fold": "east"})
    for change in (*others, {"network": "fpn tu-test_resnet"}, {"encoder_depth": "3"}):
        assert not Timing([_run("source-only", **change)], towns, recipe, {}).records
    assert not Timing([replace(_run("source-only"), status="FAILED")], towns, recipe, {}).records
    assert not Timing([_run("gone:Method"), _run("dacs[no_such=1]")], towns, recipe, {}).records
    runs = [_run("source-only", lasted=21.0, device="H100"), _run("source-only", training=2.0)]
    assert Timing(runs, towns, recipe, {}).of("source-only") == (21, "1 run of 4 steps")


def test_workers_share_the_time_but_not_a_run_and_what_is_unknown_is_named(plan, towns, recipe):
    found = outline(plan)
    jobs = found.jobs(["source-only", "mmd", "sag-net"], list(found.sizes), [0])
    timing = Timing([_run("source-only", training=1800.0, lasted=1800.0)], towns, recipe, COSTS)
    assert timing.words(jobs, 1).startswith("4 h 0 min with 1 at once, by 1 finished runs on cpu; without sag-net, of")
    assert timing.words(jobs, 2).startswith("2 h 0 min") and timing.words(jobs, 9).startswith("1 h 30 min")
    assert Timing([], towns, recipe, COSTS).words(jobs, 2).startswith("unknown; a short run (--method source-only")
    assert timing.words([], 2).startswith("none")


def test_disk_is_that_of_the_decoded_patches_and_of_runs_on_this_machine(towns, tmp_path):
    assert store_bytes(towns) == 200 * 64 * 64 * 4
    (tmp_path / "confusion").mkdir()
    (tmp_path / "weights").write_bytes(b"x" * 5000)
    (tmp_path / "confusion" / "a.csv").write_bytes(b"x" * 50)
    elsewhere = [_run("mmd", files=tmp_path / "missing"), _run("mmd", files=FetchedFiles(tmp_path, None, "a server"))]
    assert run_bytes([_run("mmd", files=tmp_path), *elsewhere]) == 5050 and math.isnan(run_bytes(elsewhere))
