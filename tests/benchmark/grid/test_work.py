"""What there is to do of a list of jobs."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.grid.jobs import Job
from benchmark.grid.work import sort_out
from benchmark.tracking import OWNER, RunRecord, this_process


def _job(identity, skip=""):
    return Job("method", "fold", 0, identity, skip)


def _record(identity, status, owner=""):
    return RunRecord("id", "name", identity, status, {}, {}, {OWNER: owner}, None, Path("none"), 0.0)


@pytest.fixture
def jobs():
    return [_job("new"), _job("done"), _job("failed"), _job("runs"), _job("no", "why"), replace(_job("new"), label="x")]


def test_each_job_is_in_one_place_once_and_in_order(jobs):
    records = [
        _record("done", "FINISHED"),
        _record("done", "FAILED"),
        _record("failed", "FAILED"),
        _record("runs", "RUNNING", this_process()),
        _record("other", "FINISHED"),
    ]
    work = sort_out(jobs, records)
    assert [job.identity for job in work.left] == ["new", "failed"] and work.left[0].label == "method"
    assert [[job.identity for job in part] for part in (work.done, work.running, work.skipped)] == [
        ["done"],
        ["runs"],
        ["no"],
    ]
    assert work.count == 5


def test_what_a_killed_process_was_at_is_to_be_done(jobs):
    host, pid, _ = this_process().split(" ", 2)
    work = sort_out(jobs, [_record("runs", "RUNNING", f"{host} {pid} another-birth")])
    assert not work.running and "runs" in [job.identity for job in work.left]
