"""`landshift forget` in this process: what it removes, keeps, asks and refuses."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmark.cli import main
from benchmark.grid.asked import TAG, TunedRows, key_of, keys, read_asked
from benchmark.grid.identity import identity_of
from benchmark.grid.leftovers import savepoints_of
from benchmark.grid.session import Session
from benchmark.grid.standing import NESTED, standing
from benchmark.grid.status import status_of
from benchmark.tracking import Summary, Tracker

ROWS = ("source-only", "dacs", "dacs[weight=2.0]")
SHARED = {"steps": 10, "protocol_folds": 2, "code_version": "1", "dataset_digest": "d"}


def _asked(key, rows=ROWS, steps=10, labels=()):
    methods = {row: {"needs": "source labels", **({"control": True} if row == ROWS[0] else {})} for row in rows}
    for row in labels:
        methods[f"{row} (tuned)"] = {"needs": "source labels", "labels": dict.fromkeys(("2019", "2020"), row)}
    block = [sorted(methods), ["2019", "2020"], [0]]
    return {
        **{"methods": methods, "folds": ["2019", "2020"], "seeds": [0], "skipped": {"dacs": {"2019": "no"}}},
        **{"facts": {**SHARED, "steps": str(steps), "comparison": key}, "blocks": [block], "at": steps},
        "call": {"shared": "tiny.toml", "tuned": "t", "search": "--trials 2"},
    }


@pytest.fixture
def tracker(fresh_store, tmp_path):
    """Two comparisons, of 10 and of 40 steps; the first also with a tuned row that shares the runs of another."""
    shutil.copy(fresh_store, tmp_path)
    tracker = Tracker(tmp_path)
    experiment = tracker.experiment("tiny-v1")
    for key, content in (
        ("old", _asked("old")),
        ("old-t", _asked("old-t", ROWS[:1], labels=["dacs"])),
        ("new", _asked("new", ROWS[:2], 40)),
    ):
        tracker.tag(experiment, TAG + key, json.dumps(content))
    for row in ROWS:
        _run(tracker, row, "2019")
        _run(tracker, row, "2020", fails=row == ROWS[2])
    _run(tracker, ROWS[0], "2019", comparison="new", steps=40)
    _run(tracker, ROWS[1], "2019", comparison="new", steps=40, fails=True)
    inner = tracker.experiment("tiny-v1 (source domains held out)")
    tracker.tag(experiment, NESTED, inner)
    _run(tracker, ROWS[2], "2019 without 2020", inner, inside="2019")
    names = [("old", row) for row in ROWS]
    tracker.summarise(
        experiment, *(Summary(row, {"method": row, "comparison": key}, {"summary/x": 1.0}) for key, row in names)
    )
    return tracker


def _run(tracker, method, fold, experiment="", *, fails=False, **facts):
    found = {"method": method, "fold": fold, "seed": 0, "comparison": "old", **SHARED, **facts}
    experiment = experiment or tracker.experiment("tiny-v1")
    run = tracker.start(experiment, f"{method} · {fold}", found, identity_of(found))
    run.log({"target/miou": 0.5})
    if fails:
        run.fail(ValueError("no idea"))
    else:
        run.finish()
    return run


def _forget(tracker, *words):
    return main(["forget", "tiny-v1", "--results", str(tracker.results), *words])


def _left(tracker, experiment="tiny-v1"):
    records = tracker.cells(tracker.experiment(experiment))
    return sorted((r.facts["comparison"], r.facts["method"], r.facts["fold"], r.status) for r in records)


def _rows(tracker):
    experiment = tracker.experiment("tiny-v1")
    return {key: read_asked(tracker, experiment, key).grid.methods for key in keys(tracker, experiment)}


def test_a_row_goes_with_its_runs_its_files_and_its_summary(tracker, capsys):
    experiment, before = tracker.experiment("tiny-v1"), _left(tracker)
    gone = [run for run in tracker.cells(experiment) if run.facts["method"] == ROWS[2]]
    saved = [savepoints_of(tracker.results, run.identity) for run in gone]
    for folder in saved:
        folder.mkdir(parents=True)
    assert _forget(tracker, "--method", ROWS[2], "--yes") == 0
    told = capsys.readouterr().out
    assert f"1 run: {ROWS[2]}, 10 steps, comparison old, failed" in told
    assert f"row {ROWS[2]} of the comparison old" in told
    assert _left(tracker) == [run for run in before if run[1] != ROWS[2]]
    assert _left(tracker, "tiny-v1 (source domains held out)") == []
    assert _rows(tracker) == {"old": ROWS[:2], "old-t": (ROWS[0], "dacs (tuned)"), "new": ROWS[:2]}
    assert {run.name for run in tracker.summaries(experiment)} == set(ROWS[:2])
    assert not any(run.artifacts.exists() for run in gone)
    assert [folder.exists() for folder in saved] == [run.status == "FINISHED" for run in gone], "of what is unfinished"
    status = status_of(tracker, experiment, "old")
    assert dict(status.counts) == {"done": 4} and all(ROWS[2] not in command for command in _commands(tracker, "old"))


def _commands(tracker, key):
    return read_asked(tracker, tracker.experiment("tiny-v1"), key).commands


def test_failed_runs_go_and_a_row_without_another_run_goes_with_them(tracker):
    assert _forget(tracker, "--status", "failed", "--yes") == 0
    assert not any(run[3] == "FAILED" for run in _left(tracker))
    assert _rows(tracker) == {"old": ROWS, "old-t": (ROWS[0], "dacs (tuned)"), "new": ROWS[:1]}
    waiting = status_of(tracker, tracker.experiment("tiny-v1"), "old")
    assert waiting.counts["waiting"] == 1, "it is trained again"


def test_a_try_with_other_steps_goes_whole(tracker, capsys):
    before = [run for run in _left(tracker) if run[0] == "old"]
    assert _forget(tracker, "--steps", "40", "--dry-run") == 0
    assert "the whole comparison new" in capsys.readouterr().out and len(_left(tracker)) == len(before) + 2
    assert _forget(tracker, "--steps", "40", "--yes") == 0
    assert _left(tracker) == before and set(_rows(tracker)) == {"old", "old-t"}


def test_runs_that_another_table_shows_are_kept(tracker):
    before = _left(tracker)
    assert _forget(tracker, "--comparison", "old-t", "--yes") == 0
    assert _left(tracker) == before and set(_rows(tracker)) == {"old", "new"}
    assert _forget(tracker, "--comparison", "old", "--yes") == 0
    assert {run[0] for run in _left(tracker)} == {"new"}


def test_single_runs_go_by_their_ids(tracker):
    run = next(run for run in tracker.cells(tracker.experiment("tiny-v1")) if run.facts["method"] == ROWS[1])
    before = _left(tracker)
    assert _forget(tracker, "--run", run.id[:12], "--yes") == 0
    assert len(_left(tracker)) == len(before) - 1 and ROWS[1] in _rows(tracker)["old"]


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("", 1), ("no", 1)])
def test_it_asks_first(tracker, monkeypatch, answer, status):
    monkeypatch.setattr("builtins.input", lambda question: answer)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    before = len(_left(tracker))
    assert _forget(tracker, "--steps", "40") == status
    assert (len(_left(tracker)) < before) is (status == 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name what is to be forgotten"),
        (["--comparison", "x"], "there is no comparison 'x'; there are old, old-t, new"),
        (["--method", "tent"], "no table has a row 'tent'; there are source-only, dacs"),
        (["--run", "zzz"], "no run and no row of a table fits"),
        (["--steps", "40"], "--yes removes them"),
    ],
)
def test_refusals_say_why_and_remove_nothing(tracker, capsys, monkeypatch, words, told):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    before = _left(tracker)
    assert _forget(tracker, *words) == 1
    assert told in capsys.readouterr().err and _left(tracker) == before


def test_a_run_at_work_is_not_removed(tracker, capsys):
    run = tracker.start(tracker.experiment("tiny-v1"), "at it", {"method": "dacs", "comparison": "old"}, "identity")
    assert _forget(tracker, "--method", "dacs", "--yes") == 1
    assert "1 of these runs are at work, as at it; stop that command first" in capsys.readouterr().err
    run.finish()


@pytest.mark.usefixtures("networks_once", "stores_copied")
def test_afterwards_all_is_as_if_the_row_had_never_been(bench, tmp_path):
    """Of two stores one has had a further method, with a tuned row and another seed, which is forgotten."""
    found = []
    for name in ("with", "without"):
        session = Session(replace(bench.plan, results=tmp_path / name), bench=bench)
        jobs = bench.jobs(["source-only"], [0])
        session.remember(jobs)
        session.run(jobs, 1, lambda job, share: None, lambda ended: None)
        if name == "with":
            more = bench.jobs(["mmd"], [0, 1], ["2020"])
            session.remember(more, nested=True)
            session.remember([], TunedRows("key", "by hand", {"mmd (tuned)": {"2020": "mmd"}}), more)
            session.run(more, 1, lambda job, share: None, lambda ended: None)
            tuned = key_of(bench, TunedRows("key", "", {}))
            for words in (["--method", "mmd"], ["--comparison", tuned]):
                words = [session.bench.protocol.label, "--results", str(tmp_path / name), *words]
                assert main(["forget", *words, "--yes"]) == 0
        state = standing(session.tracker, session.experiment)
        status = status_of(session.tracker, session.experiment)
        assert keys(session.tracker, session.experiment) == [bench.comparison]
        found.append((state.grid, state.facts, state.commands, state.others, status.counts, status.others))
    assert found[0] == found[1]
