"""A run records what it was given, in few writes, and always ends with the right status."""

import math
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import TrackingError
from benchmark.tracking import DatasetFact, Fact, Run, RunRecord, Tracker

FACTS: dict[str, Fact] = {"method": "advent", "fold": "north", "seed": 0, "steps": 400}


def start(tracker: Tracker, experiment: str, identity: str = "i") -> Run:
    return tracker.start(experiment, f"advent · {identity}", FACTS, identity)


def only(tracker: Tracker, experiment: str) -> RunRecord:
    (record,) = tracker.cells(experiment)
    return record


def test_everything_comes_back(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    (tmp_path / "panel.png").write_bytes(b"picture")
    dataset = DatasetFact("synthetic", "d" * 64, "data/synthetic", {"north/2019": 64, "south/2019": 32}, "fold")
    with tracker.start(experiment, "advent · north", FACTS, "abc", dataset) as run:
        run.log({"source_val/miou": 0.4}, step=100)
        run.log({"source_val/miou": 0.6, "target/iou/snow": math.nan}, step=200)
        run.tag("note", "seen")
        run.artifact(tmp_path / "panel.png", "panels")
    record = only(tracker, experiment)
    assert (record.id, record.name, record.identity, record.status) == (run.id, "advent · north", "abc", "FINISHED")
    assert record.facts == {"method": "advent", "fold": "north", "seed": "0", "steps": "400", "identity": "abc"}
    assert record.facts.items() <= record.tags.items()  # params for charts, tags for search
    assert record.tags["note"] == "seen"
    assert record.metrics == {"source_val/miou": 0.6}
    assert record.error is None
    assert (record.artifacts / "panels" / "panel.png").read_bytes() == b"picture"
    assert record.artifacts.is_relative_to(tracker.results / "artifacts")
    history = tracker._client.get_metric_history(run.id, "source_val/miou")
    assert [(point.step, point.value) for point in history] == [(100, 0.4), (200, 0.6)]
    (shown,) = tracker._client.get_run(run.id).inputs.dataset_inputs
    assert (shown.dataset.name, shown.dataset.digest) == ("synthetic", "d" * 36)
    assert '"num_rows": 96' in shown.dataset.profile


def test_a_run_takes_few_calls(tracker: Tracker, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes as long as some fifty values of a batch."""
    calls: list[str] = []
    again = tracker._client._again

    def counted(call: Any) -> Any:
        calls.append(call.__name__)
        return again(call)

    start(tracker, experiment, "one").finish()
    monkeypatch.setattr(tracker._client, "_again", counted)
    with start(tracker, experiment, "another") as run:
        run.tag("device", "cpu")
        run.log({"source_val/miou": 0.4})
    assert calls == ["create_run", "log_batch", "log_batch", "set_terminated"]


def test_metrics_are_written_in_batches(tracker: Tracker, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    write = tracker._client.log_batch

    def counted(id: str, metrics: Any = (), **rest: Any) -> None:
        calls.append(len(metrics))
        write(id, metrics=metrics, **rest)

    with start(tracker, experiment) as run:
        monkeypatch.setattr(tracker._client, "log_batch", counted)
        for step in range(600):
            run.log({"train/loss/a": 1.0, "train/loss/b": 2.0}, step)
    assert sum(calls) == 1200
    assert len(calls) == 3
    assert len(tracker._client.get_metric_history(run.id, "train/loss/a")) == 600


def test_metrics_are_written_after_half_a_minute(tracker: Tracker, experiment: str) -> None:
    with start(tracker, experiment) as run:
        run.log({"train/loss/a": 1.0})
        assert not only(tracker, experiment).metrics
        run._flushed -= 31
        run.log({"train/loss/b": 2.0})
        assert only(tracker, experiment).metrics == {"train/loss/a": 1.0, "train/loss/b": 2.0}


def test_an_exception_fails_the_run(tracker: Tracker, experiment: str) -> None:
    with pytest.raises(ValueError, match="loss"), start(tracker, experiment) as run:
        run.log({"target/miou": 0.5})
        raise ValueError("the loss is not finite\nat step 3")
    record = only(tracker, experiment)
    assert record.status == "FAILED"
    assert record.error == "ValueError: the loss is not finite at step 3"
    assert record.metrics == {"target/miou": 0.5}
    assert "Traceback" in (record.artifacts / "traceback.txt").read_text()
    assert tracker.finished(experiment) == {}


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(0)])
def test_an_interrupt_kills_the_run(tracker: Tracker, experiment: str, interrupt: BaseException) -> None:
    with pytest.raises(type(interrupt)), start(tracker, experiment):
        raise interrupt
    assert only(tracker, experiment).status == "KILLED"


def test_a_refused_metric_is_named_and_fails_the_run(tracker: Tracker, experiment: str) -> None:
    with pytest.raises(TrackingError, match=r"iou\(road\)"), start(tracker, experiment) as run:
        run.log({"iou(road)": 1.0})
    assert only(tracker, experiment).status == "FAILED"


def test_a_failing_store_does_not_hide_the_error(
    tracker: Tracker, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    with pytest.raises(ValueError, match="the real one") as error, start(tracker, experiment) as run:
        run.log({"target/miou": 0.5})
        monkeypatch.setattr(tracker._client, "log_batch", full)
        raise ValueError("the real one")
    assert "no space left" in error.value.__notes__[0]
    assert only(tracker, experiment).status == "FAILED"


def test_a_run_that_cannot_be_written_is_not_finished(
    tracker: Tracker, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    with pytest.raises(TrackingError, match="no space left"), start(tracker, experiment) as run:
        run.log({"target/miou": 0.5})
        monkeypatch.setattr(tracker._client, "log_batch", full)
    assert only(tracker, experiment).status == "FAILED"


def test_finish_twice_is_finish_once(tracker: Tracker, experiment: str) -> None:
    run = start(tracker, experiment)
    run.finish()
    run.finish()
    assert only(tracker, experiment).status == "FINISHED"


def test_a_missing_artifact_is_named(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"nothing\.png"), start(tracker, experiment) as run:
        run.artifact(tmp_path / "nothing.png")


def _work(results: Path, experiment: str, started: Any) -> None:
    with Tracker(results).start(experiment, "worker", {"method": "m"}, f"of process {os.getpid()}") as run:
        run.log({"target/miou": 0.5})
        started.set()
        time.sleep(60)


def worker(results: Path, experiment: str) -> Any:
    """A process in the middle of a run; forked, which spares it MLflow's import."""
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_work, args=(results, experiment, started))
    process.start()
    assert started.wait(30)
    return process


def test_sigterm_and_kill_leave_a_killed_run(tracker: Tracker, results: Path, experiment: str) -> None:
    terminated, killed = worker(results, experiment), worker(results, experiment)
    assert tracker.close_stale(experiment) == 0  # both are alive
    terminated.terminate()
    terminated.join(30)
    assert terminated.exitcode == 128 + signal.SIGTERM
    assert sorted(record.status for record in tracker.cells(experiment)) == ["KILLED", "RUNNING"]
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # ended, but not yet buried: a zombie counts as gone
    assert tracker.close_stale(experiment) == 1
    killed.join(30)
    records = tracker.cells(experiment)
    assert [record.status for record in records] == ["KILLED", "KILLED"]
    assert {record.metrics.get("target/miou") for record in records} == {0.5, None}
    errors = {record.error for record in records}
    assert "SystemExit: 143" in errors
    assert any(error and f"({killed.pid} on " in error for error in errors)
    assert tracker.close_stale(experiment) == 0


def test_only_runs_of_ended_processes_of_this_host_are_stale(tracker: Tracker, experiment: str) -> None:
    run = start(tracker, experiment)
    own = only(tracker, experiment).tags["landshift.owner"]
    host, pid, birth = own.split(" ")
    for owner in (own, f"elsewhere {pid} 1", f"{host} {pid} unknown", ""):
        tracker._client.set_tag(run.id, "landshift.owner", owner)
        assert tracker.close_stale(experiment) == 0, owner
    tracker._client.set_tag(run.id, "landshift.owner", f"{host} {pid} {birth}0")  # the process id was used again
    assert tracker.close_stale(experiment) == 1
