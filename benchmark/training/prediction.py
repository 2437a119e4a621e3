"""Evaluation: confusion matrices, one a zone, and every metric as a pure function of their sum."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.classes import IGNORE, slug
from benchmark.data.series.corruptions import MISSING
from benchmark.evaluation.confidence import Confidence, confidence_metrics
from benchmark.training.arrival import arrival
from benchmark.training.fold_data import FoldData
from methods.base import Progress, TargetBatch

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # half of the import time of a command that only looks

Confusion = NDArray[np.int64]
"""(C + 1, C): rows are true classes, the last row pixels that are ignored; columns are predicted classes."""


@dataclass(frozen=True)
class Scores:
    """Results of one pass over a part of a fold.

    Attributes:
        confusions: confusion matrix by zone.
        loss: mean cross-entropy over the valid pixels.
        kept: (H, W) uint8 predicted classes of the patches in ``keep``, by row of the store.
        temperature: temperature that was fitted; NaN where there was none.
        confidence: counts of the pixels by confidence, where they were counted.
    """

    confusions: Mapping[str, Confusion]
    loss: float
    kept: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    temperature: float = float("nan")
    confidence: Confidence | None = None

    def total(self, zones: Iterable[str] | None = None) -> Confusion:
        """Return the sum over some zones, or all."""
        return np.sum([self.confusions[zone] for zone in zones or self.confusions], axis=0)


Predict = Callable[[TargetBatch], Tensor]
"""Logits (N, classes, H, W) of raw images, on the device."""

DECISION = "target_decision"  # begins the names of what another decision than argmax gives
Count = Callable[[Tensor, Tensor, Tensor, NDArray[np.int64]], None]
"""Takes logits (N, C, H, W), predicted and true classes (N, H, W), and each patch's number among the sorted zones."""


def count_nothing(logits: Tensor, predicted: Tensor, truth: Tensor, zones: NDArray[np.int64]) -> None:
    """Count nothing beside the confusion matrices."""


PIXELS_AT_ONCE = 2**22  # of a batch that is only predicted: 16 patches of 512 x 512, some 2 GiB of a U-Net
AT_ONCE = 32  # patches of it, at most


