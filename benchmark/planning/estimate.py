"""What a plan costs: device-hours, disk and memory, of its stages and of one more seed, fold or method."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.conformance.costs import Cost
from benchmark.data.shapes import Shape
from benchmark.experiments.jobs import Job
from benchmark.experiments.labels import control_label
from benchmark.experiments.results import Files, RunRecord
from benchmark.planning.count import Stage
from benchmark.planning.outline import Outline
from benchmark.planning.pace import Paces, work_of
from benchmark.training.config import TrainingConfig
from benchmark.training.target_sample import PATCHES, PIXELS

HOST_BYTES = 1.5 * 2**30  # of a process: torch, MLflow and the batches that are read ahead
DEVICE_BYTES = 0.5 * 2**30  # of a CUDA context with its libraries
SHRUNK = 0.2  # what compressing leaves of confusion matrices, most of whose cells are 0
ZONE = 80  # patches of a zone, roughly: only a small file hangs on it


@dataclass(frozen=True)
class Hours:
    """Of runs, in seconds of one device each."""

    training: float
    evaluation: float

    @property
    def total(self) -> float:
        return self.training + self.evaluation


class Timing:
    """The seconds of any job.

    Args:
        outline: with the sizes of the folds.
        paces: of every method.
    """

    def __init__(self, outline: Outline, recipe: TrainingConfig, paces: Paces) -> None:
        self._outline, self._recipe, self._paces = outline, recipe, paces
        self._known: dict[tuple[str, str], Hours] = {}

    def of(self, label: str, fold: str) -> Hours:
        """Of a method on a fold, whatever the seed."""
        key = label, fold
        if key not in self._known:
            pace = self._paces.of(label)
            assert pace is not None
            sizes, outline = self._outline.folds[fold], self._outline
            work = work_of(label, sizes, outline.few, self._recipe, outline.shape)
            self._known[key] = Hours(*work.seconds(pace))
        return self._known[key]

    def sum(self, jobs: Sequence[Job]) -> Hours:
        """Of several jobs."""
        found = [self.of(job.label, job.fold) for job in jobs]
        return Hours(sum(one.training for one in found), sum(one.evaluation for one in found))

    def by_row(self, stage: Stage) -> dict[str, Hours]:
        """Of the jobs of a stage that are left, by row."""
        rows = defaultdict[str, list[Job]](list)
        for job in stage.work.left:
            rows[stage.rows.get(job.identity, job.label)].append(job)
        return {row: self.sum(jobs) for row, jobs in rows.items()}

    def naive(self, stage: Stage) -> float:
        """Seconds if every place trained its own, and its own source model before it, and no run were finished."""
        places = [job for job in stage.asked if not job.skip]
        sources = [self.of(control_label(), job.fold).total for job in places if job.parent]
        return self.sum(places).total + sum(sources)

    def wall_clock(self, stage: Stage, slots: int) -> float:
        """Seconds with so many runs at once: all work shared out evenly, or the longest chain of two runs."""
        left = {job.identity: self.of(job.label, job.fold).total for job in stage.work.left}
        chains = [left[job.identity] + left.get(job.parent, 0.0) for job in stage.work.left]
        return max(sum(left.values()) / slots, *chains) if chains else 0.0


@dataclass(frozen=True)
class Disk:
    """Bytes.

    Attributes:
        store: of the decoded patches.
        weights: of the network.
        run: of the files of a run.
        temporary: of the checkpoints that a run at work keeps beside its results, and which are gone when it ends.
        run_words: where `run` is from.
    """

    store: float
    weights: float
    run: float
    temporary: float
    run_words: str


def disk_of(outline: Outline, recipe: TrainingConfig, weights: int, records: Sequence[RunRecord]) -> Disk:
    """Estimate the disk space.

    Args:
        weights: bytes of the network.
        records: finished runs with this recipe.
    """
    shape, largest = outline.shape, max(row[1] + row[3] for row in outline.folds.values())
    folders = [size for record in records[-20:] if (size := bytes_of(record.artifacts))]
    zones = max(largest / ZONE, 1)
    matrices = recipe.checkpoints * zones * (shape.classes + 1) * shape.classes * 8 * SHRUNK
    sample = recipe.checkpoints * PATCHES * PIXELS * shape.classes * 2
    run = statistics.median(folders) if folders else weights + matrices + sample
    return Disk(
        store=outline.patches * shape.size**2 * (shape.bands + 1),
        weights=weights,
        run=run,
        run_words=f"the median of {len(folders)} runs here"
        if folders
        else "its weights, and the record as it should be",
        temporary=weights * recipe.checkpoints,
    )


def bytes_of(files: Files) -> int:
    """Return the bytes of a run's files; 0 where they are on a server alone, or missing."""
    return sum(path.stat().st_size for path in files.rglob("*") if path.is_file()) if isinstance(files, Path) else 0


@dataclass(frozen=True)
class Memory:
    """Bytes of one run.

    Attributes:
        host: of its process.
        device: of a GPU, at its peak; None where nothing is known of it.
        words: where the second is from.
        largest: the method that it is of.
    """

    host: float
    device: float | None
    words: str
    largest: str


def memory_of(
    labels: Sequence[str],
    recipe: TrainingConfig,
    weights: int,
    activations: float | None,
    costs: Mapping[str, Cost],
    records: Sequence[RunRecord],
) -> Memory:
    """Estimate the memory of the largest run.

    Args:
        activations: bytes that autograd keeps in a step of source-only; None where nobody measured.
        records: finished runs with this recipe.
    """
    if peaks := peaks_of(records):
        largest = max(peaks, key=lambda label: peaks[label])
        return Memory(HOST_BYTES, peaks[largest] * 2**30, f"measured on {len(peaks)} methods", largest)
    if activations is None:
        return Memory(HOST_BYTES, None, "not known without a measurement", "")
    ratios = {label: cost.activations for label in labels if (cost := costs.get(label.partition("[")[0]))}
    largest = max(ratios, key=lambda label: ratios[label], default=control_label())
    moments = 2 if recipe.optimizer == "adamw" else int(recipe.momentum > 0)
    held = weights * (2 + moments) + DEVICE_BYTES
    return Memory(
        HOST_BYTES,
        activations * ratios.get(largest, 1.0) + held,
        "activations as measured × its ratio of the bench, weights, gradients and the optimiser's state",
        largest,
    )


def peaks_of(records: Sequence[RunRecord]) -> dict[str, float]:
    """The peak of a GPU's memory, GiB, by method, of those runs that were made on one."""
    name = "time/gpu_memory_gib"
    return {record.facts["method"]: record.metrics[name] for record in records if name in record.metrics}


def shape_words(shape: Shape) -> str:
    """What a patch is, for people."""
    return f"{shape.bands} × {shape.size} × {shape.size}, {shape.classes} classes"
