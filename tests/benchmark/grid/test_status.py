"""How far a comparison is, from a store that is written by hand."""

import json
import math
import shutil
import time

import pytest

from benchmark.errors import TrackingError
from benchmark.grid.asked import TAG
from benchmark.grid.status import count_runs, status_of
from benchmark.tracking import OWNER, Reader, Tracker

METHODS = ("source-only", "dacs", "tent")
GRID = {
    "methods": {name: {"needs": "n", "bound": False, "control": name == "source-only"} for name in METHODS},
    "folds": ["north", "south"],
    "seeds": [0, 1],
    "skipped": {"tent": {"south": "no target_adapt part"}},
    "facts": {"comparison": "key"},
}


@pytest.fixture
def tracker(fresh_store, tmp_path):
    shutil.copy(fresh_store, tmp_path)
    return Tracker(tmp_path)


@pytest.fixture
def experiment(tracker):
    name = tracker.experiment("towns-v1")
    tracker.tag(name, TAG + "key", json.dumps(GRID))
    return name


@pytest.fixture
def begin(tracker, experiment):
    """Starts the run of a cell."""

    def start(method, fold, seed, comparison="key"):
        facts = {"method": method, "fold": fold, "seed": seed, "steps": 100, "comparison": comparison}
        return tracker.start(experiment, f"{method} {fold} {seed}", facts, f"{method}-{fold}-{seed}-{comparison}")

    return start


def test_every_cell_is_in_one_state(tracker, experiment, begin):
    begin("source-only", "north", 0).finish()
    with pytest.raises(ValueError), begin("dacs", "north", 0):
        raise ValueError("the loss is nan")
    running = begin("source-only", "south", 0)
    running.log({"train/loss/segmentation": 1.0}, 25)
    running.flush()
    status = status_of(Reader(tracker.results), experiment)
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


def test_a_failed_cell_that_runs_again_is_running(tracker, experiment, begin):
    with pytest.raises(ValueError), begin("dacs", "north", 0):
        raise ValueError("no")
    begin("dacs", "north", 0)
    status = status_of(tracker, experiment)
    assert status.counts["running"] == 1 and "failed" not in status.reasons


def test_places_that_no_command_asked_for_are_not_waited_for(tracker, experiment, begin):
    blocks = [[["source-only", "tent"], ["north", "south"], [0]], [["source-only"], ["north"], [1]]]
    tracker.tag(experiment, TAG + "key", json.dumps(GRID | {"blocks": blocks}))
    assert dict(status_of(tracker, experiment).counts) == {"waiting": 4, "skipped": 1}
    begin("dacs", "north", 1).finish()
    assert status_of(tracker, experiment).counts["done"] == 1, "what is there is shown all the same"


def test_a_run_whose_process_is_gone_is_interrupted_and_the_store_is_left_as_it_is(tracker, experiment, begin):
    run = begin("dacs", "north", 0)
    host, pid, _ = tracker.cells(experiment)[0].tags[OWNER].split(" ", 2)
    tracker.tag_run(run.id, OWNER, f"{host} {pid} another-birth")
    status = status_of(tracker, experiment)
    assert status.reasons["interrupted"] == {"its process was killed": [("dacs", "north", 0)]} and not status.is_over
    assert count_runs(tracker.cells(experiment)) == {"interrupted": 1}
    assert tracker.cells(experiment)[0].status == "RUNNING"


def test_time_left_is_that_of_finished_runs_of_the_same_methods(tracker, experiment, begin, monkeypatch):
    for method, seconds in (("source-only", 10), ("dacs", 30)):
        now = time.time()
        with begin(method, "north", 0):
            monkeypatch.setattr(time, "time", lambda ends=now + seconds: ends)
        monkeypatch.undo()
    begin("source-only", "north", 1)
    begin("source-only", "south", 0)
    status = status_of(tracker, experiment)
    assert {row.method: row.seconds for row in status.methods} == {
        "source-only": pytest.approx(10, abs=1),
        "dacs": pytest.approx(30, abs=1),
        "tent": pytest.approx(math.nan, nan_ok=True),
    }
    # One of source-only, three of dacs, two of tent, which is taken for the median of the two: 20 seconds.
    assert status.waiting == pytest.approx(10 + 3 * 30 + 2 * 20, abs=3)
    assert status.left == pytest.approx((140 + 2 * 10) / 2, abs=5)
    assert status.guessed == ["tent"]


def test_the_comparison_whose_run_began_last_is_shown_and_others_are_named(tracker, experiment, begin):
    tracker.tag(experiment, TAG + "other", json.dumps(GRID | {"methods": {"dacs": GRID["methods"]["dacs"]}}))
    begin("dacs", "north", 0, "other").finish()
    status = status_of(tracker, experiment)
    assert status.comparison == "other" and list(status.others) == ["key"] and status.counts["done"] == 1
    assert status_of(tracker, experiment, "key").counts["done"] == 0
    with pytest.raises(TrackingError, match="there is no comparison 'x'; there are "):
        status_of(tracker, experiment, "x")


def test_nothing_asked_for_is_told(tracker):
    with pytest.raises(TrackingError, match="nothing has been run under this protocol yet"):
        status_of(tracker, tracker.experiment("empty"))


def test_the_reader_says_what_mlflow_says(tracker, experiment, begin):
    begin("dacs", "north", 0).finish()
    reader, client = Reader(tracker.results), tracker._client
    assert reader.tags(experiment) == client.get_experiment(experiment).tags
    assert reader.experiments() == {"towns-v1": experiment}
    (record,) = reader.cells(experiment)
    run = client.get_run(record.id)
    assert (record.started, record.ended) == (run.info.start_time / 1000, run.info.end_time / 1000)
    assert reader.logged_values() == 0
