"""The UI opens on the comparison, serves artifacts, listens on the loopback address only and leaves nothing behind."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.common.errors import TrackingError
from benchmark.tracking import Client, RunInfo, publish_run, serve
from benchmark.tracking.ui_views import View, links

VIEW = View("abc", "4 steps", 1.0)
SERVE = "import sys; from pathlib import Path; from benchmark.tracking import serve; serve(Path(sys.argv[1]))"


def test_nothing_published_yet(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="was published yet"):
        serve(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path, stores_copied: None) -> Path:
    """A results folder with spaces and signs in its path, as on a user's disk, with a run and a view in MLflow."""
    folder = tmp_path / "results é #1"
    client, artifacts = Client(folder), tmp_path / "artifacts"
    artifacts.mkdir()
    (artifacts / "settings.json").write_text('{"steps": 4}')
    info = RunInfo("one", {"method": "m"}, {}, started=1.0)
    publish_run(
        client, "served v1", info, [(1, {"target/miou": 0.5})], "FINISHED", {}, artifacts, 2.0, {"fingerprint": "f"}
    )
    client.describe("served v1", "note", [VIEW])
    return folder


def test_a_taken_port_is_an_error(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(TrackingError, match=f"port {port} on 127.0.0.1 is taken"):
            serve(folder, port)


def test_serve_until_interrupted(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(folder)
    experiment = client.experiment("served v1")
    (run,) = client.api.search_runs([experiment])
    assert run.data.tags["mlflow.note.content"] == "**target mIoU 50.0 %**"
    place = tmp_path / "where the command is called"
    place.mkdir()
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True, cwd=place)
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append(process.stdout.readline())
            assert lines[-1], "the server ended"
        (link,) = [line.removeprefix("served v1: ").strip() for line in lines if line.startswith("served v1: ")]
        home, _, rest = link.partition("/#")
        assert f"#{rest}" in links(experiment, [VIEW])
        host, _, port = home.removeprefix("http://").partition(":")
        assert host == "127.0.0.1"
        id = run.info.run_id
        with urllib.request.urlopen(f"{home}/get-artifact?path=settings.json&run_uuid={id}") as answer:
            assert json.load(answer) == {"steps": 4}
        with urllib.request.urlopen(f"{home}/api/2.0/mlflow/artifacts/list?run_id={id}") as answer:
            assert [file["path"] for file in json.load(answer)["files"]] == ["settings.json"]
        assert _children(folder)
        assert _listeners(int(port)) == {"127.0.0.1"}
        _check_a_folder_of_that_server(tmp_path / "remote", home, link, capsys)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    assert code == 0
    assert list(place.iterdir()) == []
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", int(port))) != 0
    assert _children(folder) == []
    with pytest.raises(TrackingError, match=r"nobody:\*\*\*@.* cannot be used"):
        serve(tmp_path / "remote")


def _check_a_folder_of_that_server(remote: Path, home: str, link: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder whose runs are published to an MLflow server is not served; its links there are printed."""
    remote.mkdir()
    (remote / "settings.toml").write_text(f'mlflow = "{home.replace("://", "://nobody:secret@")}/"')
    Client(remote).api.create_experiment("of another project")
    serve(remote)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"the runs of {remote} are on {home}", f"served v1: {link}"]


def _listeners(port: int) -> set[str]:
    """The addresses on which this machine listens on a port, from proc(5); IPv6 ones as they stand there."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                short = len(address) == 8
                found.add(socket.inet_ntoa(bytes.fromhex(address)[::-1]) if short else address)
    return found


def _children(results: Path) -> list[str]:
    """Command lines of the processes that still serve a results folder."""
    lines = [entry.read_bytes().replace(b"\0", b" ").decode() for entry in _readable("cmdline")]
    environments = [entry.read_bytes().decode(errors="replace") for entry in _readable("environ")]
    return [text for text in (*lines, *environments) if str(results / "mlflow.db") in text]


def _readable(name: str) -> Iterator[Path]:
    for entry in Path("/proc").glob(f"[0-9]*/{name}"):
        with contextlib.suppress(OSError):
            entry.read_bytes()
            yield entry
