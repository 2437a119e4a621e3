"""A tracking server on PostgreSQL that can be killed and started again: both started here, in a folder of their own."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START = 180.0  # seconds


def missing() -> str:
    """What is not installed here that a server needs; "" if nothing."""
    if not _program("initdb") or not _program("pg_ctl"):
        return "no PostgreSQL here (Debian: apt-get install postgresql)"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "psycopg2 is not installed here (pip install 'landshift[server]')"
    return ""


def _program(name: str) -> str:
    """Debian keeps PostgreSQL's programs out of the PATH, a folder a version."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(debian[-1]) if debian else "")


class Postgres:
    """A cluster in a folder, reached by a socket there and by nothing else.

    Args:
        folder: that every user may enter.
    """

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._socket = folder
        # PostgreSQL refuses to run as root.
        self._user: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            name = "postgres" if "postgres" in names else "nobody"
            self._user |= {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}
            shutil.chown(folder, name)
        self._call(
            "initdb", "--username=landshift", "--auth=trust", "--encoding=UTF8", "--no-sync", f"--pgdata={self._data}"
        )
        self.start()
        with contextlib.closing(self.connect("postgres")) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("CREATE DATABASE mlflow")

    @property
    def address(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg2://landshift@/mlflow?host={self._socket}"

    def start(self) -> None:
        """Return when it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self._socket} -c fsync=off"
        self._call(
            "pg_ctl",
            f"--pgdata={self._data}",
            f"--log={self._socket / 'log'}",
            "--wait",
            f"--options={options}",
            "start",
        )

    def stop(self) -> None:
        """End all connections and return when it has ended."""
        self._call("pg_ctl", f"--pgdata={self._data}", "--mode=fast", "--wait", "stop")

    def connect(self, database: str = "mlflow") -> Any:
        """A connection of psycopg2's."""
        import psycopg2

        return psycopg2.connect(host=str(self._socket), user="landshift", dbname=database)

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """The rows that a query gives."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(question)
            return list(cursor.fetchall())

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [_program(program), *arguments], check=True, stdout=subprocess.DEVNULL, timeout=100, **self._user
        )


class Server:
    """MLflow's server, its artifacts and its database.

    Args:
        folder: that every user may enter.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "postgres").mkdir()
        self.postgres = Postgres(folder / "postgres")
        self._folder = folder
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            self._port = trial.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Return when it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "2", "--backend-store-uri", self.postgres.address]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.txt").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + START
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.address}/health", timeout=5):
                return
            time.sleep(0.2)
        raise RuntimeError(f"the server did not start: {(self._folder / 'server.txt').read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL to the server with all its workers."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def states(self) -> Counter[str]:
        """How many runs of cells have which status."""
        cells = "SELECT run_uuid FROM tags WHERE key = 'landshift.kind' AND value = 'cell'"
        asked = f"SELECT status FROM runs WHERE lifecycle_stage = 'active' AND run_uuid IN ({cells})"
        return Counter(status for (status,) in self.postgres.ask(asked))

    def twice(self) -> list[tuple[Any, ...]]:
        """Points of curves that are there more than once: run, metric, step and how often."""
        return self.postgres.ask(
            "SELECT run_uuid, key, step, COUNT(*) FROM metrics GROUP BY run_uuid, key, step HAVING COUNT(*) > 1"
        )


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server, and nothing left of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="landshift-server-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Server(folder)
        try:
            yield server
        finally:
            server.kill()
            server.postgres.stop()
