"""A store of a results folder's own: `<results>/mlflow.db` (SQLite) and `<results>/artifacts/`."""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from benchmark.tracking.database import database, open_client, told
from benchmark.tracking.heartbeat import Heartbeat, is_silent, remove
from benchmark.tracking.owner import is_gone, is_here
from benchmark.tracking.reading import artifact_folder, opened, records
from benchmark.tracking.runs import OWNER, Run, RunRecord


class LocalStore:
    """The primitives of a `benchmark.tracking.stores.Store`, read without MLflow.

    Args:
        results: the folder, resolved.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._client: Any = None

    def open_client(self) -> Any:
        self._client = open_client(self._results)
        return self._client

    def experiments(self) -> dict[str, str]:
        asked = "SELECT name, experiment_id FROM experiments WHERE lifecycle_stage = 'active' ORDER BY experiment_id"
        with opened(self._results, "the experiments") as store:
            return {name: str(id) for name, id in store.execute(asked)}

    def tags(self, experiment: str) -> dict[str, str]:
        asked = "SELECT key, value FROM experiment_tags WHERE experiment_id = ?"
        with opened(self._results, "the experiment") as store:
            return dict(store.execute(asked, (int(experiment),)).fetchall())

    def records(self, experiment: str, kind: str, identity: str = "") -> list[RunRecord]:
        return records(self._results, experiment, kind, identity)

    def logged_values(self) -> int:
        with opened(self._results, "the metrics") as store:
            return int(store.execute("SELECT COUNT(*) FROM metrics").fetchone()[0])

    @property
    def size(self) -> int:
        return database(self._results).stat().st_size

    def settle(self, run: Any, name: str) -> None:
        """The lock of the folder, under which it was made, has seen to that."""

    def opened(self, run: Any, *, alive: bool) -> Run:
        folder = self._folder(run)
        return Run(self._client, run.info.run_id, folder, Heartbeat(folder.parent) if alive else None)

    def gone(self, runs: Sequence[Any]) -> Collection[str]:
        """Known for certain of a process of this host, elsewhere by its signs of life."""
        return {run.info.run_id for run in runs if self._is_gone(run)}

    def _is_gone(self, run: Any) -> bool:
        owner = run.data.tags.get(OWNER, "")
        return is_gone(owner) if is_here(owner) else is_silent(self._folder(run).parent)

    def close(self, run: Any, reason: str) -> None:
        with told(f"run {run.info.run_id} cannot be closed"):
            self._client.set_tag(run.info.run_id, "error", reason)
            self._client.set_terminated(run.info.run_id, "KILLED")
        remove(self._folder(run).parent)

    def discard(self, record: RunRecord) -> None:
        self._client.delete_run(record.id)
        folder = record.artifacts
        # and no link leads elsewhere
        if isinstance(folder, Path) and folder.resolve().is_relative_to(self._results / "artifacts"):
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, run: Any) -> Path:
        """Of a run's artifacts; its heartbeat lies beside it, because the UI shows what is in it."""
        return artifact_folder(self._results, str(run.info.artifact_uri))
