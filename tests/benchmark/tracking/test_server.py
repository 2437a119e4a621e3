"""The UI opens on the comparison, serves artifacts, listens on the loopback address only and leaves nothing behind."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmark.common.errors import TrackingError
from benchmark.tracking import Client, LiveRun, RunInfo, serve
from benchmark.tracking.ui_views import View, links

VIEW = View("abc", "4 steps", 1.0)
SERVE = "import sys; from pathlib import Path; from benchmark.tracking import serve; serve(Path(sys.argv[1]))"


def test_nothing_published_yet(tmp_path):
    with pytest.raises(TrackingError, match="was published yet"):
        serve(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path, stores_copied):
    """A results folder with spaces and signs in its path, as on a user's disk, with a run and a view in MLflow."""
    client, artifacts = Client(tmp_path / "results é #1"), tmp_path / "artifacts"
    artifacts.mkdir()
    (artifacts / "settings.json").write_text('{"steps": 4}')
    run = LiveRun(client, "served v1", RunInfo("one", {"method": "m"}, {}, started=1.0), {"fingerprint": "f"})
    run.write_whole([(1, {"target/miou": 0.5})], "FINISHED", {}, artifacts)
    client.describe("served v1", "note", [VIEW])
    return client.results


def test_a_taken_port_is_an_error(folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(TrackingError, match=f"port {other.getsockname()[1]} on 127.0.0.1 is taken"):
            serve(folder, other.getsockname()[1])


def test_a_server_that_does_not_start_is_an_error_that_tells_its_last_line(folder, tmp_path, monkeypatch):
    (tmp_path / "python").write_text("#!/bin/sh\necho first\necho last words\necho\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr("signal.signal", lambda *given: None)
    with pytest.raises(TrackingError, match=r"the MLflow server did not start: last words$"):
        serve(folder)


@contextlib.contextmanager
def serving(folder, place, until, number):
    """The lines that `serve` prints up to one; afterwards it gets a signal and must leave nothing behind."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True, cwd=place)
    try:
        lines = []
        while not lines or not lines[-1].startswith(until):
            lines.append(process.stdout.readline())
            assert lines[-1], "the server ended"
        yield lines
    finally:
        process.send_signal(number)
        code = process.wait(30)
    assert code == 0 and processes_of(folder) == []


def processes_of(folder):
    """Processes that serve a results folder, by their command lines and environments."""
    found = []
    for entry in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        with contextlib.suppress(OSError):
            found += [entry.parent.name] * (str(folder / "mlflow.db").encode() in entry.read_bytes())
    return found


def test_serve_until_interrupted(folder, tmp_path, capsys):
    client, place, remote = Client(folder), tmp_path / "where the command is called", tmp_path / "remote"
    (run,) = client.api.search_runs([client.experiment("served v1")])
    place.mkdir()
    remote.mkdir()
    with serving(folder, place, "Ctrl-C", signal.SIGINT) as lines:
        (link,) = [line.removeprefix("served v1: ").strip() for line in lines if line.startswith("served v1: ")]
        home, _, rest = link.partition("/#")
        assert f"#{rest}" in links(run.info.experiment_id, [VIEW]) and home.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{home}/get-artifact?path=settings.json&run_uuid={run.info.run_id}") as answer:
            assert json.load(answer) == {"steps": 4}
        with urllib.request.urlopen(f"{home}/api/2.0/mlflow/artifacts/list?run_id={run.info.run_id}") as answer:
            assert [file["path"] for file in json.load(answer)["files"]] == ["settings.json"]
        with socket.socket() as other:  # another address of this machine
            assert other.connect_ex(("127.0.0.2", int(home.rpartition(":")[2]))) != 0
        assert processes_of(folder)
        # A folder whose runs are published to an MLflow server is not served; its links there are printed.
        (remote / "settings.toml").write_text(f'mlflow = "{home.replace("://", "://nobody:secret@")}/"')
        Client(remote).api.create_experiment("of another project")
        serve(remote)
        assert capsys.readouterr().out.splitlines() == [f"the runs of {remote} are on {home}", f"served v1: {link}"]
    assert list(place.iterdir()) == []
    with pytest.raises(TrackingError, match=r"nobody:\*\*\*@.* cannot be used"):
        serve(remote)


@pytest.mark.slow
def test_a_server_that_is_ended_while_it_starts_leaves_nothing_behind(folder, tmp_path):
    with serving(folder, tmp_path, "starting", signal.SIGTERM):
        pass
