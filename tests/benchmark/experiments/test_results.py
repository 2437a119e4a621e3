"""What a results folder knows of its jobs, and MLflow shows of them: all of it, once, whatever breaks on the way."""

import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql

from benchmark.common.errors import DataError, SettingsError, TrackingError
from benchmark.experiments import run_folder as run_folders
from benchmark.experiments.database import DOCUMENTS, JOBS
from benchmark.experiments.publications import Publications
from benchmark.experiments.queue import EXPIRED, Entry
from benchmark.experiments.results import STATUS, ResultsFolder, has_results
from benchmark.experiments.run_folder import TRACEBACK, FetchedFiles, RunFolder, folder_of, savepoints_of
from benchmark.experiments.run_record import run_name
from benchmark.tracking import Client, DatasetFact, LiveRun, RunInfo, Summary
from benchmark.tracking import publish as publishing

pytestmark = pytest.mark.usefixtures("stores_copied")
A, B = "tiny v1", "other v1"
FACTS = {"method": "m", "fold": "north", "seed": 0}


def key_of(number):
    return f"{number:x}".ljust(64, "0")


def train(results, number=1, state="done", error="", experiment=A, method="m"):
    """A job that was begun and ended by a worker whose MLflow did not answer; returns its key."""
    key, facts = key_of(number), {"method": method, "fold": "north", "seed": str(number)}
    results.queue.add([Entry(key, "", {}, facts)], experiment, {key: {"trial": "7"}})
    claim = results.queue.claim("w/0", [key])
    (row,) = results.queue.rows(keys=[key])
    dataset = DatasetFact("world", "d" * 64, "data", {"north": 4})
    info = RunInfo(run_name(facts), facts, {"landshift.kind": "cell"}, dataset, row.started)
    run = RunFolder(results.folder, key, claim.attempt, info)
    for step in range(3):
        run.log({"train/loss": 1.0 / (step + 1)}, step)
    run.log({"target/miou": 0.5, "target/f1": 0.25})
    run.tag("device", "cpu")
    (run.path / "weights.safetensors").write_bytes(b"weights")
    (run.path / "confusion").mkdir()
    (run.path / "confusion" / "north é.csv").write_text("1,2")
    if error:
        (run.path / TRACEBACK).write_text("Traceback: here")
    run.commit(STATUS[state])
    if state == "done":
        results.queue.finish(claim, facts, run.tags, run.metrics)
    else:
        results.queue.fail(claim, error, state, run.tags)
    return key


@pytest.fixture
def opened(tmp_path, fresh_store):
    """Opens results whose runs are published in a place, in several folders with one database."""
    shutil.copy(fresh_store, tmp_path / "elsewhere.db")
    places = {"file": f"file://{tmp_path / 'mlruns'}", "sqlite": f"sqlite:///{tmp_path / 'elsewhere.db'}"}

    def opening(name, kind):
        folder = tmp_path / name
        folder.mkdir()
        lines = [f'database = "sqlite:///{tmp_path / "jobs.db"}"']
        lines += [f'mlflow = "{places[kind]}"'] if kind in places else []
        (folder / "settings.toml").write_text("\n".join(lines), encoding="utf-8")
        return ResultsFolder(folder)

    return opening


@pytest.fixture(params=["own", "file", "sqlite"])
def anywhere(request, opened):
    """Results whose runs are published in a SQLite file of the folder, in MLflow's file store, and in another file."""
    return opened("results é #1", request.param)


def in_mlflow(results, experiment=A):
    """The runs that MLflow shows, the oldest first."""
    client = results.client
    return client.api.search_runs([client.experiment(experiment)], order_by=["attributes.start_time ASC"])


def files(results, run):
    """The paths of a run's artifacts."""
    api = results.client.api
    if folder := results.client.artifact_folder(api.get_run(run).info.artifact_uri):
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    found, folders = [], [None]
    while folders:
        for entry in api.list_artifacts(run, folders.pop()):
            (folders if entry.is_dir else found).append(entry.path)
    return sorted(found)