def most_at_once(side: int) -> int:
    """Return how many squares of so many pixels' side are predicted in one batch, at most."""
    return max(1, PIXELS_AT_ONCE // side**2)


def evaluate(
    fabric: "Fabric",
    predict: Predict,
    data: FoldData,
    part: str,
    batch_size: int = AT_ONCE,
    keep: Sequence[int] = (),
    count: Count = count_nothing,
) -> Scores:
    """Predict a labelled part and count, on the device; one transfer at the end.

    Args:
        batch_size: patches of a batch, fewer where they are large (`most_at_once`).
        keep: rows of the store whose predicted classes are kept.
        count: called with every batch, for what else is counted.
    """
    batch_size = min(batch_size, most_at_once(data.store.size))
    reader = _Reader(fabric, data, part)
    counts = _ConfusionSums(fabric.device, reader.zones, data, keep)
    order = np.arange(len(reader.part.rows))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch, truth = reader.read(chosen)
        with torch.inference_mode(), fabric.autocast():
            logits = predict(batch)
            predicted = counts.add(logits, truth, reader.part.rows[chosen], reader.numbers[chosen])
        with torch.inference_mode():
            count(logits, predicted, truth, reader.numbers[chosen])
    return counts.scores()


def evaluate_decisions(
    fabric: "Fabric", predict: Predict, data: FoldData, part: str, decisions: Mapping[str, Callable[[Tensor], Tensor]]
) -> dict[str, Scores]:
    """Predict a labelled part once, and count what each decision makes of the logits.

    Args:
        decisions: functions of logits (N, C, H, W) float32 to scores whose argmax is what counts, by name.
    """
    zones = np.unique(data.parts[part].zones)
    sums = {name: _ConfusionSums(fabric.device, zones, data, ()) for name in decisions}

    def count(logits: Tensor, predicted: Tensor, truth: Tensor, numbers: NDArray[np.int64]) -> None:
        for name, decide in decisions.items():
            sums[name].add(decide(logits.float()), truth, numbers[:0], numbers)

    evaluate(fabric, predict, data, part, count=count)
    return {name: each.scores() for name, each in sums.items()}


@dataclass(frozen=True)
class StreamScores:
    """Scores of a test stream.

    Attributes:
        before: of what was predicted before the method had learned from the patch, which is what counts.
        after: of the same patches predicted once more right after.
        rounds: like ``before``, round by round, where the stream has several.
        kept: of the first round's patches, what was predicted right after the method had learned from each, and at the
            end of the stream; None where there is one round.
    """

    before: Scores
    after: Scores
    rounds: Sequence[Scores] = ()
    kept: tuple[Scores, Scores] | None = None


def evaluate_stream(
    fabric: "Fabric",
    predict: Predict,
    adapt: Callable[[TargetBatch], None],
    data: FoldData,
    part: str,
    batch_size: int,
    keep: Sequence[int] = (),
    arrive: Callable[[Progress], None] = lambda progress: None,
    rounds: Sequence[NDArray[np.int64]] = (),
    count: Count = count_nothing,
) -> StreamScores:
    """Predict a part batch by batch as it would arrive, and let the method learn from each batch.

    Args:
        keep: see `evaluate`.
        arrive: called with the number of the next batch, and of all.
        rounds: positions in the part, in the order of arrival (`arrival`); none for the order by date. No batch has
            patches of two rounds.
        count: see `evaluate`; called before the method learns.
    """
    reader = _Reader(fabric, data, part)
    rounds = rounds or arrival(reader.part)

    def make_sums(number: int) -> list[_ConfusionSums]:
        return [_ConfusionSums(fabric.device, reader.zones, data, keep) for _ in range(number)]

    def add(
        batch: TargetBatch,
        truth: Tensor,
        chosen: NDArray[np.int64],
        *sums: _ConfusionSums,
        count: Count = count_nothing,
    ) -> None:
        numbers = reader.numbers[chosen]
        with weights_as_they_are(), fabric.autocast(), torch.no_grad():  # no inference mode: it may be learned from
            logits = predict(batch)
            predicted, *_ = (each.add(logits, truth, reader.part.rows[chosen], numbers) for each in sums)
            count(logits, predicted, truth, numbers)

    before, after, first, end, *of_rounds = make_sums(4 + len(rounds))
    batches = [
        (number, order[start : start + batch_size])
        for number, order in enumerate(rounds)
        for start in range(0, len(order), batch_size)
    ]
    for place, (number, chosen) in enumerate(batches):
        arrive(Progress(place, len(batches)))
        batch, truth = reader.read(chosen)
        add(batch, truth, chosen, before, of_rounds[number], count=count)
        with weights_as_they_are(), fabric.autocast():
            adapt(batch)
        add(batch, truth, chosen, after, *[first] * (number == 0))
    if len(rounds) == 1:
        return StreamScores(before.scores(), after.scores())
    for chosen in (chosen for number, chosen in batches if number == 0):
        add(*reader.read(chosen), chosen, end)
    kept = first.scores(), end.scores()
    return StreamScores(before.scores(), after.scores(), [each.scores() for each in of_rounds], kept)


@contextmanager
def weights_as_they_are() -> Iterator[None]:
    """Keep autocast from storing 16-bit copies of the weights, which change meanwhile here."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


class _Reader:
    """The patches of a part with their masks; the zones have numbers."""

    def __init__(self, fabric: "Fabric", data: FoldData, part: str) -> None:
        self.part = data.parts[part]
        self.zones, self.numbers = np.unique(self.part.zones, return_inverse=True)
        self._device, self._data = fabric.device, data
        self._labels = data.store.labels_of(self.part.rows)

    def read(self, chosen: NDArray[np.int64]) -> tuple[TargetBatch, Tensor]:
        """Return a batch, and the truth (N, H, W) int64 of it, which no prediction sees."""
        rows = self.part.rows[chosen]
        images = self._data.scaling(torch.from_numpy(self._data.store.read(rows)).to(self._device))
        metadata = self.part.metadata.take(torch.from_numpy(chosen)).to(self._device)
        truth = torch.from_numpy(self._labels.read(rows)).to(self._device).long()
        series = self._data.series_of(rows)
        return TargetBatch(images, metadata, series=series and series.to(self._device)), truth


class _ConfusionSums:
    """One confusion matrix a zone and the loss, summed up on the device."""

    def __init__(self, device: torch.device, zones: NDArray[np.str_], data: FoldData, keep: Sequence[int]) -> None:
        classes = len(data.task.classes)
        self._zones, self._classes, self._keep = zones, classes, set(keep)
        self._cells = torch.zeros(len(zones) * (classes + 1) * classes, dtype=torch.int64, device=device)
        self._loss = torch.zeros(2, dtype=torch.float64, device=device)
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def add(self, logits: Tensor, truth: Tensor, rows: NDArray[np.int64], zones: NDArray[np.int64]) -> Tensor:
        """Add a batch, and return the predicted classes (N, H, W) int64."""
        logits = logits.float()
        valid, classes = truth != IGNORE, self._classes
        self._loss[0] += F.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="sum").double()
        self._loss[1] += valid.sum()
        zone = torch.from_numpy(zones).to(truth.device).view(-1, 1, 1)
        predicted = logits.argmax(1)
        cell = (zone * (classes + 1) + torch.where(valid, truth, classes)) * classes + predicted
        self._cells += torch.bincount(cell.flatten(), minlength=len(self._cells))
        for place in [place for place, row in enumerate(rows.tolist()) if row in self._keep]:
            self._kept[int(rows[place])] = predicted[place].to(torch.uint8).cpu().numpy()
        return predicted

    def scores(self) -> Scores:
        """Return the scores of all that was added."""
        matrices = self._cells.view(len(self._zones), self._classes + 1, self._classes).cpu().numpy()
        total, pixels = self._loss.tolist()
        return Scores(dict(zip(self._zones.tolist(), matrices, strict=True)), total / max(pixels, 1), self._kept)


# ---------------------------------------------------------------- metrics: (C + 1, C) -> number, NaN where undefined


def iou(confusion: Confusion) -> NDArray[np.float64]:
    """Return the intersection over union (C,) of valid pixels; NaN for a class without truth, whatever is predicted.

    Pixels that are predicted as such a class are still missing from the class they belong to. So the classes that count
    are the same ones for every method.
    """
    valid = confusion[:-1]
    hits, truth = np.diag(valid), valid.sum(1)
    return np.divide(hits, valid.sum(0) + truth - hits, out=np.full(len(hits), np.nan), where=truth > 0)


def miou(confusion: Confusion) -> float:
    """Return the mean IoU over the classes that have truth; ignored pixels do not count."""
    return _mean(iou(confusion))


def miou_flair_challenge(confusion: Confusion) -> float:
    """Return mean IoU by the code of FLAIR's challenge (IGNF/FLAIR-1, branch legacy-torch, ``generate_miou.py``).

    A pixel whose truth is ignored ("other") still counts as a false positive of the class it is predicted as; a class
    that is neither true nor predicted is left out, and one that is only predicted counts as 0.
    """
    hits = np.diag(confusion[:-1])
    union = confusion.sum(0) + confusion[:-1].sum(1) - hits
    return _mean(np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0))


def miou_flair_main(confusion: Confusion) -> float:
    """Return mean IoU by FLAIR's current code (IGNF/FLAIR-1, ``metrics.py``).

    Ignored pixels do not count at all; an absent class counts as 0.
    """
    return float(np.nan_to_num(iou(confusion)).mean())


def overall_accuracy(confusion: Confusion) -> float:
    """Return the share of the valid pixels that are right."""
    valid = confusion[:-1]
    return float(np.diag(valid).sum() / valid.sum()) if valid.sum() else float("nan")


def f1(confusion: Confusion) -> float:
    """Return the mean over the classes that have truth of the harmonic mean of precision and recall."""
    valid = confusion[:-1]
    hits, truth = np.diag(valid), valid.sum(1)
    return _mean(np.divide(2 * hits, valid.sum(0) + truth, out=np.full(len(hits), np.nan), where=truth > 0))


METRICS: dict[str, Callable[[Confusion], float]] = {
    "miou": miou,
    "overall_accuracy": overall_accuracy,
    "f1": f1,
    "miou_flair_challenge": miou_flair_challenge,
    "miou_flair_main": miou_flair_main,
}


def named_metrics(prefix: str, confusion: Confusion) -> dict[str, float]:
    """Return every metric of a confusion matrix, as ``prefix/name``."""
    return {f"{prefix}/{name}": metric(confusion) for name, metric in METRICS.items()}


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def target_metrics(test: Scores, classes: Sequence[str]) -> dict[str, float]:
    """Return the metrics of a test: of the confusion matrices together, of each class and domain, and of confidence."""
    total = test.total()
    metrics = named_metrics("target", total)
    for name, value in zip(classes, iou(total), strict=True):
        metrics[f"target/iou/{slug(name)}"] = float(value)
    for domain, confusion in by_domain(test).items():
        metrics |= named_metrics(f"target_domain/{slug(domain)}", confusion)
    return metrics | (confidence_metrics(test.confidence) if test.confidence else {})


def stream_metrics(stream: StreamScores) -> dict[str, float]:
    """Return the metrics of a stream: of the second prediction, of each round, and what is forgotten of the first.

    Forgotten is the mean IoU of the first round's patches right after the method had learned from each, minus the one
    of the same patches at the end of the stream.
    """
    metrics = named_metrics("target_after_update", stream.after.total())
    metrics |= {f"stream_round/{number}/miou": miou(one.total()) for number, one in enumerate(stream.rounds, 1)}
    if stream.kept:
        learned, end = (miou(scores.total()) for scores in stream.kept)
        metrics["stream_round/forgotten"] = learned - end
    return metrics


def missing_metrics(tests: Mapping[str, Scores]) -> dict[str, float]:
    """Return the mean IoU of tests with something missing, by what is missing."""
    return {f"{MISSING}/{name}/miou": miou(test.total()) for name, test in tests.items()}


def decision_metrics(tests: Mapping[str, Scores]) -> dict[str, float]:
    """Return the mean IoU of tests by another decision than argmax, by its name."""
    return {f"{DECISION}/{name}/miou": miou(test.total()) for name, test in tests.items()}


def by_domain(scores: Scores) -> dict[str, Confusion]:
    """Return the confusion matrix of each domain; the name of a zone begins with its domain's, as ``domain|zone``."""
    zones: dict[str, list[str]] = defaultdict(list)
    for zone in scores.confusions:
        zones[zone.partition("|")[0]].append(zone)
    return {domain: scores.total(members) for domain, members in sorted(zones.items())}
