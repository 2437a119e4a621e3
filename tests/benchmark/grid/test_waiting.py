"""In which order jobs are begun."""

from benchmark.grid.jobs import Job
from benchmark.grid.pool import Ended
from benchmark.grid.waiting import LAST, Waiting


def _job(label, seed, parent=""):
    return Job(label, "2020", seed, f"{label} {seed}", "", parent)


def _order(waiting, busy):
    """All that can be begun while others are busy."""
    found = []
    while job := waiting.take(busy):
        found.append(job.label)
    return found


def test_jobs_are_begun_in_their_order():
    jobs = [_job(label, seed) for seed in range(5) for label in ("short", "long")]
    assert _order(Waiting(jobs), []) == ["short", "long"] * 5


def test_what_starts_from_another_waits_for_its_end():
    parent, child = _job("source-only", 0), _job("tent", 0, "source-only 0")
    waiting = Waiting([child, parent])
    assert waiting.take([]) == parent
    assert waiting.take([parent]) is None
    assert waiting.take([]) == child


def test_of_the_last_the_longest_come_first_once_their_lengths_are_known():
    jobs = [_job(label, seed) for seed in range(5) for label in ("short", "long")]
    busy = [_job("other", 0)]
    untold = Waiting(jobs)
    assert _order(untold, busy) == ["short", "long"] * 5
    told = Waiting(jobs)
    told.learn(Ended(jobs[0], 1.0, 0.5))
    told.learn(Ended(jobs[1], 9.0, 0.5))
    told.learn(Ended(jobs[1], 0.1, 0.5))  # it went on from a savepoint
    told.learn(Ended(jobs[0], 99.0, error="not a length"))
    told.learn(Ended(jobs[0], 99.0, taken=True))
    last = LAST * 2
    assert _order(told, busy) == ["short", "long"] * 3 + ["long"] * (last // 2) + ["short"] * (last // 2)


def test_what_may_be_the_longest_is_not_left_to_the_end():
    known, unknown = _job("short", 0), _job("new", 0)
    waiting = Waiting([known, unknown])
    waiting.learn(Ended(known, 9.0, 0.5))
    assert waiting.take([_job("other", 0)]) == unknown


def test_a_job_is_as_long_as_the_longest_that_waits_for_it():
    parent, child, other = _job("source-only", 0), _job("tent", 0, "source-only 0"), _job("dacs", 0)
    waiting = Waiting([other, parent, child])
    for job, seconds in ((parent, 2.0), (child, 5.0), (other, 6.0)):
        waiting.learn(Ended(job, seconds, 0.5))
    assert waiting.take([_job("other", 0)]) == parent


def test_what_starts_from_a_job_that_another_call_has_is_taken_out():
    parent, child, other = _job("source-only", 0), _job("tent", 0, "source-only 0"), _job("dacs", 0)
    waiting = Waiting([child, other])
    assert waiting.without_children_of(parent) == [child]
    assert _order(waiting, []) == ["dacs"]
