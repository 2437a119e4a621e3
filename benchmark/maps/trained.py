"""Finished runs as they predict: the method with the weights of the run's checkpoint, and what images it takes."""

import ast
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from benchmark.common.errors import DataError, SettingsError, TrackingError
from benchmark.common.files import read_json, read_tensors
from benchmark.data.scaling import Scaling
from benchmark.experiments.checkpoint_records import SETTINGS, matrices_at
from benchmark.experiments.image_record import ImageRecord, read_record
from benchmark.experiments.labels import parse_label
from benchmark.experiments.provenance import code_version
from benchmark.experiments.request import INNER, keys
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_folder import Files
from benchmark.experiments.run_record import RunRecord
from benchmark.maps.coding import MASKS, legend_for
from benchmark.maps.legend import Legend
from benchmark.training.config import TrainingConfig, recipe_of
from benchmark.training.devices import make_fabric
from benchmark.training.trainer import Stepper, load_state
from methods.base import Method, Needs, Progress, TargetBatch, Task

if TYPE_CHECKING:
    from benchmark.training.fold_data import FoldData

BEST = "best:"
WEIGHTS = "weights.safetensors"
SOURCE_VAL = "selected/source_val_miou"


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A finished run, ready to predict.

    Attributes:
        record: what the results folder says of it.
        images: what images it was trained on.
        stepper: its method on the device, with the weights of the chosen checkpoint; see `method`.
        scaling: scaling of stored numbers.
        legend: classes of its maps.
        values: (C,) uint8, value in a map of each output of the network.
        weights: digest of the file of its weights.
    """

    record: RunRecord
    images: ImageRecord
    stepper: Stepper
    scaling: Scaling
    legend: Legend
    values: NDArray[np.uint8]
    weights: str

    @property
    def method(self) -> Method:
        """The method, in eval mode."""
        return self.stepper.method

    @property
    def adapts(self) -> bool:
        """The method learns from what it predicts."""
        return self.method.needs is Needs.TEST_STREAM

    @property
    def multiple(self) -> int:
        """Number of pixels by which a window may be shifted without another phase of the network's strides."""
        return int(getattr(self.method.network, "multiple", 1))

    @property
    def mean(self) -> torch.Tensor:
        """Mean (C, 1, 1) of the source's training patches, on the scale 0 to 255."""
        mean: torch.Tensor = self.method.network.mean[0]
        return mean

    @property
    def confusion(self) -> NDArray[np.int64] | None:
        """Confusion matrix (C + 1, C) of the test of its fold at the chosen checkpoint; None where it is not kept."""
        zones = matrices_at(self.record.artifacts, int(self.record.metrics.get("selected/step", 0)))
        return np.sum(list(zones.values()), axis=0) if zones else None

    @property
    def facts(self) -> dict[str, str]:
        """The facts that a map says of the run, see `benchmark.maps.map_file.FACTS`."""
        facts = self.record.facts
        first, last = self.images.dates
        times = sorted({domain.partition("@")[2] for domain in self.images.domains} - {""})
        when = f"{first} to {last}" if first else ", ".join(times)  # days are not always known
        places = ", ".join(self.images.places)
        return {
            "run": self.record.id,
            "method": facts["method"],
            "protocol": f"{facts.get('protocol', '')} v{facts.get('protocol_version', '')}",
            "fold": facts["fold"],
            "seed": facts["seed"],
            "training_domains": f"{places} ({when})" if when else places,
            "weights": f"{self.weights}, step {int(self.record.metrics.get('selected/step', 0))}",
            "bands": ", ".join(self.images.bands),
            "software": f"landshift {code_version()}",
        }

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C, H, W) float32 of images (N, bands, H, W) on the scale 0 to 255, on the device."""
        with self.stepper.fabric.autocast():
            return self.method.checked_logits(TargetBatch.of(images)).float()

    def adapt(self, images: torch.Tensor) -> None:
        """Let a test-time method learn from images that were just predicted."""
        with self.stepper.fabric.autocast():
            self.method.adapt(TargetBatch.of(images))

    def arrive(self, step: int, steps: int) -> None:
        """Address what the next batch draws."""
        self.stepper.arrive(Progress(step, steps))


class _NoImages:
    """The part of a fold that `Stepper` needs, of a run whose data are not here."""

    def __init__(self, images: ImageRecord) -> None:
        self.task = Task(images.classes.names, images.bands)
        self._domains = images.domains

    def task_of(self, needs: Needs) -> Task:
        return replace(self.task, domains=self._domains)

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return any: those of the source are among the weights."""
        return np.zeros(len(self.task.bands)), np.ones(len(self.task.bands))

    def series_input(self) -> None:
        """Return nothing: maps are made of images alone."""


