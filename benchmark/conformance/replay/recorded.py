"""A finished run as its folder holds it, and how it, or a cell of a table, is trained again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmark.common.errors import DataError, SettingsError, TrackingError, TrainingError
from benchmark.common.files import read_json
from benchmark.data.datasets import is_here
from benchmark.experiments.checkpoint_records import SETTINGS
from benchmark.experiments.jobs import Bench, ExperimentPlan, Job
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_folder import RECORD
from benchmark.experiments.run_record import RunRecord
from benchmark.experiments.session import Ended, Session
from benchmark.training.config import recipe_of
from protocols.base import PARTIAL
from protocols.files import load, path_of


@dataclass(frozen=True)
class Stored:
    """One run.

    Attributes:
        record: params, metrics, tags and the folder of its files.
        settings: content of ``settings.json``.
        source: place of its data then, "default" for the default place.
    """

    record: RunRecord
    settings: Mapping[str, Any]
    source: str

    @property
    def place(self) -> tuple[str, str, int]:
        """The method with its hyperparameters, the fold, and the seed."""
        facts = self.record.facts
        return facts["method"], facts["fold"], int(facts["seed"])

    @property
    def device(self) -> str:
        """``cpu``, ``mps``, or the name of a GPU."""
        return self.record.tags.get("device", "cpu")


def stored_run(results: ResultsFolder, prefix: str) -> Stored:
    """Return a finished run by the first characters of its job's key or of its id in MLflow.

    Raises:
        TrackingError: there is no such run, or it has no settings.
        DataError: its files are damaged.
    """
    record = results.find(prefix)
    path = record.artifacts / SETTINGS
    if not path.is_file():
        raise TrackingError(
            f"the run {record.id} has no {SETTINGS} in {record.artifacts}, without which none is trained"
        )
    source = (read_json(record.artifacts / RECORD).get("dataset") or {}).get("source", "")
    return Stored(record, read_json(path), source)


def plan_of(run: Stored, results: Path, stores: Path, data: Path | None = None, protocol: str = "") -> ExperimentPlan:
    """Return the plan that a run was a part of.

    Args:
        results: folder to train it again in.
        data, protocol: places now; "" or None for those of then.

    Raises:
        DataError, SettingsError: they are not there any more.
    """
    facts = run.record.facts
    protocol = protocol or run.settings.get("asked", facts["protocol"])
    if not path_of(protocol).is_file():
        raise SettingsError(f"the protocol of the run, {protocol}, is not here; give its file (--protocol)")
    return ExperimentPlan(
        protocol,
        data or data_place(run.source, load(protocol).dataset),
        results,
        stores,
        recipe_of(run.settings.get("recipe")),
        accelerator_of(run.device),
        facts["fingerprint"].startswith(PARTIAL),
    )


def data_place(source: str, dataset: str) -> Path | None:
    """Return where a run's data were, None for the default place.

    Args:
        source: `DatasetFact.source`; "" where it is not known.
        dataset: its name.

    Raises:
        DataError: they are not there any more.
    """
    place = Path(source) if source not in ("", "default") else None
    if place is None and is_here(dataset, None):
        return None
    if place is None or not place.exists():
        where = place or f"the default place of {dataset}"
        raise DataError(f"the data of the run were in {where}, which is not here; say where they are now (--data)")
    return place


def accelerator_of(device: str) -> str:
    """Return Lightning Fabric's name of the kind of device a run was tagged with; "auto" where there is none here."""
    if device == "cpu":
        return "cpu"
    kind = "mps" if device == "mps" else "cuda"
    available = torch.backends.mps.is_available() if kind == "mps" else torch.cuda.is_available()
    return kind if available else "auto"


def jobs_of(bench: Bench, label: str, fold: str, seed: int, inside: str = "") -> list[Job]:
    """Return the job of a cell, last; before it the source-only job that it starts from, if it does.

    Args:
        label: method with its hyperparameters.
        inside: the outer fold of a fold that is inside another; "" for none.

    Raises:
        SettingsError: the job cannot be run here.
    """
    jobs = [job for job in bench.jobs([label], [seed], [inside or fold], nested=bool(inside)) if job.fold == fold]
    if not jobs or jobs[-1].skip:
        raise SettingsError(f"{label} cannot be run on {fold}: {jobs[-1].skip if jobs else 'there is no such fold'}")
    return jobs


def retrain(
    bench: Bench,
    jobs: Sequence[Job],
    folder: Path,
    on_progress: Callable[[Job, float], None],
    on_end: Callable[[Ended], None],
) -> Mapping[str, RunRecord]:
    """Train jobs in this process, each after the one that it starts from; return their runs by key.

    Args:
        folder: results folder of these runs.
        on_progress, on_end: see `Session.run`.

    Raises:
        TrainingError: one of them failed.
    """
    session, ends = Session(replace(bench.plan, results=folder), bench=bench), list[Ended]()

    def end(ended: Ended) -> None:
        on_end(ended)
        ends.append(ended)

    session.run(jobs, on_progress, end, publish=False)  # the folder is removed with all that it holds
    if errors := [ended.error for ended in ends if ended.error]:
        raise TrainingError(f"the run cannot be trained again: {errors[0]}")
    return session.results.finished(session.experiment)
