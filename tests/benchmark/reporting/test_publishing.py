"""What MLflow shows of several comparisons in one store: every view shows exactly one of them, newest first."""

import base64
import json
import shutil
import zlib
from dataclasses import replace
from functools import partial

import pytest

from benchmark.experiments.forgetting import Selection, find, forget
from benchmark.experiments.request import PREFIX, keys
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_folder import RunFolder
from benchmark.experiments.session import Session
from benchmark.reporting.collect import collect
from benchmark.reporting.publishing import NOTE_LENGTH, PAGE, publish
from benchmark.tracking import RunInfo
from benchmark.tracking.publish import KIND
from benchmark.tracking.ui_views import LISTED, table_tag
from benchmark.tracking.ui_views import PREFIX as VIEW
from protocols.base import Protocol

pytestmark = pytest.mark.usefixtures("stores_copied")
EXPERIMENT = "tiny-v1"
PROTOCOL = Protocol("tiny", 1, "world", "A tiny split", "Times.", "Nothing.", hold_out=("time",))
FOLDS = ("2019", "2020")
FACTS = {
    **{"protocol": "tiny", "fingerprint": "f", "dataset": "world", "dataset_digest": "d", "network": "n"},
    **{"batch_size": 2, "code_version": "1", "method_digest": "m", "identity": "i", "rule": "last-step"},
}
TUNED = {"dacs (tuned)": {"2019": "dacs[weight=2.0]", "2020": "dacs"}}
# Rows of each comparison, in the order in which they were run; the tuned one shares runs with the first.
ROWS = {"old": ("source-only", "dacs"), "old-t": ("source-only", "dacs (tuned)"), "try": ("source-only",)}
STEPS = {"old": 200, "old-t": 200, "try": 40}


def _asked(key):
    methods = {row: {"needs": "source labels", "control": True} for row in ROWS[key]}
    for row in set(ROWS[key]) & set(TUNED):
        methods[row] = {"needs": "target images", "labels": TUNED[row]}
    facts = {name: str(value) for name, value in FACTS.items()} | {"comparison": key, "steps": str(STEPS[key])}
    return {"methods": methods, "folds": list(FOLDS), "seeds": [0], "skipped": {}, "facts": facts}


def _run(results, add_run, key, method, fold):
    """Run a job of a comparison, and publish it."""
    of = key.partition("-")[0]
    facts = {**FACTS, "method": method, "fold": fold, "seed": 0, "comparison": of, "steps": STEPS[key]}
    job = f"{of}{method}{fold}".encode().hex()
    if job not in results.queue.states():
        add_run(results, EXPERIMENT, job, facts, metrics={"target/miou": 0.5, "selected/source_val_miou": 0.6})
        (record,) = results.runs(EXPERIMENT, [job])
        RunFolder(results.folder, job, 1, RunInfo(f"{of} {method} {fold}", record.facts, {KIND: "cell"})).commit("")
        assert results.deliver(EXPERIMENT, [job]) == ""


def _publish_one(results, add_run, key):
    """Run what a comparison asks for, and publish it."""
    results.database.edit(EXPERIMENT, PREFIX + key, lambda old: _asked(key))
    for row in ROWS[key]:
        for fold in FOLDS:
            _run(results, add_run, key, TUNED.get(row, {}).get(fold, row), fold)
    publish(results, EXPERIMENT, PROTOCOL, collect(results, EXPERIMENT, key), f"table of {key}")


@pytest.fixture
def publish_one(results, add_run):
    return partial(_publish_one, results, add_run)


@pytest.fixture(scope="module")
def published_once(stores_copied, add_run, tmp_path_factory):
    """A results folder in which all are published."""
    results = ResultsFolder(tmp_path_factory.mktemp("published") / "results")
    for key in ROWS:
        _publish_one(results, add_run, key)
    return results.folder


@pytest.fixture
def all_published(results, published_once):
    """A copy of it: MLflow takes seconds to get it all."""
    shutil.copytree(published_once, results.folder, dirs_exist_ok=True)


def _tags(results):
    return results.client.api.get_experiment_by_name(EXPERIMENT).tags


def _views(results):
    """Comparison and kind of each view, with the names of the runs that MLflow finds for it."""
    client, found = results.client, {}
    for name, text in _tags(results).items():
        if name.startswith(VIEW):
            state = json.loads(zlib.decompress(base64.b64decode(json.loads(text)["state"].removeprefix("deflate;"))))
            kind, _, key = name.removeprefix(VIEW).partition("-")
            runs = client.api.search_runs([client.experiment(EXPERIMENT)], state["searchFilter"])
            found[key, kind] = sorted(run.info.run_name for run in runs)
    return found


def _runs_of(key):
    of = key.partition("-")[0]
    return sorted(f"{of} {TUNED.get(row, {}).get(fold, row)} {fold}" for row in ROWS[key] for fold in FOLDS)


def _expected(*comparisons):
    runs = {(key, kind): _runs_of(key) for key in comparisons for kind in ("curves", "table")}
    return runs | {(key, "comparison"): sorted(ROWS[key]) for key in comparisons}