def find_run(results: ResultsFolder, name: str, protocol: str = "", comparison: str = "") -> RunRecord:
    """Return a finished run.

    Args:
        name: first characters of its id; or ``best:METHOD`` or ``best:METHOD@FOLD`` for the one with the highest mean
            IoU on source validation among the method's runs, of all seeds and tuned settings.
        protocol: name of the protocol of which the best is taken; "" where the folder has runs of one.
        comparison: first characters of its key, where the protocol has several.

    Raises:
        TrackingError: there is none, or it is not clear which is meant.
    """
    if not name.startswith(BEST):
        return results.find(name)
    method, at, fold = name.removeprefix(BEST).partition("@")
    if not method or (at and not fold):
        raise TrackingError(f"{name!r} names no run; give best:METHOD or best:METHOD@FOLD")
    runs = [run for experiment in results.experiments() for run in _runs_of(results, experiment, method)]
    runs = [run for run in runs if run.facts.get("protocol") == protocol or not protocol]
    runs = [run for run in runs if run.facts.get("comparison", "").startswith(comparison)]
    if not runs:
        raise TrackingError(f"there is no finished run of {method!r} in {results.folder} (see landshift status)")
    kinds = sorted({(run.facts["protocol"], run.facts["comparison"]) for run in runs})
    if len(kinds) > 1:
        words = ", ".join(f"{key} of {of}" for of, key in kinds)
        raise TrackingError(f"{method} is in several comparisons: {words}; say which (--protocol, --comparison)")
    of_fold = [run for run in runs if run.facts["fold"] == fold or not fold]
    if not of_fold:
        folds = ", ".join(sorted({run.facts["fold"] for run in runs}))
        raise TrackingError(f"no run of {method} is finished on the fold {fold!r}, but on {folds}")
    return max(of_fold, key=lambda run: (run.metrics.get(SOURCE_VAL, -1.0), run.id))


def _runs_of(results: ResultsFolder, experiment: str, method: str) -> list[RunRecord]:
    """Return the finished runs of a method, in any setting; those of a search or inside a fold are left out."""
    if experiment.endswith(INNER) or not keys(results, experiment):
        return []
    return [
        run
        for run in results.finished(experiment).values()
        if method in (run.facts.get("method"), run.facts.get("method", "").partition("[")[0])
    ]


def load_run(record: RunRecord, accelerator: str = "auto", coding: str = MASKS) -> TrainedRun:
    """Return a finished run with its method on a device, in eval mode; the data it was trained on are not needed.

    Args:
        accelerator: Lightning Fabric's: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        coding: coding of the values of its maps, see `legend_for`.

    Raises:
        DataError: its files are missing or damaged, or made by a version that kept no record of the images.
        MethodError, NetworkError: its method is not installed, or its network cannot be built.
        SettingsError: there is no such accelerator or coding.
    """
    images = read_record(record.artifacts)
    legend, values = legend_for(images.classes, coding)
    setting = parse_label(record.facts["method"])
    recipe = _recipe(record.artifacts)
    if recipe.network.series:
        raise SettingsError(
            f"{record.facts['method']} sees series of satellite images, and maps are made of images alone"
        )
    stepper = Stepper(
        _fabric(accelerator, recipe.precision),
        setting.method,
        setting.hyperparameters,
        cast("FoldData", _NoImages(images)),
        setting.recipe(recipe),
        int(record.facts["seed"]),
        lambda metrics, step: None,
    )
    path = record.artifacts / WEIGHTS
    state, scaling = read_tensors(path), _scaling(path)
    try:
        load_state(stepper.method, state)
    except (RuntimeError, KeyError) as error:
        raise DataError(
            f"{path}: does not fit {record.facts['method']} as it is installed, most likely changed since: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    stepper.method.eval()
    with path.open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return TrainedRun(record, images, stepper, scaling, legend, values, weights)


def _recipe(files: Files) -> TrainingConfig:
    """Return the recipe of a run; the encoder's first weights, which are replaced, need not be here."""
    recipe = recipe_of(read_json(files / SETTINGS).get("recipe"))
    return replace(recipe, network=replace(recipe.network, encoder_weights=""))


def _fabric(accelerator: str, precision: str) -> Any:
    try:
        return make_fabric(accelerator, precision)
    except Exception as error:  # Lightning raises several kinds, one of which is its own
        raise SettingsError(f"cannot predict with --accelerator {accelerator}: {str(error).strip()}") from error


def _scaling(path: Path) -> Scaling:
    """Return the scaling in the metadata of a file of weights, as `Scaling.as_texts` gave it."""
    try:
        with safe_open(path, "pt") as file:
            texts: Mapping[str, str] = file.metadata() or {}
        sides: Sequence[tuple[float, ...]] = [
            tuple(map(float, ast.literal_eval(texts.get(name, "()")))) for name in ("low", "high")
        ]
    except (SafetensorError, OSError, ValueError, TypeError, SyntaxError) as error:
        raise DataError(f"{path}: the scaling of the images in it cannot be read ({error})") from error
    return Scaling(*sides)
