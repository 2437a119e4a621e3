"""How far a comparison is, from jobs that are never trained."""

import math

import pytest
import sqlalchemy as sql

from benchmark.common.errors import TrackingError
from benchmark.experiments.queue import Entry
from benchmark.experiments.request import PREFIX
from benchmark.experiments.status import count_runs, status_of

EXPERIMENT = "towns-v1"
METHODS = ("source-only", "dacs", "tent")
GRID = {
    "methods": {name: {"needs": "n", "bound": False, "control": name == "source-only"} for name in METHODS},
    "folds": ["north", "south"],
    "seeds": [0, 1],
    "skipped": {"tent": {"south": "no target_adapt part"}},
    "facts": {"comparison": "key"},
}


@pytest.fixture(autouse=True)
def asked(results):
    """Request a comparison."""

    def ask(**changes):
        key = changes.pop("key", "key")
        results.database.edit(EXPERIMENT, PREFIX + key, lambda old: GRID | changes)

    ask()
    return ask


@pytest.fixture
def add(results, add_run):
    """Add the run of a cell."""

    def add(method, fold, seed, state="done", comparison="key", error=""):
        key = f"{method}-{fold}-{seed}-{comparison}"
        return add_run(results, EXPERIMENT, key, _facts(method, fold, seed, comparison), state, error=error)

    return add


@pytest.fixture
def begin(results):
    """Begin the run of a cell, and write how far it is."""

    def begin(method, fold, seed, share=0.0):
        key = f"{method}-{fold}-{seed}-key"
        results.queue.add([Entry(key, "", {}, _facts(method, fold, seed, "key"))], EXPERIMENT)
        claim = results.queue.claim("a worker/0", [key])
        results.queue.renew(claim, share)
        return claim

    return begin


@pytest.fixture
def set_clock(results):
    """Set the database's clock, in seconds."""

    def set_clock(seconds):
        results.database.now = sql.literal(float(seconds))

    return set_clock


def _facts(method, fold, seed, comparison):
    return {"method": method, "fold": fold, "seed": str(seed), "steps": "100", "comparison": comparison}


def test_every_cell_is_in_one_state(results, add, begin):
    add("source-only", "north", 0)
    add("dacs", "north", 0, "failed", error="ValueError: the loss is nan")
    add("dacs", "north", 1, "queued")
    begin("source-only", "south", 0, 0.25)
    status = status_of(results, EXPERIMENT)
    assert dict(status.counts) == {"done": 1, "failed": 1, "running": 1, "waiting": 7, "skipped": 2}
    assert {row.method: dict(row.counts) for row in status.methods} == {
        "source-only": {"done": 1, "running": 1, "waiting": 2},
        "dacs": {"failed": 1, "waiting": 3},
        "tent": {"waiting": 2, "skipped": 2},
    }
    assert status.reasons["failed"] == {"ValueError: the loss is nan": [("dacs", "north", 0)]}
    assert status.reasons["skipped"] == {"no target_adapt part": [("tent", "south", 0), ("tent", "south", 1)]}
    (run,) = status.running
    assert run.place == ("source-only", "south", 0) and run.share == 0.25 and 0 <= run.seconds < 60
    assert status.guessed == ["dacs", "tent"] and not status.is_over


def test_a_failed_cell_that_runs_again_is_running(results, add, begin):
    add("dacs", "north", 0, "failed", error="no")
    begin("dacs", "north", 0)
    status = status_of(results, EXPERIMENT)
    assert status.counts["running"] == 1 and "failed" not in status.reasons


def test_places_that_no_command_asked_for_are_not_waited_for(results, asked, add):
    asked(blocks=[[["source-only", "tent"], ["north", "south"], [0]], [["source-only"], ["north"], [1]]])
    assert dict(status_of(results, EXPERIMENT).counts) == {"waiting": 4, "skipped": 1}
    add("dacs", "north", 1)
    assert status_of(results, EXPERIMENT).counts["done"] == 1, "what is there is shown all the same"


def test_a_run_whose_lease_is_over_is_interrupted_and_the_queue_is_left_as_it_is(results, begin, set_clock):
    set_clock(0)
    begin("dacs", "north", 0, 0.5)
    set_clock(results.queue.lease + 1)
    status = status_of(results, EXPERIMENT)
    why = "its worker stopped renewing its lease, most likely killed"
    assert status.reasons["interrupted"] == {why: [("dacs", "north", 0)]} and not status.is_over
    assert count_runs(results.runs(EXPERIMENT)) == {"interrupted": 1}
    assert results.queue.rows()[0].state == "running"


def test_a_run_that_was_stopped_is_interrupted(results, add):
    add("dacs", "north", 0, "interrupted", error="stopped by Ctrl-C")
    status = status_of(results, EXPERIMENT)
    assert status.reasons["interrupted"] == {"stopped by Ctrl-C": [("dacs", "north", 0)]} and not status.running


def test_time_left_is_that_of_finished_runs_of_the_same_methods(results, begin, set_clock):
    for method, seconds in (("source-only", 10), ("dacs", 30)):
        set_clock(0)
        claim = begin(method, "north", 0)
        set_clock(seconds)
        results.queue.finish(claim, claim.facts, {}, {})
    begin("source-only", "north", 1)
    begin("source-only", "south", 0)
    set_clock(32)
    status = status_of(results, EXPERIMENT)
    assert {row.method: row.seconds for row in status.methods} == {
        "source-only": 10,
        "dacs": 30,
        "tent": pytest.approx(math.nan, nan_ok=True),
    }
    # One of source-only, three of dacs, two of tent, which is taken for the median of the two: 20 seconds.
    assert status.waiting == 10 + 3 * 30 + 2 * 20
    assert [run.seconds for run in status.running] == [2, 2]
    assert status.left == (140 + 2 * 8) / 2
    assert status.guessed == ["tent"]


def test_time_left_of_a_run_is_by_its_steps_where_none_is_finished(results, begin, set_clock):
    set_clock(0)
    begin("dacs", "north", 0, 0.25)
    begin("dacs", "south", 0)
    set_clock(10)
    first, second = status_of(results, EXPERIMENT).running
    assert first.left == 30 and math.isnan(second.share) and math.isnan(second.left)


def test_the_comparison_whose_run_began_last_is_shown_and_others_are_named(results, asked, add):
    asked(key="other", methods={"dacs": GRID["methods"]["dacs"]})
    add("dacs", "north", 0, comparison="other")
    status = status_of(results, EXPERIMENT)
    assert status.comparison == "other" and status.others == {"key": "other rows"} and status.counts["done"] == 1
    assert status_of(results, EXPERIMENT, "key").counts["done"] == 0
    with pytest.raises(TrackingError, match="there is no comparison 'x'; there are "):
        status_of(results, EXPERIMENT, "x")


def test_nothing_asked_for_is_told(results):
    with pytest.raises(TrackingError, match="nothing has been run under this protocol yet"):
        status_of(results, "empty")
