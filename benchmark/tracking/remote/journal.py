"""What one run logs, in a file that only grows: a line for each thing that is to be told to the server."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import TrackingError

FILE = "journal.jsonl"


class Journal:
    """The journal of a run, held by this process alone until it is closed or the process ends in whatever way.

    Args:
        folder: of the run; made if it is missing.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._file = self.path.open("ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write an entry whole, or not at all.

        Raises:
            OSError: it cannot be written, for example on a full disk.
        """
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} bytes could be written to {self.path}")
        except OSError:
            self._file.truncate(before)
            raise

    def entries(self, start: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """The entries from a place on, each with the place behind it; a line that has no end yet is left.

        Raises:
            TrackingError: a whole line is none of the journal's.
        """
        with self.path.open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                start += len(line)
                yield _entry(line, self.path), start

    def close(self) -> None:
        """Let others have it."""
        self._file.close()


def _entry(line: bytes, path: Path) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TrackingError(f"{path} is damaged: {error}") from error
    if not isinstance(entry, dict):
        raise TrackingError(f"{path} is damaged: a line holds no entry")
    return entry
