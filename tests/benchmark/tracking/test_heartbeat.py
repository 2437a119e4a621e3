"""A run of another host lives as long as it gives signs of life, by the clock of the file server."""

import os
import time
from pathlib import Path

import pytest

from benchmark.errors import AlreadyTaken
from benchmark.tracking import Run, RunRecord, Tracker
from benchmark.tracking import heartbeat as heartbeats
from benchmark.tracking.heartbeat import STALE, Heartbeat, is_silent


def _elsewhere(tracker: Tracker, experiment: str) -> tuple[Run, Path]:
    """An open run that says it is another host's, and its heartbeat file."""
    run = tracker.start(experiment, "n", {"method": "m"}, "i")
    tracker._client.set_tag(run.id, "landshift.owner", "elsewhere 17 birth")
    return run, run.folder.parent / "heartbeat"


def _only(tracker: Tracker, experiment: str) -> RunRecord:
    (record,) = tracker.cells(experiment)
    return record


def test_a_file_is_touched_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "EVERY", 0.01)
    beat = Heartbeat(tmp_path / "run")
    file = tmp_path / "run" / "heartbeat"
    os.utime(file, (0, 0))
    deadline = time.monotonic() + 10
    while file.stat().st_mtime == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    beat.stop()
    time.sleep(0.05)
    assert not (tmp_path / "run").exists()


def test_silence_is_measured_by_the_clock_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_silent(tmp_path)  # nothing known
    beat = Heartbeat(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 1e12)  # this host's clock must not matter
    assert not is_silent(tmp_path)
    now = (tmp_path / "heartbeat").stat().st_mtime
    os.utime(tmp_path / "heartbeat", (now - STALE + 60,) * 2)
    assert not is_silent(tmp_path)
    os.utime(tmp_path / "heartbeat", (now - STALE - 60,) * 2)
    assert is_silent(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["heartbeat"]
    beat.stop()


def test_a_silent_run_of_another_host_is_closed_and_may_be_run_again(tracker: Tracker, experiment: str) -> None:
    run, file = _elsewhere(tracker, experiment)
    assert tracker.close_stale(experiment) == 0
    with pytest.raises(AlreadyTaken):
        tracker.start(experiment, "n", {"method": "m"}, "i")
    now = file.stat().st_mtime
    os.utime(file, (now - 2 * STALE,) * 2)
    second = tracker.start(experiment, "n", {"method": "m"}, "i")
    assert tracker.close_stale(experiment) == 1
    first = next(record for record in tracker.cells(experiment) if record.id == run.id)
    assert first.status == "KILLED"
    assert first.error == "its process (17 on elsewhere) has given no sign of life for minutes"
    assert not file.exists()
    second.finish()


def test_a_closed_run_leaves_no_heartbeat(tracker: Tracker, experiment: str) -> None:
    with tracker.start(experiment, "n", {"method": "m"}, "i") as run:
        assert (run.folder.parent / "heartbeat").exists()
    assert not run.folder.parent.exists()


def test_the_runs_of_a_task_are_closed_whoever_owns_them(
    tracker: Tracker, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "19")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    for index in (2, 3):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(index))
        tracker.start(experiment, "n", {"method": "m"}, str(index))
    assert tracker.close_task(experiment, "17_3", "because") == ["3"]
    assert [(record.status, record.error) for record in tracker.cells(experiment)] == [
        ("RUNNING", None),
        ("KILLED", "because"),
    ]
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID")
    with tracker.start(experiment, "n", {"method": "m"}, "alone"):
        assert tracker.cells(experiment)[-1].tags["landshift.task"] == "19"


def test_the_last_step_of_a_running_run_is_known(tracker: Tracker, experiment: str) -> None:
    run = tracker.start(experiment, "n", {"method": "m"}, "i")
    run.log({"train/loss/a": 1.0}, 3)
    run.log({"train/loss/a": 1.0}, 7)
    run.flush()
    assert [record.step for record in tracker.cells(experiment)] == [7]
    run.finish()
