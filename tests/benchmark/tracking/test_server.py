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

from benchmark.errors import TrackingError
from benchmark.tracking import Tracker, comparison_link, serve

SERVE = "import sys; from pathlib import Path; from benchmark.tracking import serve; serve(Path(sys.argv[1]))"


def test_no_store_yet(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="no MLflow store"):
        serve(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_an_error(tracker: Tracker) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(TrackingError, match=f"port {port} on 127.0.0.1 is taken"):
            serve(tracker.results, port)


def test_serve_until_interrupted(tracker: Tracker, tmp_path: Path) -> None:
    experiment = tracker.experiment("served v1", "note")
    (tmp_path / "settings.json").write_text('{"steps": 4}')
    with tracker.start(experiment, "n", {"method": "m"}, "i") as run:
        run.artifact(tmp_path / "settings.json")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tracker.results)], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append(process.stdout.readline())
            assert lines[-1], "the server ended"
        (link,) = [line.removeprefix("served v1: ").strip() for line in lines if line.startswith("served v1: ")]
        home, _, rest = link.partition("/#")
        assert f"#{rest}" == comparison_link(experiment)
        host, _, port = home.removeprefix("http://").partition(":")
        assert host == "127.0.0.1"
        with urllib.request.urlopen(f"{home}/get-artifact?path=settings.json&run_uuid={run.id}") as answer:
            assert json.load(answer) == {"steps": 4}
        listed = f"{home}/api/2.0/mlflow/artifacts/list?run_id={run.id}"
        with urllib.request.urlopen(listed) as answer:
            assert [file["path"] for file in json.load(answer)["files"]] == ["settings.json"]
        assert _children(tracker.results)
        assert _listeners(int(port)) == {"127.0.0.1"}
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    assert code == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["settings.json"]
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", int(port))) != 0
    assert _children(tracker.results) == []


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
