"""The SQLite file of a results folder: created once, whole, by one process; brought up to date when MLflow is newer."""

import fcntl
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.errors import TrackingError
from benchmark.tracking.patience import Patient


def database(results: Path) -> Path:
    """The SQLite file of a results folder."""
    return results.resolve() / "mlflow.db"


def address(file: Path) -> str:
    """The tracking URI of a SQLite file, which never depends on the environment or the working directory."""
    return f"sqlite:///{file}"


@contextmanager
def locked(results: Path) -> Iterator[None]:
    """Hold the store's lock, which all processes of a results folder share. Not reentrant."""
    with (results / "mlflow.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def told(action: str) -> Iterator[None]:
    """Turn an error of MLflow, SQLite or the disk into one line.

    Args:
        action: what failed, for example "the run cannot be logged".

    Raises:
        TrackingError: in place of those errors.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise TrackingError(f"{action}: {told_of(error)}") from error


def told_of(error: Exception) -> str:
    """The first line of an error, and what to do where the file itself is beyond repair."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    damaged = any(words in line for words in ("malformed", "file is not a database", "no such table"))
    return line + "; put a copy of the file back, or name another folder with --results" * damaged


def silence() -> None:
    """Turn telemetry, connection pooling and migration chatter off; before MLflow is imported."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    # A pooled SQLite connection must not cross a fork, and worker processes may be forked.
    os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # a traceback of what we tell in one line


def open_client(results: Path) -> Any:
    """An `MlflowClient` of a results folder's store, created or migrated first where needed.

    MLflow creates and migrates tables without a lock: of 8 processes on a fresh file all 8 fail and the file stays
    broken. Here one process makes the file under another name and moves it to its place whole, so that there is
    never half a store, whoever is killed when.

    Raises:
        TrackingError: if the folder cannot be written or the store cannot be read.
    """
    silence()
    from mlflow import MlflowClient

    file = database(results)
    with told(f"the MLflow store {file} cannot be used"):
        results.mkdir(parents=True, exist_ok=True)
        if not file.exists() or _revision(file) != _newest_revision():
            with locked(results):
                if not file.exists():
                    _create(file)
                elif _revision(file) != _newest_revision():
                    _migrate(file)
        client = Patient(MlflowClient(address(file), address(file)))
        client.search_experiments(max_results=1)
    return client


def _create(file: Path) -> None:
    from mlflow import MlflowClient

    fresh = _beside(file)
    client = MlflowClient(address(fresh), address(fresh))
    # MLflow's own experiment "Default" points at the working directory and would be first in every list.
    client.delete_experiment("0")
    fresh.replace(file)


def _migrate(file: Path) -> None:
    """Migrate a copy, then swap: a killed or failed migration leaves the old store as it was."""
    from alembic.util import CommandError
    from mlflow.db import upgrade

    fresh = _beside(file)
    with closing(sqlite3.connect(file)) as old, closing(sqlite3.connect(fresh)) as new:
        old.backup(new)
    try:
        upgrade.callback(address(fresh))
    except CommandError as error:  # a revision that this MLflow has never heard of
        raise TrackingError(
            f"the MLflow store {file} was written by a newer MLflow; install that one or use another results folder"
        ) from error
    fresh.replace(file)


def _beside(file: Path) -> Path:
    """A free name in the same folder; what a killed process left there is removed (the caller holds the lock)."""
    for left in file.parent.glob(f"{file.name}.new*"):
        left.unlink()
    return file.with_name(f"{file.name}.new{os.getpid()}")


def _revision(file: Path) -> str:
    """The schema's revision; read without MLflow, which retries a file that is no database for two minutes."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@cache
def _newest_revision() -> str:
    """The revision of the installed MLflow's schema: the one that no other migration comes after.

    Asked before MLflow opens the file, because it migrates an older one at once, in place and without a lock. Read from
    the text of the migrations, because alembic imports every one of them, which takes longer than most commands.
    """
    import mlflow

    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    text = "\n".join(path.read_text(encoding="utf-8") for path in migrations.glob("*.py"))
    revisions, after = (
        set(re.findall(r"\w{6,}", " ".join(re.findall(rf"^{kind}\b[^=]*=(.*)$", text, re.MULTILINE))))
        for kind in ("revision", "down_revision")
    )
    (newest,) = revisions - after  # a test holds it against what alembic says
    return newest