def expire(results):
    change = sql.update(JOBS).values(lease_until=1.0)
    results.database.do(lambda connection: connection.execute(change))


# The folder


def test_a_folder_of_an_earlier_version_is_refused_and_stays_as_it_is(tmp_path):
    sqlite3.connect(tmp_path / "mlflow.db").close()
    with pytest.raises(TrackingError, match=r"earlier version of landshift.*--results") as error:
        ResultsFolder(tmp_path)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"] and not has_results(tmp_path)


def test_a_new_folder_with_published_runs_is_opened_again(results):
    train(results)
    assert results.deliver(A, [key_of(1)]) == ""
    assert (results.folder / "mlflow.db").exists()
    assert list(ResultsFolder(results.folder).finished(A)) == [key_of(1)]


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_folder_that_is_a_file_is_an_error_in_one_line(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match=r"results folder .* cannot be used") as error:
        ResultsFolder(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_database_that_is_none_and_wrong_settings_are_errors_in_one_line(tmp_path):
    (tmp_path / "jobs.db").write_bytes(b"no database" * 1000)
    with pytest.raises(TrackingError, match="file is not a database"):
        ResultsFolder(tmp_path)
    (tmp_path / "settings.toml").write_text("database = 3")
    with pytest.raises(SettingsError, match="database is a URL"):
        ResultsFolder(tmp_path)


def test_a_folder_has_results_where_it_has_a_database(tmp_path):
    assert not has_results(tmp_path / "nothing") and not (tmp_path / "nothing").exists()
    ResultsFolder(tmp_path / "own")
    assert has_results(tmp_path / "own")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "settings.toml").write_text(f'database = "sqlite:///{tmp_path / "jobs.db"}"')
    assert has_results(tmp_path / "elsewhere")
    (tmp_path / "lease").mkdir()
    (tmp_path / "lease" / "settings.toml").write_text("lease = 3")
    assert not has_results(tmp_path / "lease")
    assert ResultsFolder(tmp_path / "lease").queue.lease == 3


def test_results_may_be_moved(results, tmp_path):
    key = train(results)
    results.deliver(A, [key])
    shutil.copytree(results.folder, tmp_path / "moved")
    moved = ResultsFolder(tmp_path / "moved")
    (run,) = moved.runs(A)
    assert (run.artifacts / "weights.safetensors").is_relative_to(tmp_path / "moved")
    assert (run.artifacts / "weights.safetensors").read_bytes() == b"weights"
    assert files(moved, run.run) == files(results, run.run) and moved.deliver(A, [key]) == ""
    moved.remove(A, [key])
    assert in_mlflow(moved) == [] and len(in_mlflow(results)) == 1
    assert "weights.safetensors" in files(results, run.run)
    assert str(results.folder).encode() not in (results.folder / "mlflow.db").read_bytes()


# Jobs and their runs


def test_a_run_has_the_state_of_its_job(results, add_run):
    for number, state in enumerate(("queued", "running", "done", "failed", "pruned", "interrupted")):
        add_run(results, A, key_of(number), FACTS | {"seed": number}, state, {"target/miou": 0.5}, "why")
    runs = results.runs(A)
    assert [(run.status, run.error) for run in runs] == [
        ("RUNNING", None),
        ("FINISHED", None),
        ("FAILED", "why"),
        ("KILLED", "why"),
        ("KILLED", "why"),
    ]
    running, done, failed, *_ = runs
    assert done.id == done.identity == key_of(2) and done.name == "m · north · seed 2"
    assert done.metrics == {"target/miou": 0.5} and failed.metrics == {}
    assert done.ended >= done.started > 0 and running.ended is None
    assert list(results.finished(A)) == [key_of(2)] and results.finished(A, [key_of(1)]) == {}
    assert [run.id for run in results.runs(A, [key_of(3), key_of(0)])] == [key_of(3)]
    expire(results)
    (lost,) = results.runs(A, [key_of(1)])
    assert (lost.status, lost.error) == ("KILLED", EXPIRED)


