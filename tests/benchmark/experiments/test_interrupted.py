"""A training that is killed goes on where it stopped."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmark.experiments.confidence_record import read_confidence
from benchmark.experiments.run_folder import folder_of, read_run
from benchmark.experiments.session import Session
from benchmark.training import savepoints
from methods.base import Method

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
LOSS = "train/loss/segmentation"


def test_a_killed_job_goes_on_where_it_stopped(plan, tmp_path, monkeypatch, caplog):
    """It is shown as KILLED; at the end it has every point of the curves once and the numbers of an unbroken one."""
    monkeypatch.setattr(savepoints, "SHARE", math.inf)
    curves, temperatures = [], []
    for name in ("cut", "whole"):
        session = Session(replace(plan, results=tmp_path / name, save_every=0.0))
        jobs = session.bench.jobs(["mmd"], [5], ["2020"])
        trained: list[int] = []
        if name == "cut":
            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(Method, "after_step", _dies_at(3))
                session.run(jobs)
            (left,) = (tmp_path / name / "unfinished").iterdir()
            assert left.name == jobs[0].identity[:16]
            (killed,) = session.results.runs(session.experiment)
            assert (killed.status, killed.error) == ("KILLED", "stopped by Ctrl-C")
            assert [run.info.status for run in _in_mlflow(session)] == ["KILLED"]
            assert session.left(jobs) == jobs and not (tmp_path / name / "runs" / killed.id).exists()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Method, "after_step", lambda self, progress, seen=trained: seen.append(progress.step))
            session.run(jobs)
        assert trained == ([3] if name == "cut" else [0, 1, 2, 3])
        assert caplog.text.count("mmd · 2020 · seed 5 goes on after step 3 of 4") == 1
        assert not list((tmp_path / name / "unfinished").iterdir())
        (run,) = session.results.runs(session.experiment)
        (shown,) = _in_mlflow(session)
        assert run.status == shown.info.status == "FINISHED" and shown.info.run_id == run.run
        _, _, curve = read_run(folder_of(session.results.folder, run.id))
        api = session.results.client.api
        assert [point.step for point in api.get_metric_history(run.run, LOSS)] == [0, 1, 2, 3]
        temperatures.append([read_confidence(run.artifacts, step).temperature for step in (2, 4)])
        curves.append([(step, _untimed(metrics)) for step, metrics in curve if _untimed(metrics)])
    assert curves[0] == curves[1] and temperatures[0] == temperatures[1] and np.isfinite(temperatures).all()
    assert [step for step, metrics in curves[0] if LOSS in metrics] == [0, 1, 2, 3]


def _in_mlflow(session):
    client = session.results.client
    return client.api.search_runs([client.experiment(session.experiment)])


def _untimed(metrics):
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def _dies_at(step):
    def after_step(self, progress):
        if progress.step == step:
            raise KeyboardInterrupt

    return after_step
