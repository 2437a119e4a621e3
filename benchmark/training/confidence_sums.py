"""Sums over a pass, on the device: the losses that a temperature is fitted by, and counts of pixels by confidence."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.classes import IGNORE
from benchmark.evaluation.accuracy_estimates import TEMPERATURES, best_temperature
from benchmark.evaluation.confidence import BINS, EDGES, UNIT, Confidence
from benchmark.training.fold_data import FoldData
from methods.base import Method, Needs

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SPACING = 4  # of the rows and columns that a temperature is fitted on; neighbours are nearly alike


class TemperatureSums:
    """Cross-entropies of a part at each of `TEMPERATURES`."""

    def __init__(self, device: torch.device) -> None:
        self._losses = torch.zeros(len(TEMPERATURES), dtype=torch.float64, device=device)

    def add(self, logits: Tensor, predicted: Tensor, truth: Tensor, zones: NDArray[np.int64]) -> None:
        """Add a batch, as `benchmark.training.prediction.Count` says."""
        logits, truth = logits[..., ::SPACING, ::SPACING].float(), truth[:, ::SPACING, ::SPACING]
        for place, temperature in enumerate(TEMPERATURES):
            loss = F.cross_entropy(logits / temperature, truth, ignore_index=IGNORE, reduction="sum")
            self._losses[place] += loss.double()

    def temperature(self) -> float:
        """Return the temperature with the lowest loss; NaN where a loss is no number, or no pixel has a label."""
        losses = self._losses.cpu().numpy()
        return best_temperature(losses) if np.isfinite(losses).all() and losses.any() else float("nan")


class ConfidenceSums:
    """Counts of the valid pixels by confidence.

    Args:
        zones: number of zones.
        temperature: what logits are divided by for a second count; NaN for none.
    """

    def __init__(self, device: torch.device, zones: int, classes: int, temperature: float) -> None:
        self._zones, self._classes, self._temperature = zones, classes, temperature
        self._edges = torch.tensor(EDGES, dtype=torch.float32, device=device)
        self._pixels, self._calm = (torch.zeros(zones * BINS, 3, dtype=torch.int64, device=device) for _ in range(2))
        self._confusions = torch.zeros(BINS * classes**2, dtype=torch.int64, device=device)

    def add(self, logits: Tensor, predicted: Tensor, truth: Tensor, zones: NDArray[np.int64]) -> None:
        """Add a batch, as `benchmark.training.prediction.Count` says."""
        valid = (truth != IGNORE).flatten().nonzero()[:, 0]
        zone = torch.from_numpy(zones).to(truth.device).repeat_interleave(truth[0].numel())[valid]
        predicted, truth = predicted.flatten()[valid], truth.flatten()[valid]
        bins = self._count(self._pixels, _confidence(logits)[valid], zone, predicted == truth)
        cell = (bins * self._classes + truth) * self._classes + predicted
        self._confusions += torch.bincount(cell, minlength=len(self._confusions))
        if np.isfinite(self._temperature):
            self._count(self._calm, _confidence(logits / self._temperature)[valid], zone, predicted == truth)

    def _count(self, sums: Tensor, confidence: Tensor, zone: Tensor, right: Tensor) -> Tensor:
        """Add pixels to the counts, and return the bin of each."""
        bins = torch.bucketize(confidence, self._edges)
        cell = zone * BINS + bins
        whole = (confidence.double() * UNIT).round()  # sums of integers, which no order changes
        for column, weights in enumerate((None, right.double(), whole)):
            sums[:, column] += torch.bincount(cell, weights, minlength=len(sums)).long()
        return bins

    def confidence(self) -> Confidence:
        """Return the counts of all that was added."""
        pixels, calm = (sums.view(self._zones, BINS, 3).cpu().numpy() for sums in (self._pixels, self._calm))
        confusions = self._confusions.view(BINS, self._classes, self._classes).cpu().numpy()
        return Confidence(pixels, confusions, self._temperature, calm)


def _confidence(logits: Tensor) -> Tensor:
    """Return the largest probability (n,) of every pixel, flat; 0 where it is no number."""
    return logits.float().softmax(1).amax(1).nan_to_num().flatten()


def confidence_sums(fabric: "Fabric", method: Method, data: FoldData, temperature: float) -> ConfidenceSums:
    """Return empty counts of the test by confidence.

    Args:
        temperature: temperature fitted on source validation. A method that trains without source data cannot know
            that of its own network; one of the test stream comes with that of the source model.
    """
    known = math.nan if method.needs is Needs.SOURCE_MODEL else temperature
    zones = len(np.unique(data.parts["target_test"].zones))
    return ConfidenceSums(fabric.device, zones, len(data.task.classes), known)
