"""A finished run as its folder holds it, and the plan that trains it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.common.errors import DataError, SettingsError, TrackingError
from benchmark.common.files import read_json
from benchmark.data.datasets import is_here
from benchmark.experiments.jobs import Plan
from benchmark.experiments.records import SETTINGS
from benchmark.experiments.results import ResultsFolder, RunRecord
from benchmark.experiments.run_folder import RECORD
from benchmark.training.config import recipe_of
from protocols.base import PARTIAL
from protocols.files import load, path_of


@dataclass(frozen=True)
class Stored:
    """One run.

    Attributes:
        record: params, metrics, tags and the folder of its files.
        settings: of ``settings.json``.
        source: where its data lay, "default" for their default place.
    """

    record: RunRecord
    settings: Mapping[str, Any]
    source: str

    @property
    def label(self) -> str:
        """The method with its hyperparameters."""
        return self.record.facts["method"]

    @property
    def fold(self) -> str:
        return self.record.facts["fold"]

    @property
    def seed(self) -> int:
        return int(self.record.facts["seed"])

    @property
    def inside(self) -> str:
        """Of a fold inside a fold, the outer one; else ""."""
        return self.record.facts.get("inside", "")

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


def plan_of(run: Stored, results: Path, stores: Path, data: Path | None = None, protocol: str = "") -> Plan:
    """Return the plan that a run was a part of.

    Args:
        results: where to train it again.
        data, protocol: where they lie now; "" or None for where they lay then.

    Raises:
        DataError, SettingsError: they do not lie there any more.
    """
    facts = run.record.facts
    asked = protocol or run.settings.get("asked", facts["protocol"])
    if not path_of(asked).is_file():
        raise SettingsError(f"the protocol of the run, {asked}, is not here; give its file (--protocol)")
    partial = facts["fingerprint"].startswith(PARTIAL)
    return Plan(
        protocol=asked,
        data=data or data_place(run.source, load(asked).dataset),
        results=results,
        stores=stores,
        recipe=recipe_of(run.settings.get("recipe")),
        accelerator=accelerator_of(run.device),
        partial=partial,
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
        raise DataError(f"the data of the run lay in {where}, which is not here; say where they lie now (--data)")
    return place


def accelerator_of(device: str) -> str:
    """Return Lightning Fabric's name of the kind of device a run was tagged with; "auto" where there is none here."""
    if device == "cpu":
        return "cpu"
    kind = "mps" if device == "mps" else "cuda"
    here = torch.backends.mps.is_available() if kind == "mps" else torch.cuda.is_available()
    return kind if here else "auto"
