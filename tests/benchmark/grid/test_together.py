"""Calls that share a store: what the other one has is waited for, and what it leaves is done here."""

import multiprocessing

import pytest

from benchmark.errors import Stopped
from benchmark.grid import execute, together
from benchmark.grid.pool import Ended, _Throttled
from benchmark.grid.together import run_together


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(together, "LOOK", 0.0)


def _theirs(session, job):
    """A run of the job that another call has begun."""
    return session.tracker.start(session.experiment, job.label, session.bench.facts(job), job.identity)


def _run(session, jobs, on_wait, **more) -> tuple[list[Ended], list[int]]:
    ends, waits = [], []

    def wait(runs):
        waits.append(runs)
        on_wait()

    run_together(session, session.work(jobs), 1, lambda job, share: None, ends.append, wait, **more)
    return ends, waits


def test_what_another_call_does_is_waited_for(session):
    (job,) = session.bench.jobs(["source-only"], [21], ["2020"])
    theirs = _theirs(session, job)
    ends, waits = _run(session, [job], theirs.finish)
    assert waits == [1] and [(end.job, end.taken, end.error) for end in ends] == [(job, True, "")]


def test_what_another_call_leaves_is_done_and_what_starts_from_it_after_that(session):
    source, tent = session.bench.jobs(["tent"], [22], ["2020"])
    theirs = _theirs(session, source)
    ends, waits = _run(session, [source, tent], lambda: theirs.fail(RuntimeError("died")))
    assert waits == [2], "the one that starts from it waits, too, and is not failed"
    assert [(end.job, end.taken, end.error) for end in ends] == [(source, False, ""), (tent, False, "")]


def test_a_run_that_another_call_begins_in_between_is_no_failure(session):
    source, tent = session.bench.jobs(["tent"], [23], ["2020"])
    work, ends = session.work([source, tent]), []
    with pytest.MonkeyPatch.context() as patch, _theirs(session, source):
        # As on a server, where a run is seen a moment after it has been given away.
        patch.setattr(execute, "_source_weights", lambda *_: 1 / 0)
        run_together(session, work, 1, lambda job, share: None, ends.append, lambda runs: None, wait=False)
    assert not ends


def test_who_does_not_want_to_wait_goes(session):
    source, tent, other = session.bench.jobs(["source-only", "tent", "style-randomization"], [24], ["2020"])
    with _theirs(session, source):
        ends, waits = _run(session, [source, tent, other], lambda: None, wait=False)
    assert [end.job for end in ends] == [other] and waits == [2]


def test_a_failed_run_is_tried_once(session):
    _, orphan = session.bench.jobs(["tent"], [25], ["2020"])
    ends, waits = _run(session, [orphan], lambda: None)
    assert len(ends) == 1 and "is not there" in ends[0].error and not waits


def test_a_worker_whose_command_was_killed_stops_as_if_it_were_told_to():
    ours, theirs = multiprocessing.Pipe()
    ours.close()
    with pytest.raises(Stopped, match="the command that it belongs to was killed"):
        _Throttled(theirs)(0.5)