def test_a_run_is_found_by_the_first_characters_of_its_key_and_of_its_id_in_mlflow(results, add_run):
    for key in ("ab1", "ab2", "cd", "ee"):
        add_run(results, A, key, FACTS, "running" if key == "ee" else "done")
    add_run(results, B, "ff", FACTS, "queued")
    results.publications.add(["cd"], B)
    results.publications.note("cd", A, "0123", 1)
    results.publications.note("ab1", A, "cdcd", 1)
    assert results.find("ab1").id == "ab1" and results.find("01").id == "cd"
    for prefix, words in {
        "ab": "the ids of 2 runs begin with 'ab'.*give more of it",
        "cd": "the ids of 2 runs begin with",
        "99": "there is no run with an id that begins with '99'",
        "x%": "there is no run",
        "ee": r"ee \(m · north · seed 0\) is not finished: it is RUNNING",
        "ff": "ff is not finished: it was not begun",
    }.items():
        with pytest.raises(TrackingError, match=words):
            results.find(prefix)


def test_experiments_have_documents(results):
    assert results.about(A) == {"description": "", "facts": {}} and results.document(A, "about") is None
    seen, written = [], sql.select(DOCUMENTS.c.experiment, DOCUMENTS.c.changed)
    for _ in range(2):
        results.describe(A, "About it.", {"fingerprint": "f"})
        results.describe(B, "", {})
        seen.append(results.database.do(lambda connection: connection.execute(written).all()))
    assert results.about(A) == {"description": "About it.", "facts": {"fingerprint": "f"}}
    assert results.experiments() == [A, B]
    assert len(seen[0]) == 2 and seen[0] == seen[1], "what is the same is not written again"


def test_a_method_has_one_colour_also_where_two_are_new_at_once(results):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ResultsFolder(results.folder).look(A, f"m{number}"), range(8)))
    colours = [results.look(A, f"m{number}")["mlflow.runColor"] for number in range(8)]
    assert len(set(colours)) == 8
    assert results.look(A, "another") == results.look(A, "another")


def test_removed_jobs_are_gone_but_for_those_that_another_experiment_shows(results):
    alone, shared, kept = train(results, 1), train(results, 2), train(results, 3)
    results.publications.add([shared], B)
    for experiment in (A, B):
        assert results.deliver(experiment, [alone, shared, kept]) == ""
    for key in (alone, shared):
        savepoints_of(results.folder, key).mkdir(parents=True)
    artifacts = results.folder / "artifacts"
    assert len(list(artifacts.glob("*/*/artifacts"))) == 4
    results.remove(A, [alone, shared, "unknown"])
    assert [run.id for run in results.runs(A)] == [kept] and [run.id for run in results.runs(B)] == [shared]
    assert [run.data.tags["seed"] for run in in_mlflow(results)] == ["3"]
    assert [run.data.tags["seed"] for run in in_mlflow(results, B)] == ["2"]
    assert not folder_of(results.folder, alone).exists() and not savepoints_of(results.folder, alone).exists()
    assert folder_of(results.folder, shared).exists() and savepoints_of(results.folder, shared).exists()
    assert len(list(artifacts.glob("*/*/artifacts"))) == 2
    results.remove(B, [shared])
    assert not folder_of(results.folder, shared).exists() and list(results.queue.states()) == [kept]


def test_what_cannot_be_removed_from_mlflow_stays(results, monkeypatch):
    key = train(results)
    results.deliver(A, [key])
    with monkeypatch.context() as patch, pytest.raises(TrackingError, match="away"):
        patch.setattr(type(results.client.api), "delete_run", raising("away"))
        results.remove(A, [key])
    assert list(results.finished(A)) == [key] and folder_of(results.folder, key).exists()
    results.remove(A, [key])
    assert results.runs(A) == [] and in_mlflow(results) == []


# Publication in MLflow


def raising(text):
    def fail(*_, **__):
        raise OSError(text)

    return fail


