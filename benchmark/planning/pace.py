"""How long a run of each method takes: measured where there is a run of it, else by its ratio to source-only."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.conformance.costs import Cost
from benchmark.data.shapes import Shape
from benchmark.experiments.labels import control_label, digest_at_hand, parse_label
from benchmark.experiments.results import RunRecord
from benchmark.planning.outline import Outline, Sizes
from benchmark.training.config import TrainingConfig
from benchmark.training.target_sample import PATCHES
from benchmark.training.trainer import VALIDATION_PATCHES
from methods.base import Method, Needs

# What the time of a step and of a patch depends on, of what a run knows of itself.
RECIPE_FACTS = ("network", "encoder_depth", "batch_size", "crop", "precision", "fingerprint")


@dataclass(frozen=True)
class Pace:
    """Seconds of one method.

    Attributes:
        step: of an optimiser step; of a method that learns from the test stream, of a batch of it.
        patch: of a whole patch that is only predicted, with all that surrounds the evaluation.
        words: where that is from.
    """

    step: float
    patch: float
    words: str


@dataclass(frozen=True)
class Work:
    """What one run does: steps (or batches of the stream), and whole patches that are only predicted."""

    steps: float
    patches: float

    def seconds(self, pace: Pace) -> tuple[float, float]:
        """Of training, and of evaluation."""
        return self.steps * pace.step, self.patches * pace.patch


def work_of(label: str, sizes: Sizes, few: int, recipe: TrainingConfig, shape: Shape) -> Work:
    """What a run of a method on a fold of these sizes does.

    Every checkpoint is scored on source_val and on target_test; it predicts the fixed sample for the selection rules,
    and the few labelled patches; some methods look at losses on a sample of source_val now and then.
    """
    method = parse_label(label).method
    _, validation, adapt, test = sizes
    if method.needs is Needs.TEST_STREAM:  # predicted once more after each update; no checkpoints but the source model
        return Work(math.ceil(test / recipe.batch_size), validation + test)
    looks = not method.needs.starts_from_source and method.validate is not Method.validate
    window = (side_of(recipe, shape) / shape.size) ** 2
    sample = (min(PATCHES, adapt) + min(PATCHES, validation)) * window if adapt else 0
    set_aside = 0 if method.needs in (Needs.FEW_TARGET_LABELS, Needs.TARGET_LABELS) else few
    looked_at = looks * method.validations * min(VALIDATION_PATCHES, validation)
    return Work(recipe.steps, recipe.checkpoints * (validation + test + sample + set_aside) + looked_at)


def side_of(recipe: TrainingConfig, shape: Shape) -> int:
    """The side of what is trained on, in pixels."""
    return min(recipe.crop or shape.size, shape.size)


@dataclass(frozen=True)
class Paces:
    """Of every method.

    Attributes:
        measured: of labels with finished runs.
        base: of source-only; None where nothing is known of it.
        costs: of a step of each method by name, over one of source-only.
        stream: how much larger a batch of the test stream is than one of the training: whole patches over crops.
    """

    measured: Mapping[str, Pace]
    base: Pace | None
    costs: Mapping[str, Cost]
    stream: float

    def of(self, label: str) -> Pace | None:
        """By the label's own runs, else those of the method with other hyperparameters, else by its ratio."""
        name = label.partition("[")[0]
        if label in self.measured:
            return self.measured[label]
        if name in self.measured:
            return self.measured[name]
        if self.base is None:
            return None
        cost = self.costs.get(name)
        ratio = cost.time if cost and name != control_label() else 1.0
        if parse_label(label).method.needs is Needs.TEST_STREAM:
            ratio *= self.stream
        words = f"{ratio:.2f} × source-only" + ("" if cost else ", assumed")
        return Pace(self.base.step * ratio, self.base.patch, self.base.words if name == control_label() else words)


def measured_paces(
    records: Sequence[RunRecord], outline: Outline, recipe: TrainingConfig
) -> tuple[dict[str, Pace], str, list[RunRecord]]:
    """Of the finished runs with this recipe, by label and by the method's name; the device they ran on; and the runs.

    Of several kinds of devices those runs count that were made on the one used last.
    """
    wanted = {
        "network": f"{recipe.network.architecture} {recipe.network.encoder}",
        "encoder_depth": str(recipe.network.encoder_depth),
        "batch_size": str(recipe.batch_size),
        "crop": str(recipe.crop),
        "precision": recipe.precision,
        "fingerprint": str(outline.shared["protocol"]),
    }
    mine = [
        record
        for record in sorted(records, key=lambda record: record.ended or 0.0)
        if record.status == "FINISHED"
        and record.ended
        and record.facts["fold"] in outline.folds
        and digest_at_hand(record.facts["method"])  # of a method that is not installed any more nothing can be told
        and all(record.facts.get(name) == wanted[name] for name in RECIPE_FACTS)
    ]
    device = mine[-1].tags.get("device", "an unknown device") if mine else ""
    steps, patches = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    mine = [record for record in mine if record.tags.get("device", "an unknown device") == device]
    for record in mine:
        label, sizes = record.facts["method"], outline.folds[record.facts["fold"]]
        own = _recipe_of(record, recipe)
        work = work_of(label, sizes, outline.few, own, outline.shape)
        training = record.metrics["time/training_seconds"]
        rest = (record.ended or record.started) - record.started - training
        for key in dict.fromkeys((label, label.partition("[")[0])):
            steps[key].append(training / work.steps)
            patches[key].append(max(rest, 0.0) / work.patches)
    found = {
        key: Pace(statistics.median(times), statistics.median(patches[key]), f"{len(times)} runs here")
        for key, times in steps.items()
    }
    return found, device, mine


def _recipe_of(record: RunRecord, recipe: TrainingConfig) -> TrainingConfig:
    """The recipe with the steps that a run took, which may be others."""
    return replace(recipe, steps=int(record.facts["steps"]), checkpoints=int(record.facts["checkpoints"]))


def assumed_base(step: float, patch: float | None, recipe: TrainingConfig, shape: Shape) -> Pace:
    """Of source-only, by what a user says; a patch that is only predicted costs a third of one that is trained on."""
    forward = step / recipe.batch_size / 3 * (shape.size / side_of(recipe, shape)) ** 2
    return Pace(step, forward if patch is None else patch, "as given")


def stream_factor(recipe: TrainingConfig, shape: Shape) -> float:
    """How many times the pixels of a training batch a batch of the test stream has."""
    return (shape.size / side_of(recipe, shape)) ** 2
