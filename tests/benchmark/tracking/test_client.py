"""One MLflow, any number of processes and results folders; what is wrong with it is told in one line."""

import contextlib
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmark.common.errors import TrackingError
from benchmark.tracking import Client, LiveRun, RunInfo
from benchmark.tracking import client as module

pytestmark = pytest.mark.usefixtures("stores_copied")
NOTE = "mlflow.note.content"


@pytest.fixture
def client(tmp_path):
    # Spaces and signs in the path, as on a user's disk.
    return Client(tmp_path / "results é #1")


def at(folder, address):
    """The client of a results folder that publishes elsewhere."""
    folder.mkdir()
    (folder / "settings.toml").write_text(f'mlflow = "{address}"\n', encoding="utf-8")
    return Client(folder)


def test_the_package_does_not_import_mlflow(tmp_path):
    code = (
        "import sys; from pathlib import Path; from benchmark.tracking import Client; c = Client(Path('r')); c.is_own; "
        "print([m for m in ('mlflow', 'pandas', 'torch', 'sqlalchemy') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path, env=environment)
    assert done.stdout == b"[]\n" and list(tmp_path.iterdir()) == []


def _write(results, number):
    live = LiveRun(Client(results), "race v1", RunInfo(f"run {number}", {"method": f"m{number}"}, {}))
    for step in range(20):
        live.log({"train/loss": 1.0 / (step + 1)}, step)
    assert live.finish("FINISHED", {}), live.problem


@pytest.mark.parametrize("name", ["50%done", "q?x=1"])
def test_nothing_is_made_beside_the_results(tmp_path, name):
    results = tmp_path / "data" / name
    live = LiveRun(Client(results), "race v1", RunInfo("run", {"method": "m"}, {}))
    assert live.finish("FINISHED", {}), live.problem
    assert [path.name for path in results.parent.iterdir()] == [name] and (results / "mlflow.db").is_file()


def test_eight_processes_on_a_fresh_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # must not matter, nor must the folder
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    results = tmp_path / "results"
    module.prepare_environment()
    import mlflow  # noqa: F401 - so that the forked writers need not import it

    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(results, number)) for number in range(8)]
    for act in ("start", "join"):
        for writer in writers:
            getattr(writer, act)()
    assert [writer.exitcode for writer in writers] == [0] * 8
    client = Client(results)
    runs = client.api.search_runs([client.experiment("race v1")])
    assert sorted(run.info.run_name for run in runs) == [f"run {number}" for number in range(8)]
    assert {run.data.metrics["train/loss"] for run in runs} == {0.05}
    assert list(Path().iterdir()) == []
    assert sorted(entry.name for entry in results.iterdir()) == ["mlflow.db", "mlflow.lock"]


def test_an_experiment_is_created_once_and_keeps_what_it_is_of(client):
    first = client.experiment("once v1", {"fingerprint": "f"})
    assert client.experiment("once v1") == first == Client(client.results).experiment("once v1", {"fingerprint": "g"})
    found = client.api.get_experiment(first)
    assert found.tags["fingerprint"] == "g" and found.tags["mlflow.experimentKind"] == "custom_model_development"
    assert found.artifact_location == "mlflow-artifacts:/once-v1"
    assert [experiment.name for experiment in client.api.search_experiments()] == ["once v1"], "and no Default"


def test_an_experiment_of_two_results_folders_is_created_once(tmp_path, fresh_store, monkeypatch):
    """They have no lock in common."""
    shutil.copy(fresh_store, tmp_path / "mlflow.db")
    clients = [at(tmp_path / name, f"sqlite:///{tmp_path / 'mlflow.db'}") for name in "ab"]
    assert not any(client.is_own for client in clients)
    barrier = threading.Barrier(2)

    def both(create):
        return lambda *given: [barrier.wait(10), create(*given)][1]

    for client in clients:
        monkeypatch.setattr(client.api, "create_experiment", both(client.api.create_experiment))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda client: client.experiment("shared v1"), clients)
    assert first == second


def test_a_deleted_experiment_starts_anew(client):
    ids = []
    for _ in range(3):
        again = Client(client.results)
        ids.append(again.experiment("deleted v1"))
        assert LiveRun(again, "deleted v1", RunInfo("n", {}, {})).finish("FINISHED", {})
        assert len(again.api.search_runs([ids[-1]])) == 1
        again.api.delete_experiment(ids[-1])
    assert len(set(ids)) == 3
    assert {client.api.get_experiment(id).lifecycle_stage for id in ids} == {"deleted"}


def test_a_note_is_described_and_one_that_does_not_fit_is_refused(client):
    client.describe("noted v1", "# A note")
    with pytest.raises(TrackingError, match=f"'{NOTE}' has 20001 characters"):
        client.describe("noted v1", "x" * 20_001)
    assert client.api.get_experiment(client.experiment("noted v1")).tags[NOTE].endswith("# A note")


@pytest.mark.parametrize("place", ["", "experiment", "experiment/artifacts", "a/../../../x", "../../x/y/z"])
@pytest.mark.parametrize("scheme", ["mlflow-artifacts:/", "/", "file:///", "s3://"])
def test_only_the_folder_of_a_run_is_one(client, tmp_path, scheme, place):
    """The folder above a run's artifacts is deleted with the run."""
    inside = client.results / "artifacts/a/b/artifacts" if scheme == "mlflow-artifacts:/" else None
    assert client.artifact_folder(f"{scheme}a/b/artifacts") == inside
    assert client.artifact_folder(f"{scheme}{place}") is None
    assert at(tmp_path / "server", "http://127.0.0.1:1").artifact_folder(f"{scheme}a/b/artifacts") is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://user:secret@127.0.0.1:1", "Connection refused|Max retries"),
        ("postgresql+psycopg2://user:secret@127.0.0.1:1/mlflow", "refused"),
        ("mysql://user:secret@127.0.0.1:1/mlflow", "MySQLdb"),
        ("nosuch://user:secret@host/x", "nosuch"),
    ],
)
def test_what_cannot_be_used_is_an_error_in_one_line_without_a_password(tmp_path, monkeypatch, address, words):
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    with pytest.raises(TrackingError, match=words) as error:
        at(tmp_path / "results", address).experiment("n")
    assert "\n" not in str(error.value) and "secret" not in str(error.value)
    assert "cannot be used" in str(error.value)


@pytest.mark.parametrize("what", ["file is not a database", r"mlflow\.db.* cannot be used: "])
def test_a_file_of_something_else_or_of_another_version_is_an_error_and_stays(client, fresh_store, what):
    client.results.mkdir()
    file = client.results / "mlflow.db"
    if what == "file is not a database":
        file.write_bytes(b"no database " * 1000)
    else:
        shutil.copy(fresh_store, file)
        with contextlib.closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = 'fffffffffff0'")
    before = file.read_bytes()
    with pytest.raises(TrackingError, match=what) as error:
        client.experiment("n")
    assert "\n" not in str(error.value) and file.read_bytes() == before


def test_a_folder_is_created_only_when_something_is_published(client):
    assert client.is_own and not client.results.exists()
    assert client.api and client.results.exists()