def test_everything_is_published(anywhere):
    results = anywhere
    results.describe(A, "", {"fingerprint": "f"})
    key = train(results)
    assert results.deliver(A, [key]) == ""
    (shown,) = in_mlflow(results)
    (run,) = results.runs(A)
    assert run.run == shown.info.run_id and shown.info.status == "FINISHED"
    assert shown.info.start_time == int(run.started * 1000) and shown.info.end_time == int(run.ended * 1000)
    assert shown.data.params == {"method": "m", "fold": "north", "seed": "1"}
    assert shown.data.params.items() <= shown.data.tags.items()
    wanted = {"landshift.kind": "cell", "device": "cpu", "trial": "7"} | results.look(A, "m")
    assert wanted.items() <= shown.data.tags.items() and "error" not in shown.data.tags
    assert shown.data.metrics == run.metrics | {"train/loss": pytest.approx(1 / 3)}
    api = results.client.api
    points = [(point.step, point.value) for point in api.get_metric_history(run.run, "train/loss")]
    assert points == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    (dataset,) = shown.inputs.dataset_inputs
    assert dataset.dataset.name == "world"
    assert files(results, run.run) == [
        "confusion/north é.csv",
        "curve.json",
        "run.json",
        "weights.safetensors",
    ]
    assert api.get_experiment(results.client.experiment(A)).tags["fingerprint"] == "f"
    for _ in range(2):
        assert results.deliver(A, [key]) == ""
    assert [again.info.run_id for again in in_mlflow(results)] == [run.run]


def test_what_lies_in_the_folder_takes_no_space_twice(results):
    key = train(results)
    results.deliver(A, [key])
    folder, (run,) = folder_of(results.folder, key), results.runs(A)
    place = results.folder / "artifacts" / "tiny-v1" / run.run / "artifacts"
    for name in ("weights.safetensors", "confusion/north é.csv", "run.json"):
        assert (place / name).samefile(folder / name) and (place / name).stat().st_nlink == 2
    assert run.artifacts == folder


def test_a_job_of_two_experiments_is_published_in_both(results):
    key = train(results)
    results.publications.add([key], B, {key: {"trial": "8"}})
    assert results.deliver(A, [key]) == results.deliver(B, [key]) == ""
    assert [run.data.tags["trial"] for run in (*in_mlflow(results), *in_mlflow(results, B))] == ["7", "8"]
    assert results.runs(A)[0].run != results.runs(B)[0].run


def test_a_failed_job_is_published_with_what_says_why(results):
    key = train(results, state="failed", error="TrainingError: no idea")
    assert results.deliver(A, [key]) == ""
    (shown,) = in_mlflow(results)
    assert shown.info.status == "FAILED" and shown.data.tags["error"] == "TrainingError: no idea"
    assert TRACEBACK in files(results, shown.info.run_id)
    (run,) = results.runs(A)
    assert shown.info.end_time == int(run.ended * 1000)
    assert (run.artifacts / TRACEBACK).read_text() == "Traceback: here"


def test_a_trial_that_was_given_up_is_published(results):
    key = train(results, state="pruned", error="given up")
    assert results.deliver(A, [key]) == ""
    (shown,) = in_mlflow(results)
    assert (shown.info.status, shown.data.tags["error"]) == ("KILLED", "given up")


def test_what_has_not_ended_is_not_published(results, add_run):
    keys = [add_run(results, A, key_of(n), FACTS, s) for n, s in enumerate(("queued", "running", "interrupted"))]
    assert results.deliver(A, keys) == "" and not (results.folder / "mlflow.db").exists()


def test_a_run_whose_worker_was_killed_too_often_is_closed(results):
    """It has no folder, only the run in MLflow that its last worker began."""
    results.queue.add([Entry(key_of(1), "", {}, {})], A)
    for attempt in range(results.queue.kills):
        claim = results.queue.claim("w", [key_of(1)])
        if attempt == results.queue.kills - 1:
            live = publishing.LiveRun(results.client, A, RunInfo("n", {"seed": "1"}, {}))
            results.publications.note(claim.key, A, live.id, -1)
        results.queue.release_worker("w", "its worker was killed by SIGKILL")
    assert results.deliver(A, [key_of(1)]) == ""
    (shown,) = in_mlflow(results)
    assert shown.info.status == "FAILED" and shown.data.tags["error"] == "its worker was killed by SIGKILL, 5 times"
    assert results.queue.rows(A)[0].published


