"""Where a results folder keeps its runs: in a file of its own, or on a server that it is connected to."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmark.tracking.connections import connection
from benchmark.tracking.database import database
from benchmark.tracking.local import LocalStore
from benchmark.tracking.runs import Files, Run, RunRecord


class Store(Protocol):
    """What the two kinds of store do each in its own way; all else is written once, with an `MlflowClient`.

    A run is MLflow's, a record is ours. Every method raises TrackingError if the store cannot be used.
    """

    def open_client(self) -> Any:
        """An `MlflowClient` for all that follows; only a store that is written to needs one."""

    def experiments(self) -> dict[str, str]:
        """Ids by name, in the order they were made."""

    def tags(self, experiment: str) -> dict[str, str]:
        """Of an experiment."""

    def records(self, experiment: str, kind: str, identity: str = "") -> list[RunRecord]:
        """The runs of a kind that are not deleted, oldest first; of one identity, where one is given."""

    def logged_values(self) -> int:
        """Values of metrics; 0 where nobody counts."""

    @property
    def size(self) -> int:
        """Bytes; 0 where nobody counts."""

    def settle(self, run: Any, name: str) -> None:
        """See to it that a run of a cell, which was just made, is the only one of its identity.

        Raises:
            AlreadyTaken: it is not; then it is deleted.
        """

    def opened(self, run: Any, *, alive: bool) -> Run:
        """A run that was just made, to be written.

        Args:
            alive: give signs of life until it is closed.
        """

    def gone(self, runs: Sequence[Any]) -> Collection[str]:
        """The ids of those runs whose process has ended for certain."""

    def close(self, run: Any, reason: str) -> None:
        """Close a run whose process is gone, as KILLED."""

    def discard(self, record: RunRecord) -> None:
        """Delete a run with its files."""


def open_store(results: Path) -> Store:
    """The store of a results folder; nothing is asked of it yet.

    Args:
        results: resolved.

    Raises:
        TrackingError: the folder says that it is connected to a server, but not readably to which.
    """
    if address := connection(results):
        from benchmark.tracking.remote.store import RemoteStore  # what a folder of its own can do without

        return RemoteStore(results, address)
    return LocalStore(results)


def sizes_of(files: Files) -> dict[str, int]:
    """Bytes of the files of a run, by name; those that lie on a server are not fetched."""
    if isinstance(files, Path):
        found = (path for path in files.rglob("*") if path.is_file())
        return {path.relative_to(files).as_posix(): path.stat().st_size for path in found}
    from benchmark.tracking.remote.folder import RemoteFiles

    return files.sizes() if isinstance(files, RemoteFiles) else {}


def is_store(results: Path) -> bool:
    """Whether a results folder has a store, or is connected to a server; opening one makes a store."""
    return bool(connection(results)) or database(results).is_file()
