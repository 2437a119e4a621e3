"""Signs of life of a run, for other hosts: a file that the run's process touches as long as the run is open.

Ages are differences of two modification times in one folder, both given by the file server, so that it does not matter
how far the clocks of the hosts are apart.
"""

import contextlib
import os
import socket
import threading
from pathlib import Path

EVERY = 30.0  # seconds between two signs
STALE = 300.0  # seconds without a sign, after which the process is taken for gone; a network file system may be slow
FILE = "heartbeat"


class Heartbeat:
    """Touches a file from a thread of its own until it is stopped, or the process ends in whatever way.

    Args:
        folder: made if it is missing; the thread does not make it again, so that a deleted run stays deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._stopped = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self._file.touch()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def _beat(self) -> None:
        while not self._stopped.wait(EVERY):
            # A file server that is away for a moment is no reason to die.
            with contextlib.suppress(OSError):
                os.utime(self._file)

    def stop(self) -> None:
        """Remove the file; a second call does nothing."""
        self._stopped.set()
        remove(self._file.parent)


def is_silent(folder: Path) -> bool:
    """Whether a heartbeat was begun here and has not been seen for `STALE` seconds.

    Without a file nothing is known: the run is of an older version, or its folder lies elsewhere.
    """
    clock = folder / f"clock-{socket.gethostname()}-{os.getpid()}"
    try:
        beat = (folder / FILE).stat().st_mtime
        clock.touch()
        return clock.stat().st_mtime - beat > STALE
    except OSError:
        return False
    finally:
        clock.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove the heartbeat of a run that is closed, and the folder, if there is nothing else in it."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)
        folder.rmdir()
