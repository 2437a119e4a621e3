"""Open a results folder in MLflow's UI, on this machine only."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import unquote

from benchmark.common.errors import TrackingError
from benchmark.tracking.client import NOTE, Client, one_line_errors
from benchmark.tracking.ui_views import newest_link

HOST, PORT = "127.0.0.1", 5000
START_SECONDS, STOP_SECONDS = 120.0, 10.0  # to start took 10 to 24 s on two idle cores
FIRST_VISIT = """on a browser's first visit: close MLflow's Assistant, and where a page says GenAI click Model training
Ctrl-C stops it"""  # the browser keeps both; no setting of the server, and no link to a run, changes them


def serve(results: Path, port: int | None = None, open_browser: bool = False) -> None:
    """Serve MLflow's UI until Ctrl-C, SIGTERM or the terminal's end; prints each newest comparison's address.

    Args:
        results: a folder with a store; of one that publishes to an MLflow server only the addresses there are printed.
        port: port on 127.0.0.1; None takes 5000 or, if that is taken, a free one.
        open_browser: open the newest experiment's comparison.

    Raises:
        TrackingError: nothing was published yet, the port is taken, or the server does not start or answer.
    """
    client = Client(results)
    if client.needs_http:
        home = re.sub("://.*@", "://", client.uri).rstrip("/")
        print(f"the runs of {client.results} are on {home}")
        return _show(client, home, open_browser)
    file = re.fullmatch(r"sqlite(?:\+\w+)?:///(.*)", client.uri)
    if file and not Path(unquote(file[1])).exists():
        raise TrackingError(f"no run of {client.results} was published yet; `landshift run` does that")
    address = HOST, _choose(port)
    home = f"http://{HOST}:{address[1]}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(address[1]), "--workers", "1"]
    command += ["--backend-store-uri", client.uri, "--serve-artifacts"]
    command += ["--artifacts-destination", str(client.results / "artifacts")]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # which raises KeyboardInterrupt
    with suppress(KeyboardInterrupt), TemporaryFile("w+") as log:
        server = subprocess.Popen(command, cwd=client.results, stdout=log, stderr=log, start_new_session=True)
        try:
            print(f"starting MLflow on {home} (10 to 30 seconds) ...", flush=True)
            end, problem, is_up = time.monotonic() + START_SECONDS, "did not start", False
            while not is_up and server.poll() is None and time.monotonic() < end:
                time.sleep(0.2)
                with socket.socket() as trial:
                    is_up = trial.connect_ex(address) == 0
            if is_up:
                _show(client, home, open_browser)
                print(FIRST_VISIT, flush=True)
                problem = f"ended by itself (exit status {server.wait()})"
            log.seek(0)
            last = (log.read().strip() or "it said nothing").splitlines()[-1]
            raise TrackingError(f"the MLflow server {problem}: {last}")
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):  # to the server's group, of which its children are
                with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(server.pid, number)
                    server.wait(STOP_SECONDS)


def _choose(port: int | None) -> int:
    for wanted in (PORT, 0) if port is None else (port,):
        with suppress(OSError), socket.create_server((HOST, wanted)) as trial:
            return int(trial.getsockname()[1])
    raise TrackingError(f"port {port} on {HOST} is taken or not allowed; leave it out to get a free one")


def _show(client: Client, home: str, open_browser: bool) -> None:
    """Print the addresses of the experiments, the newest first, and open that."""
    with one_line_errors(f"the MLflow server {client.uri} cannot be used"):
        every = client.api.search_experiments(max_results=1000, order_by=["last_update_time DESC"])
    ours = [one for one in every if "fingerprint" in one.tags or not client.needs_http]  # a server may be others', too
    links = [(one.name, f"{home}/{newest_link(one.experiment_id, one.tags.get(NOTE, ''))}") for one in ours]
    links = links or [("no experiments yet", home)]
    print("\n".join(f"{name}: {link}" for name, link in links), flush=True)
    if open_browser:
        webbrowser.open(links[0][1])