def test_the_partial_run_is_replaced(results):
    key = train(results)
    live = publishing.LiveRun(results.client, A, RunInfo("partial", {"seed": "1"}, {}))
    results.publications.note(key, A, live.id, -1)
    assert results.deliver(A, [key]) == ""
    (shown,) = in_mlflow(results)
    assert shown.info.run_id != live.id and shown.info.status == "FINISHED"


def test_a_run_that_a_killed_process_did_not_note_is_deleted(results):
    key, facts = key_of(1), {"identity": key_of(1)}
    LiveRun(results.client, A, RunInfo("n", facts, {"landshift.kind": "cell"}))
    other = LiveRun(results.client, A, RunInfo("n", {"identity": key_of(2)}, {})).id
    train(results)
    assert results.deliver(A, [key]) == ""
    (run,) = results.runs(A)
    assert {shown.info.run_id for shown in in_mlflow(results)} == {run.run, other}


def test_what_a_process_was_publishing_when_it_was_killed_is_published_when_its_claim_is_over(results, monkeypatch):
    monkeypatch.setattr("benchmark.experiments.results.LOOK_EVERY", 0.05)
    key = train(results)
    live = LiveRun(results.client, A, RunInfo("n", {"identity": key}, {"landshift.kind": "cell"}))
    Publications(results.database, 1.0).hold(key, A)
    results.publications.note(key, A, live.id, -1)
    begun = time.monotonic()
    assert results.deliver(A, [key]) == "" and time.monotonic() - begun > 0.5
    (shown,) = in_mlflow(results)
    assert shown.info.status == "FINISHED" and shown.info.run_id != live.id


@pytest.mark.parametrize("call", ["create_run", "log_batch", "log_inputs", "set_terminated"])
def test_what_fails_halfway_is_published_by_the_next_command(results, monkeypatch, call):
    keys = [train(results, number) for number in (1, 2)]
    with monkeypatch.context() as patch:
        patch.setattr(type(results.client.api), call, raising("the server is away"))
        told = results.deliver(A, keys)
        again = results.deliver(A, keys)
    assert told == again and told.startswith("2 runs are not in MLflow yet: ") and "\n" not in told
    assert "the server is away" in told
    assert results.deliver(A, keys) == ""
    assert sorted((run.data.tags["seed"], run.info.status) for run in in_mlflow(results)) == [
        ("1", "FINISHED"),
        ("2", "FINISHED"),
    ]


def test_where_mlflow_cannot_be_opened_all_waits(results, monkeypatch):
    keys = [train(results, number) for number in (1, 2, 3)]

    def away(*_, **__):
        raise TrackingError("MLflow is away")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "experiment", away)
        assert results.deliver(A, keys).startswith("3 runs are not in MLflow yet: MLflow is away. The next command")
    assert results.deliver(A, keys) == "" and len(in_mlflow(results)) == 3


def test_two_commands_at_once_publish_once(results, monkeypatch):
    """The second has read the jobs before the first has published them."""
    keys = [train(results, number) for number in range(6)]
    others, barrier = [ResultsFolder(results.folder) for _ in range(4)], threading.Barrier(4)
    assert others[0].client.experiment(A)

    def deliver(other):
        read, first = other.queue.rows, iter([True])

        def rows(*arguments):
            found = read(*arguments)
            if next(first, False):
                barrier.wait(60)
            return found

        monkeypatch.setattr(other.queue, "rows", rows)
        return other.deliver(A, keys)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(deliver, others)) == [""] * 4
    assert sorted(run.data.tags["seed"] for run in in_mlflow(results)) == [str(number) for number in range(6)]
    assert {run.run for run in results.runs(A)} == {run.info.run_id for run in in_mlflow(results)}