def test_every_view_shows_exactly_one_comparison(results, all_published):
    assert _views(results) == _expected("old", "old-t", "try")


def test_a_run_of_other_code_leaves_its_table(results, all_published, add_run):
    runs = results.runs(EXPERIMENT)
    (old,) = [run for run in runs if (run.facts["comparison"], run.facts["fold"]) == ("try", "2019")]
    add_run(results, EXPERIMENT, "aa", {**old.facts, "method_digest": "new"}, metrics=old.metrics)
    state = collect(results, EXPERIMENT, "try", mixed=True)
    assert state.replaced == {"source-only": 1}
    assert collect(results, EXPERIMENT, "old").replaced == {}
    publish(results, EXPERIMENT, PROTOCOL, state, "table")
    assert _views(results)["try", "table"] == ["try source-only 2020"]


def test_the_newest_is_first_also_after_a_report_of_an_older_one(results, all_published):
    for _ in range(2):
        note = _tags(results)["mlflow.note.content"]
        lines = note.split("\n\n")
        assert [line.partition(":")[0] for line in lines[:3]] == [
            "**40 steps, 1 method, 2 folds** (try)",
            "200 steps, tuned, 2 methods, 2 folds (old-t)",
            "200 steps, 2 methods, 2 folds (old)",
        ]
        assert "table of try" in note and "table of old" not in note and "**A tiny split.**" in note
        publish(results, EXPERIMENT, PROTOCOL, collect(results, EXPERIMENT, "old"), "table of old, again")


def test_a_comparison_that_is_published_again_replaces_its_own_summaries_only(results, all_published, publish_one):
    client = results.client
    before = {run.info.run_id: run.info.run_name for run in client.api.search_runs([client.experiment(EXPERIMENT)])}
    publish_one("old")
    after = {run.info.run_id: run.info.run_name for run in client.api.search_runs([client.experiment(EXPERIMENT)])}
    assert after == before, "what says the same stays"
    state = collect(results, EXPERIMENT, "old")
    fewer = [line for line in state.lines if line.method == "dacs"]
    publish(results, EXPERIMENT, PROTOCOL, replace(state, lines=fewer), "table of old")
    assert sorted(results.summaries(EXPERIMENT)) == sorted(
        f"{row} ({key})" for key, rows in ROWS.items() for row in rows if (key, row) != ("old", "source-only")
    )


def test_a_comparison_without_results_has_no_views(results, all_published):
    asked = _asked("try") | {"facts": _asked("try")["facts"] | {"comparison": "ghost"}}
    results.database.edit(EXPERIMENT, PREFIX + "ghost", lambda old: asked)
    publish(results, EXPERIMENT, PROTOCOL, collect(results, EXPERIMENT, "ghost"), "table of ghost")
    assert _views(results) == _expected("old", "old-t", "try")
    assert "table of try" in _tags(results)["mlflow.note.content"]


def test_a_forgotten_comparison_leaves_no_view_no_summary_and_no_note(results, all_published):
    forget(results, EXPERIMENT, find(results, EXPERIMENT, Selection(comparison="try")))
    assert _views(results) == _expected("old", "old-t")
    assert "table of old-t" in _tags(results)["mlflow.note.content"]
    forget(results, EXPERIMENT, find(results, EXPERIMENT, Selection(comparison="old")))
    assert _views(results) == _expected("old-t"), "runs that another table shows are kept"
    forget(results, EXPERIMENT, find(results, EXPERIMENT, Selection(comparison="old-t")))
    assert _views(results) == {} and keys(results, EXPERIMENT) == [] and results.summaries(EXPERIMENT) == {}
    assert "table of" not in _tags(results)["mlflow.note.content"]


def test_a_long_note_of_many_comparisons_fits(results, publish_one):
    for number in range(LISTED + 2):
        page = {
            "note": "x" * NOTE_LENGTH,
            "words": "200,000 steps, tuned, 38 methods, 100 folds, 10 seeds",
            "created": number,
        }
        key = f"{number:012}-leave-one-source-domain-out-{number}-a-long-fold"
        results.database.edit(EXPERIMENT, PAGE + key, lambda old, page=page: page)
    publish_one("old")
    publish(results, EXPERIMENT, PROTOCOL, collect(results, EXPERIMENT, "old"), "x" * 30_000)
    tags = _tags(results)
    assert len([name for name in tags if name.startswith(VIEW)]) == 3 * LISTED
    assert "x" * 10_000 in tags["mlflow.note.content"]


def test_a_run_is_in_the_view_of_its_table_from_its_start(plan, tmp_path):
    session = Session(replace(plan, results=tmp_path / "live"))
    jobs = session.bench.jobs(["source-only"], [0], ["2020"])
    session.remember(jobs)
    session.add(jobs, again=True)
    (row,) = session.results.queue.rows(session.experiment)
    assert row.shown[table_tag(session.bench.comparison)] == "source-only"
