"""A small memory of patches of a test stream, balanced over classes (Yuan et al., CVPR 2023, "RoTTA")."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from methods.base import SeriesBatch, TargetBatch


@dataclass
class Remembered:
    """A patch in memory.

    Attributes:
        patch: batch of this one patch.
        label: class that it counts for.
        uncertainty: entropy of its prediction, in nats.
        age: patches that came since, and itself.
    """

    patch: TargetBatch
    label: int
    uncertainty: float
    age: int = 0


class BalancedMemory:
    """Keeps patches of all classes alike, rather young and certain ones.

    Args:
        capacity: most patches.
        classes: number of classes.
    """

    def __init__(self, capacity: int, classes: int) -> None:
        self.capacity, self.classes = capacity, classes
        self.kept: list[Remembered] = []

    def add(self, new: Remembered) -> None:
        """Take a patch in where there is room for its class, or a worse one to be replaced; all grow older by one."""
        counts = Counter(each.label for each in self.kept)
        if counts[new.label] >= self.capacity / self.classes:
            rivals = [each for each in self.kept if each.label == new.label]
        elif len(self.kept) >= self.capacity:
            most = max(counts.values())
            rivals = [each for each in self.kept if counts[each.label] == most]
        else:
            rivals = []
        worst = max(reversed(rivals), key=self._burden, default=None)
        if worst is None or self._burden(worst) > self._burden(new):
            self.kept = [*(each for each in self.kept if each is not worst), new]
        for each in self.kept:
            each.age += 1

    def _burden(self, one: Remembered) -> float:
        """Return how much speaks for forgetting a patch: its age and its uncertainty, each from 0 to 1."""
        return 1 / (1 + math.exp(-one.age / self.capacity)) + one.uncertainty / math.log(self.classes)

    def batch(self) -> tuple[TargetBatch, torch.Tensor]:
        """Return all patches as one batch, and their weights (n,) float32: less for older ones."""
        patches = [each.patch for each in self.kept]
        metadata = patches[0].metadata
        for other in patches[1:]:
            metadata = metadata.joined(other.metadata)
        series = joined_series([each.series for each in patches if each.series])
        ages = torch.tensor([each.age / self.capacity for each in self.kept], device=patches[0].images.device)
        return TargetBatch(torch.cat([each.images for each in patches]), metadata, series=series), (-ages).sigmoid()


def split_batch(batch: TargetBatch) -> list[TargetBatch]:
    """Return the patches of a batch, each as a batch of its own tensors."""
    rows = [slice(row, row + 1) for row in range(len(batch.images))]
    return [
        replace(
            batch,
            images=batch.images[row].clone(),
            metadata=batch.metadata.take(row),
            origin=None,
            series=batch.series and batch.series.take(row),
        )
        for row in rows
    ]


def joined_series(several: Sequence[SeriesBatch]) -> SeriesBatch | None:
    """Return series of several batches as one, filled up with dates that are not valid; None where there are none."""
    if not several:
        return None
    longest = max(each.days.shape[1] for each in several)
    values, days, valid = [], [], []
    for each in several:
        missing = longest - each.days.shape[1]
        values.append(F.pad(each.values, [0] * 7 + [missing]))
        days.append(F.pad(each.days, [0, missing]))
        valid.append(F.pad(each.valid, [0, missing]))
    return SeriesBatch(torch.cat(values), torch.cat(days), torch.cat(valid))
