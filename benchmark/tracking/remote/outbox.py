"""What runs of this folder log on its way to the server: first into a journal on disk, from there by a thread.

Training never waits for the server. Only the end of a run does: what comes after it (a table, a run that starts from
it) reads what the server knows.
"""

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.errors import TrackingError
from benchmark.tracking.remote.delivery import Away, Delivery
from benchmark.tracking.remote.entries import end_entry, file_entry, metrics_entry, tag_entry
from benchmark.tracking.remote.journal import Journal

PAUSE = 1.0  # seconds until the server is tried again
SAY_EVERY = 60.0
LINGER = 10.0  # seconds that a run which is stopped waits for the server
FOLDER, FILES, FETCHED = "outbox", "files", "fetched"
logger = logging.getLogger(__name__)


class Outbox:
    """The outbox of one run; for `Run` it is an `MlflowClient` that knows only this run.

    Args:
        client: MLflow's, not patient.
        address: of the server, for what is said.
        run: id.
        results: the folder.
        name: of the run, for what is said.
    """

    def __init__(self, client: Any, address: str, run: str, results: Path, name: str = "") -> None:
        self._address, self._run, self._results = address, run, results
        self._name = f"{name} ({run})" if name else run
        self.folder = results / FOLDER / run
        self.files = self.folder / FILES
        self._journal = Journal(self.folder)
        self._delivery = Delivery(client, run, self._journal, self.files)
        self._changed = threading.Condition()
        self._written = 0
        self._broken: Exception | None = None
        self._closed = False
        self._at_work = True
        threading.Thread(target=self._send, name="outbox", daemon=True).start()

    def log_batch(self, run: str, metrics: Sequence[Any], tags: Sequence[Any]) -> None:
        """Metrics and tags."""
        self._check()
        for tag in tags:
            self._append(tag_entry(tag.key, tag.value))
        if metrics:
            self._append(metrics_entry(metrics))

    def set_tag(self, run: str, key: str, value: str) -> None:
        """A tag."""
        self._append(tag_entry(key, value))

    def stored(self, path: Path) -> None:
        """A file, or a folder of files, that lies among the run's files by now."""
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                self._append(file_entry(PurePosixPath(file.relative_to(self.files).as_posix())))

    def set_terminated(self, run: str, status: str) -> None:
        """End the run, and wait until the server knows everything; not long where it was stopped.

        Raises:
            TrackingError: something was refused, so that the run cannot be finished.
        """
        self._at_work = False
        self._append(end_entry(status, int(time.time() * 1000)))
        delivered = self._wait(LINGER if status == "KILLED" else None)
        if not delivered:
            logger.warning(
                f"what run {self._name} logged lies in {self.folder}; the next landshift run with this results folder "
                "delivers it"
            )
            return
        if not self._delivery.ended:
            self._check()
        self._closed = True
        settle(self._journal, self._results, self._run)

    def _append(self, entry: dict[str, Any]) -> None:
        with self._changed:
            self._journal.append(entry)
            self._written += 1
            self._changed.notify_all()

    def _check(self) -> None:
        if self._broken:
            raise TrackingError(str(self._broken)) from self._broken
        if self._delivery.refused:
            raise TrackingError(f"the tracking server {self._address} refused {self._delivery.refused[0]}")

    def _wait(self, seconds: float | None) -> bool:
        """Wait until everything is delivered; whether it is."""
        begun, said = time.monotonic(), time.monotonic() - SAY_EVERY + 5
        while True:
            with self._changed:
                if self._broken:
                    raise TrackingError(str(self._broken)) from self._broken
                if self._delivery.count == self._written:
                    return True
                self._changed.wait(PAUSE)
                left = self._written - self._delivery.count
            now = time.monotonic()
            if seconds is not None and now - begun > seconds:
                return False
            if left and now - said > SAY_EVERY:
                said = now
                logger.warning(
                    f"run {self._name} is done, but {left} of its entries wait in {self.folder} for the server "
                    f"{self._address}; Ctrl-C leaves them there, and the next landshift run delivers them"
                )

    def _send(self) -> None:
        said = float("-inf")
        while not self._closed:
            with self._changed:
                while self._delivery.count == self._written and not self._closed:
                    self._changed.wait(PAUSE)
            try:
                self._delivery.go_on()
            except Away as why:
                if self._at_work and time.monotonic() - said > SAY_EVERY:
                    said = time.monotonic()
                    logger.warning(
                        f"the tracking server {self._address} is away ({why}); run {self._name} goes on, and what it "
                        f"logs waits in {self.folder}"
                    )
                time.sleep(PAUSE)
            except Exception as error:
                self._broken = error
                return
            finally:
                with self._changed:
                    self._changed.notify_all()


def settle(journal: Journal, results: Path, run: str) -> None:
    """Remove what was delivered; the files stay on this machine as if they had been fetched."""
    folder, kept = results / FOLDER / run, results / FETCHED / run
    if (folder / FILES).is_dir() and not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        (folder / FILES).rename(kept)
    shutil.rmtree(folder, ignore_errors=True)
    journal.close()
