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
from typing import Any

import pytest

from benchmark.common.errors import TrackingError
from benchmark.tracking import Client, LiveRun, RunInfo
from benchmark.tracking import client as module

pytestmark = pytest.mark.usefixtures("stores_copied")
NOTE = "mlflow.note.content"


@pytest.fixture
def client(tmp_path: Path) -> Client:
    # Spaces and signs in the path, as on a user's disk.
    return Client(tmp_path / "results é #1")


def at(folder: Path, address: str) -> Client:
    """The client of a results folder that publishes elsewhere."""
    folder.mkdir()
    (folder / "settings.toml").write_text(f'mlflow = "{address}"\n', encoding="utf-8")
    return Client(folder)


def test_the_package_does_not_import_mlflow(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from benchmark.tracking import Client; c = Client(Path('r')); c.is_own; "
        "print([m for m in ('mlflow', 'pandas', 'torch', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=_environment()
    )
    assert done.stdout == "[]\n" and list(tmp_path.iterdir()) == []


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}


def _write(results: Path, number: int) -> None:
    info = RunInfo(f"run {number}", {"method": f"m{number}"}, {})
    live = LiveRun(Client(results), "race v1", info, {"fingerprint": "f"})
    for step in range(20):
        live.log({"train/loss": 1.0 / (step + 1)}, step)
    assert live.finish("FINISHED", {}, None), live.problem


def test_eight_processes_on_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # must not matter, nor must the folder
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    results = tmp_path / "results"
    module.prepare_environment()
    import mlflow  # noqa: F401 - so that the forked writers need not import it

    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(results, number)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    client = Client(results)
    runs = client.api.search_runs([client.experiment("race v1")])
    assert sorted(run.info.run_name for run in runs) == [f"run {number}" for number in range(8)]
    assert {run.data.metrics["train/loss"] for run in runs} == {0.05}
    assert list(Path().iterdir()) == []
    assert sorted(entry.name for entry in results.iterdir()) == ["mlflow.db", "mlflow.lock"]


def test_an_experiment_is_created_once_and_keeps_what_it_is_of(client: Client) -> None:
    first = client.experiment("once v1", {"fingerprint": "f"})
    assert client.experiment("once v1") == first == Client(client.results).experiment("once v1", {"fingerprint": "g"})
    found = client.api.get_experiment(first)
    assert found.tags["fingerprint"] == "g" and found.tags["mlflow.experimentKind"] == "custom_model_development"
    assert found.artifact_location == "mlflow-artifacts:/once-v1"
    assert [experiment.name for experiment in client.api.search_experiments()] == ["once v1"], "and no Default"


def test_an_experiment_of_two_results_folders_is_created_once(
    tmp_path: Path, fresh_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no lock in common."""
    shutil.copy(fresh_store, tmp_path / "mlflow.db")
    clients = [at(tmp_path / name, f"sqlite:///{tmp_path / 'mlflow.db'}") for name in "ab"]
    assert not any(client.is_own for client in clients)
    barrier = threading.Barrier(2)
    for client in clients:
        create = client.api.create_experiment

        def both(*given: Any, create: Any = create) -> Any:
            barrier.wait(10)
            return create(*given)

        monkeypatch.setattr(client.api, "create_experiment", both)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda client: client.experiment("shared v1"), clients)
    assert first == second


def test_a_deleted_experiment_starts_anew(client: Client) -> None:
    ids = []
    for _ in range(3):
        again = Client(client.results)
        ids.append(again.experiment("deleted v1"))
        assert LiveRun(again, "deleted v1", RunInfo("n", {}, {})).finish("FINISHED", {})
        assert len(again.api.search_runs([ids[-1]])) == 1
        again.api.delete_experiment(ids[-1])
    assert len(set(ids)) == 3
    assert {client.api.get_experiment(id).lifecycle_stage for id in ids} == {"deleted"}


def test_a_note_is_described_and_one_that_does_not_fit_is_refused(client: Client) -> None:
    client.describe("noted v1", "# A note")
    id = client.experiment("noted v1")
    assert client.api.get_experiment(id).tags[NOTE].endswith("# A note")
    with pytest.raises(TrackingError, match=f"'{NOTE}' has 20001 characters"):
        client.describe("noted v1", "x" * 20_001)
    assert client.api.get_experiment(id).tags[NOTE].endswith("# A note")


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow-artifacts:/",
        "mlflow-artifacts:/experiment",
        "mlflow-artifacts:/experiment/artifacts",
        "mlflow-artifacts:/a/../../../x",
        "mlflow-artifacts:/../../x/y/z",
        "/home/x/y/z",
        "file:///home/x/y/z",
        "s3://a/b/c/d",
    ],
)
def test_files_that_lie_elsewhere_are_not_touched(client: Client, uri: str) -> None:
    """The folder above a run's artifacts is deleted with the run."""
    assert client.artifact_folder(uri) is None
    inside = client.results / "artifacts/a/b/artifacts"
    assert client.artifact_folder("mlflow-artifacts:/a/b/artifacts") == inside


def test_files_of_other_places_are_stored_by_mlflow(tmp_path: Path) -> None:
    assert at(tmp_path / "server", "http://127.0.0.1:1").artifact_folder("mlflow-artifacts:/a/b/artifacts") is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://user:secret@127.0.0.1:1", "Connection refused|Max retries"),
        ("postgresql+psycopg2://user:secret@127.0.0.1:1/mlflow", "refused"),
        ("mysql://user:secret@127.0.0.1:1/mlflow", "MySQLdb"),
        ("nosuch://user:secret@host/x", "nosuch"),
    ],
)
def test_what_cannot_be_used_is_an_error_in_one_line_without_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    client = at(tmp_path / "results", address)
    with pytest.raises(TrackingError, match=words) as error:
        client.experiment("n")
    assert "\n" not in str(error.value) and "secret" not in str(error.value)
    assert "cannot be used" in str(error.value)


def test_a_file_that_is_no_database_is_an_error_and_stays(client: Client) -> None:
    client.results.mkdir()
    (client.results / "mlflow.db").write_bytes(b"no database " * 1000)
    with pytest.raises(TrackingError, match="file is not a database") as error:
        client.experiment("n")
    assert "\n" not in str(error.value)
    assert (client.results / "mlflow.db").read_bytes() == b"no database " * 1000


def test_a_file_of_another_version_of_mlflow_is_an_error_and_stays(client: Client, fresh_store: Path) -> None:
    client.results.mkdir()
    file = client.results / "mlflow.db"
    shutil.copy(fresh_store, file)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fffffffffff0'")
    before = file.read_bytes()
    with pytest.raises(TrackingError, match=r"mlflow\.db.* cannot be used: ") as error:
        client.experiment("n")
    assert "\n" not in str(error.value) and file.read_bytes() == before


def test_a_folder_is_created_only_when_something_is_published(client: Client) -> None:
    assert client.is_own and not client.results.exists()
    assert client.api and client.results.exists()
