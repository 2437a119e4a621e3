"""Evaluation: confusion matrices, one a zone, and every metric as a pure function of their sum."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.classes import IGNORE
from benchmark.data.store import Labels, Store

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # half of the import time of a command that only looks

Confusion = NDArray[np.int64]
"""(C + 1, C): rows are true classes, the last row pixels that are ignored; columns are predicted classes."""


@dataclass(frozen=True)
class Scores:
    """What one pass over a part of a fold gives.

    Attributes:
        confusions: confusion matrix by zone.
        loss: mean cross-entropy over the valid pixels.
    """

    confusions: Mapping[str, Confusion]
    loss: float

    def total(self, zones: Iterable[str] | None = None) -> Confusion:
        """The sum over some zones, or all."""
        return np.sum([self.confusions[zone] for zone in zones or self.confusions], axis=0)


@torch.inference_mode()
def evaluate(
    fabric: "Fabric",
    predict: Callable[[Tensor], Tensor],
    store: Store,
    rows: np.ndarray,
    labels: Labels,
    zones: np.ndarray,
    classes: int,
    batch_size: int = 32,
) -> Scores:
    """Predict patches and count, on the device; one transfer at the end.

    With several processes each takes every n-th patch, none is padded or seen twice, and the counts are summed.

    Args:
        predict: raw images (N, C, H, W) float32 on the device to logits (N, classes, H, W).
        rows: (n,) rows of the store.
        zones: (n,) zone name of each row.
    """
    names, numbers = np.unique(zones, return_inverse=True)
    counts = torch.zeros(len(names) * (classes + 1) * classes, dtype=torch.int64, device=fabric.device)
    loss = torch.zeros(2, dtype=torch.float64, device=fabric.device)
    mine = np.arange(fabric.global_rank, len(rows), fabric.world_size)
    for start in range(0, len(mine), batch_size):
        chosen = mine[start : start + batch_size]
        images = torch.from_numpy(store.read(rows[chosen])).to(fabric.device).float()
        truth = torch.from_numpy(labels.read(rows[chosen])).to(fabric.device).long()
        logits = predict(images).float()
        valid = truth != IGNORE
        loss[0] += F.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="sum").double()
        loss[1] += valid.sum()
        zone = torch.from_numpy(numbers[chosen]).to(fabric.device).view(-1, 1, 1)
        cell = (zone * (classes + 1) + torch.where(valid, truth, classes)) * classes + logits.argmax(1)
        counts += torch.bincount(cell.flatten(), minlength=len(counts))
    if fabric.world_size > 1:
        counts = fabric.all_reduce(counts, reduce_op="sum")  # type: ignore[assignment]
        loss = fabric.all_reduce(loss, reduce_op="sum")  # type: ignore[assignment]
    matrices = counts.view(len(names), classes + 1, classes).cpu().numpy()
    total, pixels = loss.tolist()
    return Scores(dict(zip(names.tolist(), matrices, strict=True)), total / max(pixels, 1))


# ---------------------------------------------------------------- metrics: (C + 1, C) -> number, NaN where undefined


def iou(confusion: Confusion) -> NDArray[np.float64]:
    """Intersection over union (C,) over the valid pixels; NaN for a class that is neither true nor predicted."""
    valid = confusion[:-1]
    hits = np.diag(valid)
    union = valid.sum(0) + valid.sum(1) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def miou(confusion: Confusion) -> float:
    """Mean IoU over the classes that occur: ignored pixels do not count, absent classes are left out."""
    return _mean(iou(confusion))


def miou_flair_challenge(confusion: Confusion) -> float:
    """Mean IoU as FLAIR's challenge code has it (IGNF/FLAIR-1, branch legacy-torch, ``generate_miou.py``).

    A pixel whose truth is ignored ("other") still counts as a false positive of the class it is predicted as; absent
    classes are left out.
    """
    hits = np.diag(confusion[:-1])
    union = confusion.sum(0) + confusion[:-1].sum(1) - hits
    return _mean(np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0))


def miou_flair_main(confusion: Confusion) -> float:
    """Mean IoU as FLAIR's current code has it (IGNF/FLAIR-1, ``metrics.py``).

    Ignored pixels do not count at all; an absent class counts as 0.
    """
    return float(np.nan_to_num(iou(confusion)).mean())


def overall_accuracy(confusion: Confusion) -> float:
    """Share of the valid pixels that are right."""
    valid = confusion[:-1]
    return float(np.diag(valid).sum() / valid.sum()) if valid.sum() else float("nan")


def f1(confusion: Confusion) -> float:
    """Mean over the classes that occur of the harmonic mean of precision and recall."""
    valid = confusion[:-1]
    hits = np.diag(valid)
    size = valid.sum(0) + valid.sum(1)
    return _mean(np.divide(2 * hits, size, out=np.full(len(hits), np.nan), where=size > 0))


METRICS: dict[str, Callable[[Confusion], float]] = {
    "miou": miou,
    "overall_accuracy": overall_accuracy,
    "f1": f1,
    "miou_flair_challenge": miou_flair_challenge,
    "miou_flair_main": miou_flair_main,
}


def named_metrics(prefix: str, confusion: Confusion) -> dict[str, float]:
    """Every metric of a confusion matrix, as ``prefix/name``."""
    return {f"{prefix}/{name}": metric(confusion) for name, metric in METRICS.items()}


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
