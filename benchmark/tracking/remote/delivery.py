"""Telling a journal to the server, in order, as far as it goes."""

import time
from pathlib import Path
from typing import Any

from benchmark.tracking.remote.away import why_away
from benchmark.tracking.remote.entries import end_entry, is_end, prepared, tag_entry
from benchmark.tracking.remote.journal import Journal


class Away(Exception):  # noqa: N818 - no error, but a reason to try again
    """The server is away; the message says how it looks."""


class Delivery:
    """How much of a journal the server has been told.

    Args:
        client: MLflow's, not patient.
        run: id.
        journal: read from its beginning.
        files: the folder of what is uploaded.
    """

    def __init__(self, client: Any, run: str, journal: Journal, files: Path) -> None:
        self._client, self._run, self._journal, self._files = client, run, journal, files
        self._place = 0
        self.count = 0
        self.refused: list[str] = []
        self.ended = False

    def go_on(self) -> None:
        """Deliver what is there by now. What the server refuses is left out and kept in mind, so that the run does not
        end as finished; whoever is at it says how it ends instead.

        Raises:
            Away: it cannot go on for now.
            TrackingError: the journal is damaged.
        """
        for entry, after in self._journal.entries(self._place):
            lost = is_end(entry) and entry.get("status") == "FINISHED" and bool(self.refused)
            if not lost:
                self._tell(entry)
                self.ended = self.ended or is_end(entry)
            self._place = after
            self.count += 1

    def give_up(self) -> None:
        """End a run as killed of which something was refused, and which nobody is at any more.

        Raises:
            Away: it cannot be told for now.
        """
        self._tell(tag_entry("error", f"the tracking server refused {self.refused[0]}"))
        self._tell(end_entry("KILLED", int(time.time() * 1000)))
        self.ended = True

    def _tell(self, entry: dict[str, Any]) -> None:
        call = prepared(self._client, self._run, self._files, entry)
        try:
            call()
        except Exception as error:  # of MLflow, requests, urllib3 and the disk
            if why := why_away(error):
                raise Away(why) from error
            what = entry.get("path") or entry.get("key") or entry["do"]
            self.refused.append(f"{what}: {' '.join(str(error).split())[:200]}")
