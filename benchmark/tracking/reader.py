"""What a results folder's store holds, wherever it is kept."""

from pathlib import Path

from benchmark.tracking.runs import RunRecord
from benchmark.tracking.stores import open_store


class Reader:
    """What a results folder's store holds; nothing is made or changed.

    Args:
        results: the folder.

    Raises:
        TrackingError: by every method, if the store cannot be read.
    """

    def __init__(self, results: Path) -> None:
        self.results = results.resolve()
        self._store = open_store(self.results)

    def experiments(self) -> dict[str, str]:
        """The ids of all experiments by name, in the order they were made; deleted ones are not among them."""
        return self._store.experiments()

    def tags(self, experiment: str) -> dict[str, str]:
        """The tags of an experiment."""
        return self._store.tags(experiment)

    def cells(self, experiment: str, identity: str = "") -> list[RunRecord]:
        """All runs of cells, or of those of one identity, oldest first, whatever their status; none that is deleted."""
        return self._store.records(experiment, "cell", identity)

    def logged_values(self) -> int:
        """How many values of metrics were ever logged, of all runs: what most of the file is; 0 where nobody counts."""
        return self._store.logged_values()

    @property
    def size(self) -> int:
        """Bytes of the file; 0 where it is none."""
        return self._store.size
