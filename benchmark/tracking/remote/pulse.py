"""Signs of life over HTTP: a tag of the run that its process sets anew every half minute.

Clocks of hosts differ, and after the server was away every sign is old. So a run is taken for gone only if its sign is
old and does not change while it is watched.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.tracking.heartbeat import EVERY, STALE

ALIVE = "landshift.alive"
WATCH = 2.5 * EVERY  # seconds
LOOK = 5.0  # between two looks
logger = logging.getLogger(__name__)


def sign() -> str:
    """A sign of life: this host's time, in whole milliseconds since the epoch."""
    return str(int(time.time() * 1000))


class Pulse:
    """Sets the tag from a thread of its own until it is stopped, or the process ends in whatever way.

    Args:
        client: MLflow's, not patient: a server that is away is tried again at the next beat.
        run: id.
    """

    def __init__(self, client: Any, run: str) -> None:
        self._client, self._run = client, run
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def _beat(self) -> None:
        while not self._stopped.wait(EVERY):
            with contextlib.suppress(Exception):  # of MLflow, requests and what is below them
                self._client.set_tag(self._run, ALIVE, sign())

    def stop(self) -> None:
        """No more signs; a second call does nothing."""
        self._stopped.set()


class Watch:
    """Tells silent runs from those alive, and remembers what it has seen."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}

    def silent(self, runs: Sequence[Any], again: Callable[[str], Any]) -> set[str]:
        """The ids of those runs that are silent; a run that never gave a sign is not.

        Args:
            runs: MLflow's, of other hosts.
            again: reads a run anew, by its id.
        """
        suspects = {run.info.run_id: run.data.tags[ALIVE] for run in runs if is_old(run.data.tags.get(ALIVE, ""))}
        now = time.monotonic()
        for id, shown in suspects.items():
            if self._seen.get(id, ("", 0.0))[0] != shown:
                self._seen[id] = shown, now
        end = max((self._seen[id][1] + WATCH for id in suspects), default=0.0)
        if end > time.monotonic():
            logger.warning(
                f"{len(suspects)} runs of other machines have given no sign of life for minutes; watching them for "
                f"{end - time.monotonic():.0f} s before they are taken for gone"
            )
        while suspects:
            for id, shown in list(suspects.items()):
                run = again(id)
                if run.info.status != "RUNNING" or run.data.tags.get(ALIVE) != shown:
                    del suspects[id]
            if time.monotonic() >= end:
                break
            time.sleep(min(LOOK, max(end - time.monotonic(), 0.0)))
        return set(suspects)


def is_old(shown: str) -> bool:
    """Whether a sign of life is old by this host's clock."""
    return shown.isdigit() and time.time() - int(shown) / 1000 > STALE
