"""The folder of a run is there whole or not at all, and says all that MLflow is to show."""

import math
import os

import pytest

from benchmark.common.errors import DataError, TrackingError
from benchmark.experiments.run_folder import (
    CURVE,
    RECORD,
    RunFolder,
    attempt_folders,
    folder_of,
    read_run,
    savepoints_of,
)
from benchmark.tracking import DatasetFact, RunInfo

KEY = "a" * 64
INFO = RunInfo(
    "m · north · seed 0",
    {"method": "m", "seed": "0"},
    {"mlflow.runColor": "#123456"},
    DatasetFact("world", "d" * 64, "data/é", {"north": 4}),
    started=1234.5,
)


class Live:
    """What is logged live."""

    def __init__(self):
        self.logged = []

    def log(self, metrics, step):
        self.logged.append((step, dict(metrics)))


def test_everything_comes_back(tmp_path):
    live = Live()
    run = RunFolder(tmp_path, KEY, 2, INFO, live)
    run.log({"train/loss": 0.5}, 1)
    run.log({"train/loss": 0.25, "target/iou/snow": math.nan}, 2)
    run.log({"target/miou": 0.75})
    run.tag("device", "cpu")
    run.tag("device", "gpu")
    (run.path / "confusion").mkdir()
    (run.path / "confusion" / "north.csv").write_text("1,2")
    assert not folder_of(tmp_path, KEY).exists() and run.metrics == {"train/loss": 0.25, "target/miou": 0.75}
    folder = run.commit("FINISHED")
    assert folder == folder_of(tmp_path, KEY) and not run.path.exists()
    info, record, curve = read_run(folder)
    assert info == INFO
    assert (record["status"], record["end_tags"]) == ("FINISHED", {"device": "gpu"})
    assert curve == [(1, {"train/loss": 0.5}), (2, {"train/loss": 0.25}), (0, {"target/miou": 0.75})] == live.logged
    assert (folder / "confusion" / "north.csv").read_text() == "1,2"


def test_what_mlflow_refuses_is_named_and_not_logged(tmp_path):
    run = RunFolder(tmp_path, KEY, 1, INFO)
    with pytest.raises(TrackingError, match=r"iou\(road\)"):
        run.log({"miou": 0.5, "iou(road)": 1.0})
    with pytest.raises(TrackingError, match="'loss' is infinite"):
        run.log({"miou": 0.5, "loss": math.inf})
    with pytest.raises(TrackingError, match="'note' has 8001 characters"):
        run.tag("note", "x" * 8001)
    assert run.metrics == {} and run.tags == {}
    assert read_run(run.commit("FAILED"))[2] == []


def test_a_later_run_takes_the_place_of_an_earlier_one(tmp_path):
    first, second = RunFolder(tmp_path, KEY, 1, INFO), RunFolder(tmp_path, KEY, 2, INFO)
    assert first.path != second.path
    (first.path / "old").touch()
    (second.path / "new").touch()
    first.commit("FAILED")
    folder = second.commit("FINISHED")
    assert {path.name for path in folder.iterdir()} == {"new", RECORD, CURVE}
    assert read_run(folder)[1]["status"] == "FINISHED"


def test_a_discarded_run_leaves_nothing(tmp_path):
    run = RunFolder(tmp_path, KEY, 1, INFO)
    (run.path / "weights").touch()
    run.discard()
    run.discard()
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_folders_that_workers_write_are_told_from_all_others(tmp_path):
    assert attempt_folders(tmp_path) == []
    run = RunFolder(tmp_path, KEY, 12, INFO)
    RunFolder(tmp_path, "b" * 64, 1, INFO).commit("FINISHED")
    (tmp_path / "runs" / f".{KEY}-merging").mkdir()
    assert attempt_folders(tmp_path) == [(run.path, KEY, 12)]
    assert run.path.name.endswith(f"-{os.getpid()}") and savepoints_of(tmp_path, KEY).name == KEY[:16]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / RECORD).unlink(),
        lambda folder: (folder / RECORD).write_text("{"),
        lambda folder: (folder / RECORD).write_text("[]"),
        lambda folder: (folder / RECORD).write_text("{}"),
        lambda folder: (folder / CURVE).unlink(),
        lambda folder: (folder / CURVE).write_text('[[1, "x"]]'),
        lambda folder: (folder / CURVE).write_text("[1]"),
    ],
)
def test_what_is_no_run_is_an_error_that_names_the_folder(tmp_path, damage):
    folder = RunFolder(tmp_path, KEY, 1, INFO).commit("FINISHED")
    damage(folder)
    with pytest.raises(DataError, match=str(folder)) as error:
        read_run(folder)
    assert "\n" not in str(error.value)
