"""One command at a time, where several would write the same files."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def alone(file: Path, told: str) -> Iterator[None]:
    """Hold a lock; whoever dies lets go of it.

    Args:
        file: of the lock, in a folder that is there.
        told: what is said while another process holds it.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        logger.warning("%s; waiting for it", told)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
