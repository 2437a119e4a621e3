"""Labels that a network gives itself, and which of them to trust."""

import torch
from torch import Tensor

from methods.base import IGNORE


def confident_labels(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of the most likely class, and that class.

    Args:
        logits: (N, C, H, W).

    Returns:
        (N, H, W) float32 and (N, H, W) int64.
    """
    confidence, labels = logits.float().softmax(1).max(1)
    return confidence, labels


def confident_share(confidence: Tensor, threshold: float) -> Tensor:
    """Return the share of all pixels of a batch that are at least this confident: (N, H, W) -> scalar float32."""
    return (confidence >= threshold).float().mean()


def class_thresholds(confidence: Tensor, labels: Tensor, classes: int, share: float) -> Tensor:
    """Return for each class the confidence that a share of its predicted pixels reach (Zou et al., ECCV 2018, "CBST").

    Of n pixels the surest ``floor(share * n)`` are taken; the threshold is the confidence of the last of them.

    Args:
        confidence: float32, of any shape.
        labels: int64 in 0..classes - 1, of the same shape.

    Returns:
        (classes,) float32, NaN where no pixel is taken.
    """
    confidence, labels = confidence.flatten(), labels.flatten()
    order = confidence.argsort(descending=True)
    order = order[labels[order].argsort(stable=True)]  # class by class, the surest pixel of each first
    counts = torch.bincount(labels, minlength=classes)
    taken = (counts * share).floor().long()
    last = counts.cumsum(0) - counts + taken - 1
    return confidence[order[last.clamp(min=0)]].where(taken > 0, torch.nan)


def balanced_labels(probabilities: Tensor, thresholds: Tensor) -> Tensor:
    """Return the class that exceeds its threshold most, `IGNORE` where none reaches it (as in CBST).

    So a class that is always predicted with little confidence wins against one that would have to be surer.

    Args:
        probabilities: (N, C, H, W).
        thresholds: (C,), above 0.

    Returns:
        (N, H, W) int64.
    """
    excess, labels = (probabilities / thresholds.view(-1, 1, 1)).max(1)
    return labels.masked_fill(excess < 1, IGNORE)
