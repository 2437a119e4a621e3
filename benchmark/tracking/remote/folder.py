"""The files of a run that lie on a server: each is fetched when it is asked for, and kept in the results folder."""

import re
import shutil
import tempfile
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.errors import TrackingError
from benchmark.tracking.database import told


class RemoteFiles:
    """The files of one run; ``files / name`` is the path of one on this machine, which does not exist if the run has
    none of that name.

    Args:
        client: MLflow's, patient.
        run: id.
        place: the folder with what was fetched of all runs.

    Raises:
        TrackingError: the id is none, or could lead out of the folder; by `/`, if a file cannot be fetched.
    """

    def __init__(self, client: Any, run: str, place: Path) -> None:
        if not re.fullmatch("[0-9a-f]{1,64}", run):
            raise TrackingError(f"the tracking server names a run {run[:80]!r}, which is no id of MLflow's")
        self._client, self._run, self._place = client, run, place
        self._folder = place / run

    def __truediv__(self, name: str, /) -> Path:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise TrackingError(f"{name!r} is no name of a file of run {self._run}")
        kept = self._folder / path
        if not kept.is_file() and name in self._sizes:
            with told(f"the file {name} of run {self._run} cannot be fetched"):
                self._fetch(name, kept)
        return kept

    def __str__(self) -> str:
        return f"the files of run {self._run}, kept in {self._folder}"

    def sizes(self) -> dict[str, int]:
        """Bytes of all files, by name; nothing is fetched."""
        return dict(self._sizes)

    def _fetch(self, name: str, kept: Path) -> None:
        """Whole or not at all, whoever is killed when."""
        self._place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._place, prefix=".fetching-") as folder:
            fresh = Path(self._client.download_artifacts(self._run, name, folder))
            kept.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(kept)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        with told(f"the files of run {self._run} cannot be listed"):
            return self._listed("")

    def _listed(self, folder: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for entry in self._client.list_artifacts(self._run, folder or None):
            if entry.is_dir:
                found |= self._listed(entry.path)
            else:
                found[entry.path] = int(entry.file_size or 0)
        return found


def forget(place: Path, run: str) -> None:
    """Remove what was fetched of a run."""
    if re.fullmatch("[0-9a-f]{1,64}", run):
        shutil.rmtree(place / run, ignore_errors=True)
