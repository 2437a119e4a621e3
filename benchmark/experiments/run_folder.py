"""The folder of a run: its artifacts, its labels and its curves, written whole or not at all."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from benchmark.common.errors import DataError
from benchmark.common.files import read_json
from benchmark.tracking import (
    Client,
    Curve,
    DatasetFact,
    Fact,
    LiveRun,
    RunInfo,
    checked_key,
    checked_metrics,
    checked_text,
    fetch_file,
)
from benchmark.tracking.limits import TAG_LENGTH

RECORD, CURVE, TRACEBACK = "run.json", "curve.json", "traceback.txt"
RUNS, UNFINISHED = "runs", "unfinished"
LEGEND_METHOD, LEGEND_FOLD = 28, 16  # characters of a run's name in the MLflow UI


def folder_of(results: Path, key: str) -> Path:
    """Return the folder of a job's run; it exists once the run has ended."""
    return results.resolve() / RUNS / key


def attempt_folders(results: Path) -> list[tuple[Path, str, int]]:
    """Return the folders that workers write runs into, each with the job's key and the attempt."""
    named = ((path, re.fullmatch(r"\.(\w+)-(\d+)-\d+", path.name)) for path in (results / RUNS).glob(".*"))
    return [(path, match[1], int(match[2])) for path, match in named if match]


def savepoints_of(results: Path, key: str) -> Path:
    """Return the folder with the savepoints of an unfinished job."""
    return results / UNFINISHED / key[:16]


class Files(Protocol):
    """The files of a run: ``files / name`` is the path of one on this machine, which may not exist."""

    def __truediv__(self, name: str, /) -> Path: ...


class RunFolder:
    """The run of a claimed job, as it is written by its worker.

    Args:
        results: the results folder.
        key: key of the job.
        attempt: number of the claim; another worker that has the same job writes into another folder.
        info: labels.
        live: the run in MLflow while it is trained; None for none.
    """

    def __init__(self, results: Path, key: str, attempt: int, info: RunInfo, live: LiveRun | None = None) -> None:
        self.info, self.live = info, live
        self.tags: dict[str, str] = {}
        self.metrics: dict[str, float] = {}
        self._curve: list[tuple[int, dict[str, float]]] = []
        self._final = folder_of(results, key)
        self.path = self._final.with_name(f".{key}-{attempt}-{os.getpid()}")
        """Where artifacts are written."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)

    def log(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics of one step; a NaN (a class that is absent) is left out.

        Raises:
            TrackingError: a name is refused or a value is infinite; then none of them is logged.
        """
        values = checked_metrics(metrics)
        self._curve.append((step, values))
        self.metrics |= values
        if self.live:
            self.live.log(values, step)

    def tag(self, key: str, value: Fact) -> None:
        """Set a tag, which may change, unlike a fact.

        Raises:
            TrackingError: it is longer than MLflow keeps, or its name is refused.
        """
        self.tags[checked_key(key)] = checked_text(key, value, TAG_LENGTH)

    def commit(self, status: str) -> Path:
        """Write labels and curves, and move the folder to its place, where it replaces an earlier one.

        Args:
            status: FINISHED or FAILED.
        """
        record = {"status": status, **asdict(replace(self.info, dataset=None)), "end_tags": self.tags}
        record |= {"dataset": asdict(self.info.dataset) if self.info.dataset else None}
        (self.path / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        (self.path / CURVE).write_text(json.dumps(self._curve), encoding="utf-8")
        for path in self.path.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        shutil.rmtree(self._final, ignore_errors=True)
        self.path.replace(self._final)
        return self._final

    def discard(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.path, ignore_errors=True)


def read_run(folder: Path) -> tuple[RunInfo, dict[str, Any], Curve]:
    """Return labels, record and curves of a run.

    Raises:
        DataError: the folder holds no run.
    """
    record, curve = read_json(folder / RECORD), read_json(folder / CURVE, list)
    try:
        dataset = DatasetFact(**record["dataset"]) if record["dataset"] else None
        info = RunInfo(record["name"], record["facts"], record["tags"], dataset, record["started"])
        return info, record, [(int(step), dict(metrics)) for step, metrics in curve]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}: no record of a run ({type(error).__name__}: {error})") from error


class FetchedFiles:
    """Files of a run that are on an MLflow server: each is downloaded when it is first read.

    Args:
        folder: folder that they are kept in.
        run: id in MLflow.
    """

    def __init__(self, folder: Path, client: Client, run: str) -> None:
        self._folder, self._client, self._run = folder, client, run

    def __truediv__(self, name: str, /) -> Path:
        path = self._folder / name
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise DataError(f"{name!r} is not the name of a file of a run")
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            fetch_file(self._client, self._run, name, self._folder)
        return path

    def __str__(self) -> str:
        return str(self._folder)


def legend_name(facts: Mapping[str, str]) -> str:
    """Return the name of a run in the MLflow UI, whose legends have room for little more."""
    method, bracket, values = facts.get("method", "").partition("[")
    name = method.rpartition(":")[2]
    label = name + bracket + values
    if bracket and len(label) > LEGEND_METHOD:
        label = f"{name}[…]"
    return f"{_cut(label, LEGEND_METHOD)} · {_cut(facts.get('fold', ''), LEGEND_FOLD)} · s{facts.get('seed')}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