def test_damaged_files_of_one_run_do_not_keep_the_others(results):
    keys = [train(results, number) for number in (1, 2)]
    (folder_of(results.folder, keys[0]) / "run.json").write_text("{")
    told = results.deliver(A, keys)
    assert told.startswith("1 runs are not in MLflow yet: ") and "run.json" in told
    assert [run.data.tags["seed"] for run in in_mlflow(results)] == ["2"]


def test_a_job_of_another_machine_is_published_from_its_run_elsewhere(opened):
    """Two machines share the database and MLflow, and no folder."""
    here, there = opened("here", "sqlite"), opened("there", "sqlite")
    key = train(there)
    here.publications.add([key], B)
    told = here.deliver(B, [key])
    assert told.startswith("1 runs are not in MLflow yet: the files of m · north · seed 1 are not in")
    assert there.deliver(A, [key]) == ""
    assert here.deliver(B, [key]) == ""
    (shown,) = in_mlflow(here, B)
    (run,) = here.runs(B)
    assert run.run == shown.info.run_id and shown.data.metrics["target/miou"] == 0.5
    assert files(here, run.run) == ["confusion/north é.csv", "curve.json", "run.json", "weights.safetensors"]
    assert (run.artifacts / "confusion/north é.csv").read_text() == "1,2"


def test_files_are_downloaded_when_they_are_read(opened, tmp_path, monkeypatch):
    results = opened("here", "sqlite")
    key = train(results)
    results.deliver(A, [key])
    shutil.rmtree(results.folder / "runs")  # as on another machine
    (run,) = results.runs(A)
    calls = []
    fetch = run_folders.fetch_file
    monkeypatch.setattr(run_folders, "fetch_file", lambda *given: calls.append(given[2]) or fetch(*given))
    assert isinstance(run.artifacts, FetchedFiles) and calls == [] and not (results.folder / "runs").exists()
    for _ in range(2):
        assert (run.artifacts / "confusion/north é.csv").read_text() == "1,2"
    assert calls == ["confusion/north é.csv"]
    assert (run.artifacts / "weights.safetensors").read_bytes() == b"weights"
    assert not (run.artifacts / "unknown.npz").exists() and not (run.artifacts / "confusion/unknown").exists()
    folder = folder_of(results.folder, key)
    assert sorted(path.name for path in folder.iterdir()) == ["confusion", "weights.safetensors"]
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path)
    for name in ("../../../secret", "/etc/passwd", "link/secret", ".."):
        with pytest.raises(DataError, match="is not the name of a file of a run"):
            run.artifacts / name
    assert len(calls) == 4


def test_a_file_that_cannot_be_downloaded_is_an_error_in_one_line(opened, monkeypatch):
    results = opened("here", "sqlite")
    key = train(results)
    results.deliver(A, [key])
    shutil.rmtree(results.folder / "runs")
    (run,) = results.runs(A)
    monkeypatch.setattr(type(results.client.api), "download_artifacts", raising("away\nreally"))
    with pytest.raises(TrackingError, match=r"weights\.safetensors of the run .* cannot be downloaded: away$"):
        run.artifacts / "weights.safetensors"
    assert list(folder_of(results.folder, key).iterdir()) == []


def test_lost_jobs_are_closed_in_mlflow_and_what_their_workers_wrote_is_removed(results):
    lives, folders = [], []
    for number in range(3):
        key = key_of(number)
        results.queue.add([Entry(key, "", {}, {})], A)
        claim = results.queue.claim("w", [key])
        info = RunInfo("n", {"seed": str(number)}, {})
        lives.append(publishing.LiveRun(results.client, A, info))
        results.publications.note(key, A, lives[-1].id, -1)
        folders.append(RunFolder(results.folder, key, claim.attempt, info).path)
        if number == 1:
            expire(results)
    stale = RunFolder(results.folder, key_of(2), 0, info).path
    removed = RunFolder(results.folder, key_of(9), 1, info).path
    results.close_expired()
    assert [folder.exists() for folder in (*folders, stale, removed)] == [False, False, True, False, False]
    states = {run.data.tags["seed"]: (run.info.status, run.data.tags.get("error")) for run in in_mlflow(results)}
    assert states == {"0": ("KILLED", EXPIRED), "1": ("KILLED", EXPIRED), "2": ("RUNNING", None)}
    assert [state for state, _ in results.queue.states().values()] == ["queued", "queued", "running"]


