"""Device-hours, wall-clock, disk and memory, worked out by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.conformance.costs import Cost
from benchmark.experiments.results import FetchedFiles, RunRecord
from benchmark.planning.count import comparison_stage
from benchmark.planning.estimate import DEVICE_BYTES, Timing, disk_of, memory_of
from benchmark.planning.pace import Pace, Paces

FOLDS = ["north", "south"]
COSTS = {"dacs": Cost(2.0, 3.0), "tent": Cost(0.5, 1.0)}


@pytest.fixture
def timing(outlined, recipe):
    """A step of source-only takes 10 seconds, and a patch none: runs of 40 seconds."""
    return Timing(outlined, recipe, Paces({}, Pace(10.0, 0.0, "x"), COSTS, stream=1.0))


@pytest.fixture
def stage(outlined, recipe):
    return comparison_stage(outlined, ["source-only", "dacs", "tent"], [0, 1], FOLDS, recipe, None)


def test_seconds_are_summed_by_row(timing, stage):
    hours = {row: found.total for row, found in timing.by_row(stage).items()}
    # The stream has 15 and 6 batches on the two folds.
    assert hours == {"source-only": 4 * 40, "dacs": 4 * 80, "tent": 2 * (15 + 6) * 5}
    assert timing.sum(stage.work.left).total == sum(hours.values())


def test_evaluation_is_told_apart(outlined, recipe, stage):
    timing = Timing(outlined, recipe, Paces({}, Pace(10.0, 1.0, "x"), COSTS, stream=1.0))
    found = timing.of("source-only", "north")
    assert (found.training, found.evaluation) == (40, 2 * (10 + 30 + 4 + 30 / 4))


def test_without_reuse_each_start_costs_a_source_only_run(timing, stage):
    assert timing.naive(stage) == timing.sum(stage.work.left).total + 4 * 40


def test_runs_at_once_share_the_work_but_not_a_chain(timing, stage):
    whole = timing.sum(stage.work.left).total
    assert timing.wall_clock(stage, 1) == whole
    assert timing.wall_clock(stage, 3) == pytest.approx(whole / 3)
    assert timing.wall_clock(stage, 1000) == 40 + 15 * 5, "tent after the source-only run that it starts from"


def _record(files, **metrics):
    facts = {"method": "dacs[confidence=0.5]"}
    return RunRecord("i", "n", "FINISHED", facts, metrics, {}, None, files, 0.0, 1.0)


def test_disk_is_that_of_runs_here_or_weights_and_records(outlined, recipe, tmp_path):
    disk = disk_of(outlined, recipe, 1000, [])
    assert disk.store == 200 * 64 * 64 * 4 and disk.temporary == 2 * 1000
    assert 1000 < disk.run < 40_000 and "should be" in disk.run_words
    (tmp_path / "confusion").mkdir()
    (tmp_path / "weights").write_bytes(b"x" * 5000)
    (tmp_path / "confusion" / "a.csv").write_bytes(b"x" * 50)
    elsewhere = [_record(tmp_path / "missing"), _record(FetchedFiles(tmp_path, None, "on a server"))]
    disk = disk_of(outlined, recipe, 1000, [_record(tmp_path), *elsewhere])
    assert disk.run == 5050 and "1 runs here" in disk.run_words


def test_memory_is_the_peak_of_runs_on_a_gpu_or_follows_from_activations(recipe):
    labels = ["source-only", "dacs", "mmd"]
    runs = [_record(Path("none"), **{"time/gpu_memory_gib": 2.0})]
    measured = memory_of(labels, recipe, 1000, 5e9, COSTS, runs)
    assert measured.device == 2 * 2**30 and measured.largest == "dacs[confidence=0.5]"
    estimated = memory_of(labels, recipe, 1000, 5e9, COSTS, [])
    assert estimated.device == pytest.approx(3 * 5e9 + 4 * 1000 + DEVICE_BYTES) and estimated.largest == "dacs"
    assert memory_of(labels, replace(recipe, optimizer="sgd"), 1000, 0.0, {}, []).device == 2 * 1000 + DEVICE_BYTES
    assert memory_of(labels, recipe, 1000, None, COSTS, []).device is None
