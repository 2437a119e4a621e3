"""`landshift forget` in this process: what it removes, keeps, asks and refuses."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import sqlalchemy as sql

from benchmark.cli.app import main
from benchmark.experiments.database import JOBS
from benchmark.experiments.identity import identity_of
from benchmark.experiments.request import PREFIX, TunedRows, key_of, keys, read_request
from benchmark.experiments.run_folder import RunFolder, folder_of, savepoints_of
from benchmark.experiments.session import INNER, Session
from benchmark.experiments.status import status_of
from benchmark.reporting.collect import collect
from benchmark.reporting.publishing import publish
from benchmark.tracking import RunInfo, Summary
from benchmark.tracking.ui_views import PREFIX as PREFIX_OF_VIEWS

pytestmark = pytest.mark.usefixtures("stores_copied")
EXPERIMENT = "tiny-v1"
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
def add(results, add_run):
    """Add the job of a cell."""

    def add(method, fold, experiment=EXPERIMENT, state="done", **facts):
        found = {"method": method, "fold": fold, "seed": 0, "comparison": "old", **SHARED, **facts}
        return add_run(results, experiment, identity_of(found), found, state, error="no idea")

    return add


@pytest.fixture(autouse=True)
def asked(results, add):
    """Two comparisons, of 10 and of 40 steps; the first also with a tuned row that shares the runs of another."""
    for key, content in (
        ("old", _asked("old")),
        ("old-t", _asked("old-t", ROWS[:1], labels=["dacs"])),
        ("new", _asked("new", ROWS[:2], 40)),
    ):
        results.database.edit(EXPERIMENT, PREFIX + key, lambda old, content=content: content)
    for row in ROWS:
        add(row, "2019")
        add(row, "2020", state="failed" if row == ROWS[2] else "done")
    add(ROWS[0], "2019", comparison="new", steps=40)
    add(ROWS[1], "2019", comparison="new", steps=40, state="failed")
    add(ROWS[2], "2019 without 2020", EXPERIMENT + INNER, inside="2019")


def _forget(results, *words):
    return main(["forget", EXPERIMENT, "--results", str(results.folder), *words])


def _left(results, experiment=EXPERIMENT):
    records = results.runs(experiment)
    return sorted((r.facts["comparison"], r.facts["method"], r.facts["fold"], r.status) for r in records)


def _rows(results):
    return {key: read_request(results, EXPERIMENT, key).grid.methods for key in keys(results, EXPERIMENT)}


def test_a_row_goes_with_its_runs_its_files_and_its_summary(results, capsys):
    before = _left(results)
    for run in results.runs(EXPERIMENT):
        RunFolder(results.folder, run.id, 1, RunInfo(run.name, run.facts, {})).commit(run.status)
        savepoints_of(results.folder, run.id).mkdir(parents=True)
    assert results.deliver(EXPERIMENT, [run.id for run in results.runs(EXPERIMENT)]) == ""
    results.summarise(
        EXPERIMENT, *(Summary(row, {"method": row, "comparison": "old"}, {"summary/x": 1.0}) for row in ROWS)
    )
    client, experiment = results.client, results.client.experiment(EXPERIMENT)
    shown = {run.info.run_name for run in client.api.search_runs([experiment])}
    assert {ROWS[2], f"{ROWS[2]} · 2019 · seed 0"} <= shown
    assert _forget(results, "--method", ROWS[2], "--yes") == 0
    told = capsys.readouterr().out
    assert f"1 run: {ROWS[2]}, 10 steps, comparison old, failed" in told
    assert f"row {ROWS[2]} of the comparison old" in told
    assert _left(results) == [run for run in before if run[1] != ROWS[2]]
    assert _left(results, EXPERIMENT + INNER) == []
    assert _rows(results) == {"old": ROWS[:2], "old-t": (ROWS[0], "dacs (tuned)"), "new": ROWS[:2]}
    assert set(results.summaries(EXPERIMENT)) == {f"{row} (old)" for row in ROWS[:2]}
    left = {run.info.run_name for run in client.api.search_runs([experiment])}
    assert left == {name for name in shown if not name.startswith(ROWS[2])}
    kept = {run.id for run in results.runs(EXPERIMENT)}
    assert {folder.name for folder in folder_of(results.folder, "x").parent.iterdir()} == kept
    assert {folder.name for folder in savepoints_of(results.folder, "x").parent.iterdir()} == kept
    status = status_of(results, EXPERIMENT, "old")
    assert dict(status.counts) == {"done": 4} and all(ROWS[2] not in command for command in _commands(results, "old"))


def _commands(results, key):
    return read_request(results, EXPERIMENT, key).commands


def test_queued_jobs_of_a_row_go_with_it(results, add, capsys):
    for row, fold in ((ROWS[2], "2021"), (ROWS[1], "2021")):
        add(row, fold, state="queued")
    add(ROWS[2], "2021 without 2020", EXPERIMENT + INNER, "queued", inside="2021")
    assert _forget(results, "--method", ROWS[2], "--yes") == 0
    assert "2 queued jobs that were not begun" in capsys.readouterr().out
    left = [(row.facts["method"], row.facts["fold"]) for row in results.queue.rows() if row.state == "queued"]
    assert left == [(ROWS[1], "2021")]


def test_what_another_experiment_shows_is_kept_there(results):
    key = next(run.id for run in results.runs(EXPERIMENT) if run.facts["method"] == ROWS[2])
    results.publications.add([key], "another-v1")
    folder_of(results.folder, key).mkdir(parents=True)
    assert _forget(results, "--method", ROWS[2], "--yes") == 0
    (run,) = results.runs("another-v1")
    assert run.id == key and folder_of(results.folder, key).is_dir()


def test_failed_runs_go_and_a_row_without_another_run_goes_with_them(results):
    assert _forget(results, "--status", "failed", "--yes") == 0
    assert not any(run[3] == "FAILED" for run in _left(results))
    assert _rows(results) == {"old": ROWS, "old-t": (ROWS[0], "dacs (tuned)"), "new": ROWS[:1]}
    waiting = status_of(results, EXPERIMENT, "old")
    assert waiting.counts["waiting"] == 1, "it is trained again"


def test_a_row_with_a_queued_job_stays_where_its_failed_runs_go(results, add):
    add(ROWS[1], "2020", state="queued", comparison="new", steps=40)
    assert _forget(results, "--status", "failed", "--yes") == 0
    assert _rows(results)["new"] == ROWS[:2] and "queued" in {row.state for row in results.queue.rows()}


def test_a_try_with_other_steps_goes_whole(results, capsys):
    before = [run for run in _left(results) if run[0] == "old"]
    assert _forget(results, "--steps", "40", "--dry-run") == 0
    assert "the whole comparison new" in capsys.readouterr().out and len(_left(results)) == len(before) + 2
    assert _forget(results, "--steps", "40", "--yes") == 0
    assert _left(results) == before and set(_rows(results)) == {"old", "old-t"}


def test_runs_that_another_table_shows_are_kept(results):
    before = _left(results)
    assert _forget(results, "--comparison", "old-t", "--yes") == 0
    assert _left(results) == before and set(_rows(results)) == {"old", "new"}
    assert _forget(results, "--comparison", "old", "--yes") == 0
    assert {run[0] for run in _left(results)} == {"new"}


def test_single_runs_go_by_their_keys_and_by_their_ids_in_mlflow(results):
    first, second = [run for run in results.runs(EXPERIMENT) if run.facts["method"] == ROWS[1]][:2]
    results.publications.note(second.id, EXPERIMENT, "f" * 32, 1)
    before = _left(results)
    assert _forget(results, "--run", first.id[:12], "--run", "f" * 12, "--yes") == 0
    assert len(_left(results)) == len(before) - 2 and ROWS[1] in _rows(results)["new"]
    assert ROWS[1] not in _rows(results)["old"], "it has no other run"


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("", 1), ("no", 1)])
def test_it_asks_first(results, monkeypatch, answer, status):
    monkeypatch.setattr("builtins.input", lambda question: answer)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    before = len(_left(results))
    assert _forget(results, "--steps", "40") == status
    assert (len(_left(results)) < before) is (status == 0)


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
def test_refusals_say_why_and_remove_nothing(results, capsys, monkeypatch, words, told):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    before = _left(results)
    assert _forget(results, *words) == 1
    assert told in capsys.readouterr().err and _left(results) == before


def test_a_run_at_work_is_not_removed_until_its_lease_is_over(results, add, capsys):
    key = add("dacs", "2021", state="running")
    assert _forget(results, "--method", "dacs", "--yes") == 1
    assert "1 of these runs are at work, as dacs · 2021 · seed 0; stop that" in capsys.readouterr().err
    results.database.do(lambda connection: connection.execute(sql.update(JOBS).values(lease_until=0.0)))
    assert _forget(results, "--method", "dacs", "--yes") == 0
    assert key not in results.queue.states()


@pytest.mark.usefixtures("networks_once")
def test_afterwards_all_is_as_if_the_row_had_never_been(bench, tmp_path):
    """Of two stores one has had a further method, with a tuned row and another seed, which is forgotten."""
    found = []
    for name in ("with", "without"):
        session = Session(replace(bench.plan, results=tmp_path / name), bench=bench)
        jobs = bench.jobs(["source-only"], [0])
        session.remember(jobs, command="landshift run")
        session.run(jobs)
        if name == "with":
            more = bench.jobs(["mmd"], [0, 1], ["2020"])
            session.remember(more, nested=True, command="landshift run --method mmd")
            session.remember([], TunedRows("key", "by hand", {"mmd (tuned)": {"2020": "mmd"}}), more)
            session.run(more)
            tuned = key_of(bench, TunedRows("key", "", {}))
            for key in (tuned, bench.comparison):
                publish(session.results, session.experiment, bench.protocol, _standing(session, key), key)
            assert any(tuned in tag for tag in _in_mlflow(session)[0])
            for words in (["--method", "mmd"], ["--comparison", tuned]):
                words = [session.bench.protocol.label, "--results", str(tmp_path / name), *words]
                assert main(["forget", *words, "--yes"]) == 0
        state = _standing(session, bench.comparison)
        publish(session.results, session.experiment, bench.protocol, state, "the table")
        status = status_of(session.results, session.experiment)
        assert keys(session.results, session.experiment) == [bench.comparison]
        found.append(
            (
                state.grid,
                state.facts,
                state.commands,
                [call[1:] for call in state.calls],
                state.others,
                status.counts,
                status.others,
                _in_mlflow(session),
                session.results.summaries(session.experiment),
            )
        )
    assert found[0] == found[1]


def _standing(session, key):
    return collect(session.results, session.experiment, key)


def _in_mlflow(session):
    """Names of the views and links of an experiment, and names of its runs with their tags that name a table."""
    api = session.results.client.api
    experiment = api.get_experiment_by_name(session.experiment)
    views = {name for name in experiment.tags if name.startswith(PREFIX_OF_VIEWS)}
    runs = api.search_runs([experiment.experiment_id])
    tagged = [(run.info.run_name, [tag for tag in run.data.tags if "table" in tag]) for run in runs]
    return views, experiment.tags["mlflow.note.content"].count("]("), sorted(tagged)
