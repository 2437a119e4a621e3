"""The files of runs: stored in MLflow, and fetched from it."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmark.tracking.client import Client, one_line_errors


def store_files(client: Client, run: str, uri: str, paths: Sequence[Path]) -> None:
    """Store files and folders as artifacts; in the results folder as hard links, which take no space."""
    place = client.artifact_folder(uri)
    for path in paths:
        if place is None:
            if path.is_dir():
                client.api.log_artifacts(run, str(path), path.name)
            else:
                client.api.log_artifact(run, str(path))
            continue
        place.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, place / path.name, copy_function=_link, dirs_exist_ok=True)
        else:
            _link(path, place / path.name)


def fetch_file(client: Client, run: str, name: str, folder: Path) -> bool:
    """Download one artifact of a run into a folder; False if the run has none of this name.

    Raises:
        TrackingError: it cannot be downloaded.
    """
    fresh = folder / f".fetching-{os.getpid()}"
    with one_line_errors(f"the file {name} of the run {run} cannot be downloaded"):
        place = name.rpartition("/")[0]
        if all(entry.path != name for entry in client.api.list_artifacts(run, place or None)):
            return False
        fresh.mkdir(parents=True, exist_ok=True)
        try:
            found = Path(client.api.download_artifacts(run, name, str(fresh)))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            found.replace(folder / name)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return True


def fetch_run(client: Client, run: str, folder: Path) -> None:
    """Download all artifacts of a run, in the place of a folder.

    Raises:
        TrackingError: they cannot be downloaded.
    """
    fresh = folder.with_name(f".fetching-{os.getpid()}")
    with one_line_errors(f"the files of the run {run} cannot be downloaded"):
        fresh.mkdir(parents=True, exist_ok=True)
        try:
            client.api.download_artifacts(run, "", str(fresh))
            shutil.rmtree(folder, ignore_errors=True)
            fresh.replace(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _link(path: str | Path, copy: str | Path) -> None:
    Path(copy).unlink(missing_ok=True)
    try:
        os.link(path, copy)
    except OSError:  # another file system, or one without links
        shutil.copy2(path, copy)
