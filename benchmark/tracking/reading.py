"""Runs as they lie in the tables of MLflow's store.

MLflow's own search makes an object of every param, tag and metric, which takes seconds for 1,000 runs; this takes a
tenth of that. A test holds the two against each other.
"""

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmark.tracking.database import database
from benchmark.tracking.runs import IDENTITY, KIND, RunRecord

WAIT = 60.0  # seconds that a writer may hold the file

_MINE = f"""
    SELECT run_uuid FROM runs JOIN tags USING (run_uuid)
    WHERE experiment_id = ? AND lifecycle_stage = 'active' AND key = '{KIND}' AND value = ?
"""
_RUNS = f"""
    SELECT run_uuid, name, status, artifact_uri, start_time FROM runs
    WHERE run_uuid IN ({_MINE}) ORDER BY start_time, run_uuid
"""
_LAST_STEPS = """
    SELECT run_uuid, MAX(step) FROM latest_metrics JOIN runs USING (run_uuid)
    WHERE experiment_id = ? AND status = 'RUNNING' GROUP BY run_uuid
"""
_VALUES = f"SELECT run_uuid, key, value FROM {{table}} WHERE run_uuid IN ({_MINE})"


def records(results: Path, experiment: str, kind: str) -> list[RunRecord]:
    """The runs of a kind, oldest first, whatever their status; deleted ones are not among them.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    asked = int(experiment), kind
    with closing(sqlite3.connect(f"{database(results).as_uri()}?mode=ro", uri=True, timeout=WAIT)) as store:
        store.execute("BEGIN")  # all tables as they are at one moment
        runs = store.execute(_RUNS, asked).fetchall()
        params, tags, metrics = (
            _by_run(store.execute(_VALUES.format(table=table), asked)) for table in ("params", "tags", "latest_metrics")
        )
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
        )
        for id, name, status, uri, started in runs
    ]


def last_steps(results: Path, experiment: str) -> dict[str, int]:
    """Of each running run of an experiment, the last step that it logged.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with closing(sqlite3.connect(f"{database(results).as_uri()}?mode=ro", uri=True, timeout=WAIT)) as store:
        return dict(store.execute(_LAST_STEPS, (int(experiment),)).fetchall())


def artifact_folder(results: Path, uri: str) -> Path:
    """Where a run's files lie; ``uri`` is MLflow's name for it."""
    return results / "artifacts" / uri.removeprefix("mlflow-artifacts:/").lstrip("/")


def _by_run(rows: sqlite3.Cursor) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for id, key, value in rows:
        found[id][key] = value
    return found
