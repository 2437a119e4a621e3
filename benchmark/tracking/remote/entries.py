"""The entries of a journal: how they are written, and what each makes of the run on the server.

Each may be delivered again, because an answer may have been lost: the server keeps one value of a param or a tag, one
file of a name, one end, and of metrics one point for each key, time stamp, step and value.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.errors import TrackingError


def metrics_entry(metrics: Sequence[Any]) -> dict[str, Any]:
    """Of MLflow's `Metric`s, with the time stamps they have now."""
    return {"do": "metrics", "values": [[one.key, one.value, one.timestamp, one.step] for one in metrics]}


def tag_entry(key: str, value: str) -> dict[str, Any]:
    """A tag."""
    return {"do": "tag", "key": key, "value": value}


def file_entry(path: PurePosixPath) -> dict[str, Any]:
    """A file among the artifacts, by its path below them."""
    return {"do": "file", "path": str(path)}


def end_entry(status: str, milliseconds: int) -> dict[str, Any]:
    """The end of the run, and when that was since the epoch."""
    return {"do": "end", "status": status, "at": milliseconds}


def is_end(entry: Mapping[str, Any]) -> bool:
    """Whether an entry is the end of its run."""
    return entry.get("do") == "end"


def prepared(client: Any, run: str, files: Path, entry: Mapping[str, Any]) -> Callable[[], object]:
    """The call that tells an entry to the server.

    Args:
        client: MLflow's, which need not be patient.
        run: id.
        files: the folder that a file lies in.

    Raises:
        TrackingError: it is no entry.
    """
    from mlflow.entities import Metric

    try:
        match entry["do"]:
            case "metrics":
                values = [
                    Metric(str(key), float(value), int(at), int(step)) for key, value, at, step in entry["values"]
                ]
                return partial(client.log_batch, run, metrics=values)
            case "tag":
                return partial(client.set_tag, run, str(entry["key"]), str(entry["value"]))
            case "file":
                return _upload(client, run, files, PurePosixPath(entry["path"]))
            case "end":
                return partial(client.set_terminated, run, str(entry["status"]), int(entry["at"]))
            case other:
                raise TrackingError(f"the journal of run {run} asks for {other!r}, which is not known")
    except (KeyError, TypeError, ValueError) as error:
        raise TrackingError(f"the journal of run {run} is damaged: {error!r}") from error


def _upload(client: Any, run: str, files: Path, path: PurePosixPath) -> Callable[[], object]:
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise TrackingError(f"the journal of run {run} names a file outside of its folder: {path}")
    folder = None if path.parent == PurePosixPath(".") else str(path.parent)
    return partial(client.log_artifact, run, str(files / path), folder)
