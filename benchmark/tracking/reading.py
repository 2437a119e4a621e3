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
from benchmark.tracking.database import database
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


class Reader:
    """What a results folder's store holds, read without MLflow; nothing is made or changed.

    Args:
        results: the folder.

    Raises:
        TrackingError: by every method, if the file cannot be read.
    """

    def __init__(self, results: Path) -> None:
        self.results = results.resolve()

    def experiments(self) -> dict[str, str]:
        """The ids of all experiments by name, in the order they were made; deleted ones are not among them."""
        asked = "SELECT name, experiment_id FROM experiments WHERE lifecycle_stage = 'active' ORDER BY experiment_id"
        with self._reading("the experiments") as store:
            return {name: str(id) for name, id in store.execute(asked)}

    def tags(self, experiment: str) -> dict[str, str]:
        """The tags of an experiment."""
        asked = "SELECT key, value FROM experiment_tags WHERE experiment_id = ?"
        with self._reading("the experiment") as store:
            return dict(store.execute(asked, (int(experiment),)).fetchall())

    def cells(self, experiment: str, identity: str = "") -> list[RunRecord]:
        """All runs of cells, or of those of one identity, oldest first, whatever their status; none that is deleted."""
        with self._reading("the runs") as store:
            return _records(store, self.results, experiment, "cell", identity)

    def logged_values(self) -> int:
        """How many values of metrics were ever logged, of all runs: what most of the file is."""
        with self._reading("the metrics") as store:
            return int(store.execute("SELECT COUNT(*) FROM metrics").fetchone()[0])

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return database(self.results).stat().st_size

    @contextmanager
    def _reading(self, what: str) -> Iterator[sqlite3.Connection]:
        try:
            with _opened(self.results) as store:
                yield store
        except sqlite3.Error as error:
            raise TrackingError(f"{what} in {database(self.results)} cannot be read: {error}") from error


def records(results: Path, experiment: str, kind: str, identity: str = "") -> list[RunRecord]:
    """The runs of a kind, oldest first, whatever their status; deleted ones are not among them.

    Args:
        identity: of the cells; "" for all.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with _opened(results) as store:
        return _records(store, results, experiment, kind, identity)


@contextmanager
def _opened(results: Path) -> Iterator[sqlite3.Connection]:
    """All tables as they are at one moment."""
    with closing(sqlite3.connect(f"{database(results).as_uri()}?mode=ro", uri=True, timeout=WAIT)) as store:
        store.execute("BEGIN")
        yield store


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
