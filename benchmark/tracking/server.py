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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from benchmark.common.errors import TrackingError
from benchmark.tracking.client import Client, one_line_errors, prepare_environment
from benchmark.tracking.settings import read_settings
from benchmark.tracking.ui_views import newest_link

HOST = "127.0.0.1"
PORT = 5000
START_SECONDS = 120.0  # 10 to 24 s were seen on two idle cores
STOP_SECONDS = 10.0
ORDER = ["last_update_time DESC"]


def serve(results: Path, port: int | None = None, open_browser: bool = False) -> None:
    """Serve MLflow's UI until Ctrl-C, SIGTERM or the terminal's end; prints each newest comparison's address.

    Of a folder whose runs are published to an MLflow server only the addresses there are printed.

    Args:
        results: a folder with a store.
        port: on 127.0.0.1; None takes 5000 or, if that is taken, a free one.
        open_browser: open the newest experiment's comparison.

    Raises:
        TrackingError: nothing was published yet, the port is taken, or the server does not start or answer.
    """
    results = results.resolve()
    settings = read_settings(results)
    if settings.needs_http:
        address = urlsplit(settings.mlflow)
        home = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl().rstrip("/")
        print(f"the runs of {results} are on {home}")
        _show(home, _published(results), open_browser)
        return
    uri = settings.mlflow
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise TrackingError(f"no run of {results} was published yet; `landshift run` does that")
    chosen = _port(port)
    home = f"http://{HOST}:{chosen}"
    with tempfile.TemporaryFile("w+") as log, _stoppable(), _server(results, uri, chosen, log) as server:
        print(f"starting MLflow on {home} (10 to 30 seconds) ...", flush=True)
        _wait(server, home, log)
        _show(home, _served(home), open_browser)
        # Both are kept in the browser; no setting of the server, and no link to a run, changes them.
        print("on a browser's first visit: close MLflow's Assistant, and where a page says GenAI click Model training")
        print("Ctrl-C stops it", flush=True)
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
def _server(results: Path, uri: str, port: int, log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """The server's process, in a group of its own, which is gone afterwards with its children."""
    prepare_environment()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri, "--serve-artifacts"]
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


Experiment = tuple[str, str, dict[str, str]]
"""Name, id and tags."""


def _show(home: str, experiments: Sequence[Experiment], open_browser: bool) -> None:
    """Print the addresses of the experiments, and open the first."""
    links = [f"{home}/{newest_link(id, tags)}" for _, id, tags in experiments]
    for (name, _, _), link in zip(experiments, links, strict=True):
        print(f"{name}: {link}", flush=True)
    if not links:
        print(f"no experiments yet: {home}", flush=True)
    if open_browser:
        webbrowser.open(links[0] if links else home)


def _served(home: str) -> list[Experiment]:
    """Return the experiments of our own server, newest first; asked over HTTP, which spares MLflow's import."""
    body = json.dumps({"max_results": 1000, "order_by": ORDER}).encode()
    request = urllib.request.Request(
        f"{home}/api/2.0/mlflow/experiments/search", body, {"Content-Type": "application/json"}
    )
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer).get("experiments", [])
        return [
            (one["name"], one["experiment_id"], {tag["key"]: tag["value"] for tag in one.get("tags", [])})
            for one in found
        ]
    return []


def _published(results: Path) -> list[Experiment]:
    """Return landshift's experiments on the MLflow server of a results folder, newest first.

    Raises:
        TrackingError: it does not answer, or wants a login that the environment does not have.
    """
    client = Client(results)
    api = client.api
    with one_line_errors(f"the MLflow server {client.uri} cannot be used"):
        found = api.search_experiments(max_results=1000, order_by=ORDER)
    return [(one.name, one.experiment_id, dict(one.tags)) for one in found if "fingerprint" in one.tags]


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    return ([line.strip() for line in log if line.strip()] or ["it said nothing"])[-1]
