"""Runs in MLflow: their files are stored and fetched; they are found, tagged, closed, deleted.

Every function raises a `TrackingError` of one line where MLflow cannot be used.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark.tracking.client import Client, one_line_errors


def store_files(client: Client, run: str, uri: str, paths: Sequence[Path]) -> None:
    """Store files and folders as artifacts; in the results folder as hard links, which take no space."""
    place = client.artifact_folder(uri)
    for path in paths:
        if place is None:
            client.api.log_artifact(run, str(path))
        elif path.is_dir():
            shutil.copytree(path, place / path.name, copy_function=_link, dirs_exist_ok=True)
        else:
            place.mkdir(parents=True, exist_ok=True)
            _link(path, place / path.name)


def _link(path: str | Path, copy: str | Path) -> None:
    Path(copy).unlink(missing_ok=True)
    try:
        os.link(path, copy)
    except OSError:  # another file system, or one without links
        shutil.copy2(path, copy)


def fetch_file(client: Client, run: str, name: str, folder: Path) -> bool:
    """Download one artifact of a run into a folder, or all, if the name is "", in its place; False if there is none."""
    with one_line_errors(f"{name or 'the files'} of the run {run} cannot be downloaded"):
        if name and all(one.path != name for one in client.api.list_artifacts(run, name.rpartition("/")[0] or None)):
            return False
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as fresh:
            place = Path(fresh, "run")  # the temporary folder itself is closed to others
            place.mkdir()
            downloaded = Path(client.api.download_artifacts(run, name, str(place)))
            if not name:
                shutil.rmtree(folder, ignore_errors=True)
            downloaded.replace(folder / name)
    return True


def runs_of(client: Client, experiment: str, identity: str) -> list[str]:
    """Return the runs that an experiment shows of a job, of which all but one are left of killed processes."""
    place = client.experiment(experiment)
    with one_line_errors(f"the runs of the experiment {experiment!r} cannot be read"):
        return [run.info.run_id for run in client.api.search_runs([place], f"tags.identity = '{identity}'")]


def delete_run(client: Client, run: str) -> None:
    """Delete a run with its files, if MLflow has it."""
    with _changed(run, "deleted"):
        info = client.api.get_run(run).info
        if info.lifecycle_stage != "deleted":
            client.api.delete_run(run)
        if folder := client.artifact_folder(info.artifact_uri):
            shutil.rmtree(folder.parent, ignore_errors=True)


def close_run(client: Client, run: str, error: str, status: str = "KILLED") -> None:
    """End a run whose worker is dead, if MLflow has it."""
    with _changed(run, "closed"):
        client.api.set_tag(run, "error", error)
        client.api.set_terminated(run, status)


def tag_run(client: Client, run: str, name: str, value: str | None) -> None:
    """Set a tag of a run, if MLflow has it; None deletes the tag."""
    with _changed(run, "tagged"):
        if value is None:
            client.api.delete_tag(run, name)
        else:
            client.api.set_tag(run, name, value)


@contextmanager
def _changed(run: str, done: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    with one_line_errors(f"the run {run} cannot be {done}"):
        try:
            yield
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # the run was deleted
                raise
