"""One MLflow run: a (fold, method, hyperparameters, seed), written by the process that trains it."""

import json
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from benchmark.errors import LandshiftError, Pruned, Stopped, TrackingError
from benchmark.tracking.database import told
from benchmark.tracking.limits import (
    BATCH_METRICS,
    DIGEST_LENGTH,
    TAG_LENGTH,
    Fact,
    checked_key,
    checked_metrics,
    checked_text,
)

KIND = "landshift.kind"  # the tag that tells cells from summaries
IDENTITY = "identity"
OWNER = "landshift.owner"  # the tag with the process that trains a cell
TASK = "landshift.task"  # of Slurm, where a run belongs to one
FLUSH_METRICS = 500
FLUSH_SECONDS = 30.0
ERROR_LENGTH = 500
TRACEBACK = "traceback.txt"


@dataclass(frozen=True)
class DatasetFact:
    """The dataset of a run, as MLflow shows it beside the run.

    Attributes:
        name: for example "flair-1".
        digest: of the catalog; MLflow shows the first 36 characters.
        source: a path or an address.
        patches: the number of patches of each domain.
        context: what the run used it for, shown beside the name.
    """

    name: str
    digest: str
    source: str
    patches: Mapping[str, int] = field(default_factory=dict)
    context: str = "benchmark"

    def entity(self) -> Any:
        """The `mlflow.entities.DatasetInput`."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = {"num_rows": sum(self.patches.values()), **{f"patches in {d}": n for d, n in self.patches.items()}}
        dataset = Dataset(
            name=self.name,
            digest=self.digest[:DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": self.source}),
            profile=json.dumps(profile),
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", self.context)])


class Files(Protocol):
    """The files of a run: ``files / name`` is the path of one on this machine, which may not exist.

    A plain folder is that; files that lie on a server are fetched when they are asked for, and no others.
    """

    def __truediv__(self, name: str, /) -> Path: ...


@dataclass(frozen=True)
class RunRecord:
    """What the store knows of a run.

    Attributes:
        id: MLflow's.
        name: as shown in the UI.
        identity: of the cell (design, law 3); empty in a summary.
        status: RUNNING, FINISHED, FAILED or KILLED.
        facts: the params.
        metrics: the last value of each.
        tags: all tags, those of MLflow too.
        error: one line, of a run that failed or was killed.
        artifacts: its files, of which there may be none.
        started: seconds since the epoch.
        ended: the same; None while it runs.
        step: the last one of which a metric is known; 0 where none is.
    """

    id: str
    name: str
    identity: str
    status: str
    facts: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    error: str | None
    artifacts: Files
    started: float
    ended: float | None = None
    step: int = 0

    @property
    def task(self) -> str:
        """The task of Slurm that the run belongs to; "" if none."""
        return self.tags.get(TASK, "")


class SignsOfLife(Protocol):
    """What tells other processes that a run is at work."""

    def stop(self) -> None:
        """No more of them; a second call does nothing."""


class Run:
    """A run that is being written; made by `Tracker.start`, used as a context manager.

    An exception closes it as FAILED, an interrupt (Ctrl-C, SIGTERM, an exit) or pruning as KILLED; both leave the tag
    `error` and the artifact `traceback.txt`. Metrics and tags are buffered, because MLflow takes 9 ms for one and
    0.3 ms for one of many. Not for several threads.

    Args:
        client: MLflow's.
        id: of the run.
        folder: of its artifacts.
        heartbeat: runs until the run is closed.
        stored: is told of every file or folder that was put there.
    """

    def __init__(
        self,
        client: Any,
        id: str,
        folder: Path,
        heartbeat: SignsOfLife | None = None,
        stored: Callable[[Path], None] = lambda path: None,
    ):
        self.id = id
        self.folder = folder
        self._client = client
        self._heartbeat = heartbeat
        self._stored = stored
        self._buffer: list[Any] = []
        self._tags: dict[str, str] = {}
        self._flushed = time.monotonic()
        self._open = True
        self._previous: Any = None

    def log(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics of one step; a NaN (a class that is absent) is left out.

        Raises:
            TrackingError: if a name is refused or a value is infinite; then none of them is logged.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._buffer += [Metric(key, value, now, step) for key, value in checked_metrics(metrics).items()]
        if len(self._buffer) >= FLUSH_METRICS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        from mlflow.entities import RunTag

        with told(f"metrics of run {self.id} cannot be logged"):
            while self._buffer or self._tags:
                tags = [RunTag(key, text) for key, text in self._tags.items()]
                self._client.log_batch(self.id, metrics=self._buffer[:BATCH_METRICS], tags=tags)
                del self._buffer[:BATCH_METRICS]
                self._tags.clear()
        self._flushed = time.monotonic()

    def tag(self, key: str, value: Fact) -> None:
        """Set a tag, which may change, unlike a fact.

        Raises:
            TrackingError: if it is longer than MLflow keeps, or its name is refused.
        """
        self._tags[key] = checked_text(checked_key(key), value, TAG_LENGTH)

    def artifact(self, path: Path, folder: str = "") -> Path:
        """Copy a file or a folder to the run's artifacts.

        Args:
            path: the file or folder.
            folder: where among the artifacts, for example "panels".

        Returns:
            The copy.

        Raises:
            TrackingError: if it cannot be copied; the message names it.
        """
        place = self.folder / folder
        with told(f"the artifact {path} cannot be stored"):
            place.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                copy = Path(shutil.copytree(path, place / path.name, dirs_exist_ok=True))
            else:
                copy = Path(shutil.copy2(path, place / path.name))
            self._stored(copy)
        return copy

    def finish(self) -> None:
        """Write what is buffered and close the run as FINISHED; a second call does nothing."""
        if self._open:
            self.flush()
            self._terminate("FINISHED")

    def fail(self, error: Exception) -> None:
        """Close the run as FAILED for a reason that nothing raised here; what the store refuses is noted on it."""
        self._fail(error)

    def __enter__(self) -> Self:
        # Only the main thread may handle signals, and a handler of the caller's own is left in place.
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._previous = signal.signal(signal.SIGTERM, _terminated)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish_or_fail()
            elif self._open:
                self._fail(error)
        finally:
            if self._previous is not None:
                signal.signal(signal.SIGTERM, self._previous)
                self._previous = None

    def _finish_or_fail(self) -> None:
        try:
            self.finish()
        except TrackingError as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """Close the run with its error, without ever hiding that error behind one of the store."""
        try:
            try:
                self.flush()
                self.folder.mkdir(parents=True, exist_ok=True)
                text = "".join(traceback.format_exception(error))
                (self.folder / TRACEBACK).write_text(text, encoding="utf-8")
                self._stored(self.folder / TRACEBACK)
            finally:
                with told(f"run {self.id} cannot be tagged"):
                    self._client.set_tag(self.id, "error", one_line(error))
                failed = isinstance(error, Exception) and not isinstance(error, Pruned)
                self._terminate("FAILED" if failed else "KILLED")
        except (TrackingError, OSError) as problem:
            error.add_note(f"and the record of the run is incomplete: {problem}")

    def _terminate(self, status: str) -> None:
        with told(f"run {self.id} cannot be closed"):
            self._client.set_terminated(self.id, status)
        self._open = False
        if self._heartbeat:
            self._heartbeat.stop()


def one_line(error: BaseException) -> str:
    """The message of an error in one line of at most 500 characters; with its kind, unless the message is enough."""
    kind = "" if isinstance(error, LandshiftError | Stopped) else f"{type(error).__name__}: "
    text = " ".join(f"{kind}{error}".split()).removesuffix(":")
    return text if len(text) <= ERROR_LENGTH else f"{text[: ERROR_LENGTH - 1]}…"


def _terminated(number: int, frame: FrameType | None) -> None:
    """On SIGTERM leave by an exception, so that the run in progress is closed on the way out."""
    raise SystemExit(128 + number)
