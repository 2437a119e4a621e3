"""Open a results folder in MLflow's UI, on this machine only."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from benchmark.errors import TrackingError
from benchmark.tracking.connections import connection
from benchmark.tracking.database import address, database, silence
from benchmark.tracking.reader import Reader
from benchmark.tracking.view import comparison_link

HOST = "127.0.0.1"
PORT = 5000
START_SECONDS = 120.0  # 10 to 24 s were seen on two idle cores
STOP_SECONDS = 10.0


def serve(results: Path, port: int | None = None, open_browser: bool = False) -> None:
    """Serve MLflow's UI until Ctrl-C, SIGTERM or the terminal's end; prints the address of each comparison.

    Of a folder that is connected to a server only these are printed.

    Args:
        results: a folder with a store.
        port: on 127.0.0.1; None takes 5000 or, if that is taken, a free one.
        open_browser: open the newest experiment's comparison.

    Raises:
        TrackingError: if there is no store, the port is taken or the server does not start.
    """
    results = results.resolve()
    if home := connection(results):
        print(f"the runs of {results} are on {home}")
        for name, id in Reader(results).experiments().items():
            print(f"{name}: {home}/{comparison_link(id)}")
        return
    if not database(results).exists():
        raise TrackingError(f"there is no MLflow store in {results} yet; the first `landshift run` makes one")
    chosen = _port(port)
    home = f"http://{HOST}:{chosen}"
    with tempfile.TemporaryFile("w+") as log, _stoppable(), _server(results, chosen, log) as server:
        print(f"starting MLflow on {home} (10 to 30 seconds) ...", flush=True)
        _wait(server, home, log)
        links = [(name, f"{home}/{comparison_link(id)}") for id, name in _experiments(home)]
        for name, link in links:
            print(f"{name}: {link}", flush=True)
        if not links:
            print(f"no experiments yet: {home}", flush=True)
        # MLflow opens that panel itself, on every address of this machine; no setting of the server prevents it.
        print("MLflow's Assistant panel opens on a browser's first visit: close it once", flush=True)
        print("Ctrl-C stops it", flush=True)
        if open_browser:
            webbrowser.open(links[0][1] if links else home)
        try:
            code = server.wait()
        except KeyboardInterrupt:
            return
        raise TrackingError(f"the MLflow server ended by itself (exit status {code}): {_last_line(log)}")


def _port(wanted: int | None) -> int:
    """A port that nobody listens on.

    Raises:
        TrackingError: if the wanted one is taken.
    """
    for port in (PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as trial:
            # Without this a port whose last connection closed a minute ago would look taken.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                trial.bind((HOST, port))
                if port == 0:
                    print(f"port {PORT} is taken, another one is used", flush=True)
                return int(trial.getsockname()[1])
    raise TrackingError(f"port {wanted} on {HOST} is taken or not allowed; leave it out to get a free one")


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Leave by KeyboardInterrupt on SIGTERM and when the terminal closes, as on Ctrl-C."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _server(results: Path, port: int, log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """The server's process, in a group of its own, which is gone afterwards with its children."""
    silence()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", address(database(results)), "--serve-artifacts"]
    command += ["--artifacts-destination", str(results / "artifacts")]
    # Its job runner serves features for language models; without it two processes fewer.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        command, cwd=results, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
    )
    try:
        yield server
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(STOP_SECONDS)


def _wait(server: subprocess.Popen[str], home: str, log: IO[str]) -> None:
    """Return when the server answers.

    Raises:
        TrackingError: if it ends, or has not answered after two minutes.
    """
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise TrackingError(f"the MLflow server did not start: {_last_line(log)}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{home}/health", timeout=5):
            return
        time.sleep(0.2)
    raise TrackingError(f"the MLflow server did not answer in {START_SECONDS:.0f} s: {_last_line(log)}")


def _experiments(home: str) -> list[tuple[str, str]]:
    """Id and name of the experiments, newest first; asked over HTTP, which spares this process MLflow's import."""
    body = json.dumps({"max_results": 1000, "order_by": ["last_update_time DESC"]}).encode()
    request = urllib.request.Request(
        f"{home}/api/2.0/mlflow/experiments/search", body, {"Content-Type": "application/json"}
    )
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(request, timeout=30) as answer:
        return [(entry["experiment_id"], entry["name"]) for entry in json.load(answer).get("experiments", [])]
    return []


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    return ([line.strip() for line in log if line.strip()] or ["it said nothing"])[-1]
