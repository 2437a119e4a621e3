"""Savepoints of an interrupted training: files that are written whole, and read only where they are.

A savepoint holds all that the next step depends on. The name of a file carries the digest of its bytes, so that one
that was cut short or changed on the disk is known for it, and the savepoint before it is taken. The name of a savepoint
also carries the digest of what it was computed with: trainings of one job by different code share a folder, and no
more than that.
"""

import hashlib
import json
import logging
import os
import pickle
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmark.common.errors import DataError

KEPT = 2  # savepoints: the newest, and the one to take where that is damaged
SHARE = 0.02  # of the time that writing them may take
logger = logging.getLogger(__name__)


def write(folder: Path, stem: str, content: Any) -> Path:
    """Write tensors, numbers and texts in lists and dictionaries to ``<stem>-<digest>.pt``, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{stem}.new{os.getpid()}"
    try:
        with fresh.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        return fresh.replace(folder / f"{stem}-{_digest(fresh)}.pt")
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def read(path: Path) -> Any:
    """Return what `write` wrote. Only tensors, numbers and texts are made of it: no code of a file is ever run.

    Raises:
        DataError: the file is missing, damaged, or of another kind.
    """
    try:
        if _digest(path) != path.stem.rpartition("-")[2]:
            raise DataError(f"{path} is damaged: its bytes are not those that were written")
        return torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error


@dataclass
class Savepoints:
    """The savepoints of one training.

    Attributes:
        folder: folder of one job; it may be deleted at any time, and then the training starts again from step 0.
        key: content and circumstances of the training, as JSON. Savepoints of another key are neither continued
            from nor replaced: their training can go on where its code or its kind of device comes back.
        every: seconds between two of them, more where writing one takes long.
        name: name of the training, used in messages.
    """

    folder: Path
    key: Mapping[str, Any]
    every: float
    name: str = "the training"
    _last: float = field(default_factory=time.monotonic)
    _pause: float = 0.0

    @property
    def due(self) -> bool:
        """It is time for the next savepoint."""
        return time.monotonic() - self._last >= max(self.every, self._pause)

    def save(self, step: int, content: Mapping[str, Any]) -> None:
        """Write a savepoint after so many steps, and remove all of this training but the last two up to this step.

        One of a later step is damaged, or the training would have continued from it.

        Where the disk is full the training goes on, and the next one is tried when it is due.
        """
        started = time.monotonic()
        try:
            write(self.folder, f"step-{step:09d}-{self._mark}", dict(content))
        except OSError as error:
            logger.warning("%s goes on, but cannot be saved in %s: %s", self.name, self.folder, error)
        files = self._files()
        kept = [file for file in files if file.name < f"step-{step + 1:09d}"][:KEPT]
        for old in set(files) - set(kept):
            old.unlink(missing_ok=True)
        self._last = time.monotonic()
        self._pause = (self._last - started) / SHARE

    def newest(self) -> dict[str, Any] | None:
        """Return the content of the newest whole savepoint, with the files it names; None where there is none."""
        files = self._files()
        for path in files:
            try:
                content: dict[str, Any] = read(path)
                for name in content.get("files", ()):
                    read(self.folder / name)
            except DataError as error:
                logger.warning("%s; the savepoint before it is taken", error)
            else:
                return content
        if others := sorted(set(self.folder.glob("step-*.pt")) - set(files)):
            logger.warning("%s is of other code, packages or another device; %s starts again", others[-1], self.name)
        return None

    def remove(self) -> None:
        """Remove the folder: the training is over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        """Return the files of this key, the latest step first."""
        return sorted(self.folder.glob(f"step-*-{self._mark}-*.pt"), reverse=True)

    @property
    def _mark(self) -> str:
        return hashlib.sha256(json.dumps(dict(self.key), sort_keys=True).encode()).hexdigest()[:16]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
