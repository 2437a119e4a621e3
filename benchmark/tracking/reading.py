"""Runs as they lie in the tables of MLflow's store.

MLflow's own search makes an object of every param, tag and metric, which takes seconds for 1,000 runs; this takes a
tenth of that. A test holds the two against each other.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmark.errors import TrackingError
from benchmark.tracking.database import database, told_of
from benchmark.tracking.runs import IDENTITY, KIND, RunRecord

WAIT = 60.0  # seconds that a writer may hold the file

_MINE = f"""
    SELECT run_uuid FROM runs JOIN tags USING (run_uuid)
    WHERE experiment_id = :experiment AND lifecycle_stage = 'active' AND key = '{KIND}' AND value = :kind
    AND (:identity = '' OR run_uuid IN (SELECT run_uuid FROM tags WHERE key = '{IDENTITY}' AND value = :identity))
"""
_RUNS = f"""
    SELECT run_uuid, name, status, artifact_uri, start_time, end_time FROM runs
    WHERE run_uuid IN ({_MINE}) ORDER BY start_time, run_uuid
"""
_VALUES = f"SELECT run_uuid, key, value FROM {{table}} WHERE run_uuid IN ({_MINE})"
_STEPS = f"SELECT run_uuid, MAX(step) FROM latest_metrics WHERE run_uuid IN ({_MINE}) GROUP BY run_uuid"


def records(results: Path, experiment: str, kind: str, identity: str = "") -> list[RunRecord]:
    """The runs of a kind, oldest first, whatever their status; deleted ones are not among them.

    Args:
        identity: of the cells; "" for all.

    Raises:
        TrackingError: the file cannot be read.
    """
    with opened(results, "the runs") as store:
        return _records(store, results, experiment, kind, identity)


@contextmanager
def opened(results: Path, what: str) -> Iterator[sqlite3.Connection]:
    """All tables as they are at one moment.

    Args:
        what: is read, for the message.

    Raises:
        TrackingError: the file cannot be read.
    """
    file = database(results)
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=WAIT)) as store:
            store.execute("BEGIN")
            yield store
    except sqlite3.Error as error:
        raise TrackingError(f"{what} in {file} cannot be read: {told_of(error)}") from error


def _records(store: sqlite3.Connection, results: Path, experiment: str, kind: str, identity: str) -> list[RunRecord]:
    asked = {"experiment": int(experiment), "kind": kind, "identity": identity}
    runs = store.execute(_RUNS, asked).fetchall()
    params, tags, metrics = (
        _by_run(store.execute(_VALUES.format(table=table), asked)) for table in ("params", "tags", "latest_metrics")
    )
    steps = dict(store.execute(_STEPS, asked).fetchall())
    return [
        RunRecord(
            id=id,
            name=name,
            identity=tags[id].get(IDENTITY, ""),
            status=status,
            facts=params.get(id, {}),
            metrics=metrics.get(id, {}),
            tags=tags[id],
            error=tags[id].get("error"),
            artifacts=artifact_folder(results, uri),
            started=started / 1000,
            ended=None if ended is None else ended / 1000,
            step=steps.get(id, 0),
        )
        for id, name, status, uri, started, ended in runs
    ]


def artifact_folder(results: Path, uri: str) -> Path:
    """Where a run's files lie; ``uri`` is MLflow's name for it.

    Raises:
        TrackingError: not below the store's artifacts, where files of runs are read, written and deleted.
    """
    place = results / "artifacts"
    folder = place / uri.removeprefix("mlflow-artifacts:/").lstrip("/")
    # By its text alone: to resolve thousands of them would take seconds.
    if not uri.startswith("mlflow-artifacts:/") or ".." in folder.parts or folder == place:
        raise TrackingError(f"a run of {results} says that its files lie in {uri!r}, which is outside of the store")
    return folder


def _by_run(rows: sqlite3.Cursor) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for id, key, value in rows:
        found[id][key] = value
    return found
