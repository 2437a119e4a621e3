"""`landshift worker`: what it trains, how it ends, and what it says."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.cli.app import main
from benchmark.experiments.launchers import LocalWorkers
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.session import Session
from benchmark.experiments.worker import Worker
from methods.base import Method

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
JOBS = ["shot", "source-only"]  # the first starts from the second


class Here(LocalWorkers):
    """Trains in this process what others would."""

    def __init__(self, folder, keys, count, gpus=(), place=None, *, wait=True):
        self.worker, self._wait = Worker(ResultsFolder(folder), keys, place=place), wait
        self.family = self.worker.name.rpartition("/")[0]

    def look(self):
        self.worker.run(wait=self._wait)
        return False

    def stop(self):
        pass


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr("benchmark.experiments.launchers.LocalWorkers", Here)
    monkeypatch.setattr("benchmark.experiments.fork_server.start_server", lambda: None)


@pytest.fixture
def session(plan, bench, tmp_path):
    """With an empty queue."""
    return Session(replace(plan, results=tmp_path / "results"), bench=bench)


def _queue(session):
    session.add(session.bench.jobs(JOBS, [0], ["2020"]), again=True)


def _states(session):
    """State and error by method."""
    return {row.facts["method"]: (row.state, row.error) for row in session.results.queue.rows()}


def _work(session, *more):
    return main(["worker", "--results", str(session.results.folder), *more])


@pytest.mark.slow  # other tests train in this process
def test_processes_train_what_is_queued_with_the_data_of_this_machine(plan, tmp_path, capsys):
    there = Path(shutil.copytree(plan.data, tmp_path / "there"))
    session = Session(replace(plan, data=there, results=tmp_path / "results"))
    _queue(session)
    there.rename(tmp_path / "here")
    assert _work(session, "--data", str(tmp_path / "here"), "--workers", "2") == 0
    assert _states(session) == dict.fromkeys(JOBS, ("done", ""))
    first, *told = capsys.readouterr().out.splitlines()
    assert first == f"training jobs of {session.results.folder}, 2 at a time"
    assert [line.partition("target mIoU ")[0] for line in told] == [
        "source-only · 2020 · seed 0: ",
        "shot · 2020 · seed 0: ",
    ]
    assert _work(session) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_failed_job_is_told_and_gives_1(session, here, capsys, monkeypatch):
    def fails(self, *arguments):
        raise RuntimeError("no idea")

    monkeypatch.setattr(Method, "segmentation_loss", fails)
    _queue(session)
    assert _work(session) == 1
    assert "source-only · 2020 · seed 0: FAILED: RuntimeError: no idea" in capsys.readouterr().out
    assert {state for state, _ in _states(session).values()} == {"failed"}


def test_what_another_worker_has_is_not_waited_for(session, here, capsys):
    _queue(session)
    claim = session.results.queue.claim("elsewhere/0")
    assert _work(session) == 0
    assert {name: state for name, (state, _) in _states(session).items()} == {
        "source-only": "running",
        "shot": "queued",
    }
    session.results.queue.fail(claim, "no such band")
    assert _work(session) == 0  # a failure of the other worker
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_with_keep_it_waits_for_jobs_that_come_later(session, here, capsys, monkeypatch):
    def later(seconds):
        if _states(session):
            raise KeyboardInterrupt
        _queue(session)

    monkeypatch.setattr(time, "sleep", later)
    assert _work(session, "--keep") == 130
    told = capsys.readouterr()
    assert told.out.count("target mIoU") == 2 and "stopped; what is finished is kept" in told.err
    assert _states(session) == dict.fromkeys(JOBS, ("done", ""))


def test_without_a_queue_it_refuses_in_one_line(tmp_path, capsys):
    assert main(["worker", "--results", str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert error == f"landshift: there is no job queue in {tmp_path}/none; landshift run makes one (see --results)\n"
    assert not (tmp_path / "none").exists()
