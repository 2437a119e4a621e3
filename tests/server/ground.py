"""PostgreSQL and the tracking server of MLflow, in a folder of their own, which can be stopped and started again."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START = 180.0  # seconds


def missing() -> str:
    """Return what is not installed here that the servers need; "" if nothing."""
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
        folder.mkdir()
        self._data, self._socket = folder / "data", folder
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

    def database(self, name: str) -> str:
        """Make a database; returns its URL as `settings.toml` takes it."""
        import psycopg2

        with contextlib.closing(psycopg2.connect(host=str(self._socket), user="landshift", dbname="postgres")) as one:
            one.autocommit = True
            with one.cursor() as cursor:
                cursor.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://landshift@/{name}?host={self._socket}"

    def start(self) -> None:
        """Return when it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self._socket} -c fsync=off"
        log = f"--log={self._socket / 'log'}"
        self._call("pg_ctl", f"--pgdata={self._data}", log, "--wait", f"--options={options}", "start")

    def stop(self) -> None:
        """End all connections and return when it has ended."""
        self._call("pg_ctl", f"--pgdata={self._data}", "--mode=fast", "--wait", "stop")

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [_program(program), *arguments], check=True, stdout=subprocess.DEVNULL, timeout=100, **self._user
        )


class Server:
    """MLflow's tracking server with its artifacts; it is not started.

    Args:
        folder: of the server.
        database: URL of its database.
    """

    def __init__(self, folder: Path, database: str) -> None:
        folder.mkdir()
        # Which driver is the default differs between versions of SQLAlchemy.
        self._folder, self._database = folder, database.replace("postgresql:", "postgresql+psycopg2:")
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            self._port = trial.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", self._database]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        log = self._folder / "server.txt"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, **settings},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        end = time.monotonic() + START
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.address}/health", timeout=5):
                return
            time.sleep(0.2)
        raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL to the server with all its workers."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def serving() -> Iterator[tuple[Postgres, Server]]:
    """PostgreSQL, which runs, and a tracking server on it, which does not yet; nothing is left of them afterwards."""
    with tempfile.TemporaryDirectory(prefix="landshift-server-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = Postgres(folder / "postgres")
        server = Server(folder / "mlflow", postgres.database("mlflow"))
        try:
            yield postgres, server
        finally:
            server.kill()
            postgres.stop()