def test_jobs_are_put_back_also_where_mlflow_is_away(results, monkeypatch, caplog):
    for number in range(2):
        results.queue.add([Entry(key_of(number), "", {}, {})], A)
        results.queue.claim("w", [key_of(number)])
        results.publications.note(key_of(number), A, f"run {number}", -1)
    expire(results)
    monkeypatch.setattr(type(results.client.api), "set_tag", raising("away"))
    results.close_expired()
    assert caplog.text.count("cannot be closed: away") == 1
    assert {state for state, _ in results.queue.states().values()} == {"queued"}


# Summaries


def test_a_summary_is_kept_or_replaced(results, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a")
    facts, metrics = {"method": "dann", "seeds": 3}, {"summary/target_miou_mean": 0.5, "summary/gap": float("nan")}

    def write(*, facts=facts, metrics=metrics, artifacts=(table,)):
        results.summarise(A, Summary("dann", facts, metrics, artifacts, {4: {"curve": 0.1}, 2: {"curve": 0.2}}))
        (run,) = [run for run in in_mlflow(results) if run.info.run_name == "dann"]
        return run

    results.summarise(A, Summary("other", {"method": "other"}, {}))
    first = write()
    assert first.info.status == "FINISHED" and first.data.tags["landshift.kind"] == "summary"
    assert first.data.tags["mlflow.runColor"] == results.look(A, "dann")["mlflow.runColor"]
    assert first.data.metrics == {"summary/target_miou_mean": 0.5, "curve": 0.1}
    assert files(results, first.info.run_id) == ["table.csv"]
    assert write().info.run_id == first.info.run_id
    table.write_text("b")
    second = write()
    third = write(artifacts=())
    fourth = write(artifacts=(), metrics={"summary/target_miou_mean": 0.25})
    fifth = write(artifacts=(), metrics={"summary/target_miou_mean": 0.25}, facts=facts | {"seeds": 4})
    assert len({run.info.run_id for run in (first, second, third, fourth, fifth)}) == 5
    assert results.summaries(A) == {"other": {"method": "other"}, "dann": {"method": "dann", "seeds": "4"}}
    results.remove_summaries(A, ["dann", "unknown"])
    assert [run.info.run_name for run in in_mlflow(results)] == ["other"] and list(results.summaries(A)) == ["other"]
    assert results.runs(A) == [] and not list((results.folder / "artifacts").glob(f"*/{fifth.info.run_id}"))


def test_a_summary_that_was_not_written_is_written_by_the_next_command(results, monkeypatch):
    summary = Summary("dann", {"method": "dann"}, {"summary/cells": 3})
    with monkeypatch.context() as patch, pytest.raises(TrackingError, match="'dann' cannot be published: away"):
        patch.setattr(type(results.client.api), "create_run", raising("away"))
        results.summarise(A, summary)
    assert results.summaries(A) == {}
    results.summarise(A, summary)
    assert len(in_mlflow(results)) == 1


def test_a_tag_is_given_to_runs_and_taken_from_others(results):
    keys = [train(results, number) for number in (1, 2, 3)]
    results.deliver(A, keys[:2])
    results.tag(A, "row", {keys[0]: "first", keys[2]: "third"})
    assert [run.tags.get("row") for run in results.runs(A)] == ["first", None, "third"]
    results.tag(A, "row", {keys[1]: "second", keys[2]: "third"})
    results.deliver(A, keys)
    assert [run.tags.get("row") for run in results.runs(A)] == [None, "second", "third"]
    shown = {run.data.tags["seed"]: run.data.tags.get("row") for run in in_mlflow(results)}
    assert shown == {"1": None, "2": "second", "3": "third"}
