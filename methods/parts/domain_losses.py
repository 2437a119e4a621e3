"""Losses of each source domain of a batch, for methods that compare them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import IGNORE, SourceBatch


def domain_losses(logits: Tensor, batch: SourceBatch, count: int) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of each domain, averaged over the domain's valid pixels in the batch.

    Args:
        logits: (N, classes, H, W).
        batch: batch of N patches.
        count: number of source domains.

    Returns:
        losses (count,) float32, 0 where the batch holds no valid pixel of the domain; and whether it does, (count,)
        bool.
    """
    pixels = F.cross_entropy(logits.float(), batch.labels, ignore_index=IGNORE, reduction="none")
    return domain_means(pixels, batch.labels != IGNORE, batch.domains, count)


def domain_means(values: Tensor, valid: Tensor, domains: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean of each domain's valid pixels.

    Args:
        values: (N, H, W).
        valid: (N, H, W) bool.
        domains: (N,) int64, below ``count``.

    Returns:
        means (count,), 0 where a domain has no valid pixel; and whether it has one, (count,) bool.
    """
    sums = torch.where(valid, values, 0).sum((1, 2))
    numbers = valid.sum((1, 2))
    # Products and a sum instead of a matrix product, which autocast would round to bfloat16.
    belongs = F.one_hot(domains, count)
    pixels = (belongs * numbers[:, None]).sum(0)
    return (belongs * sums[:, None]).sum(0) / pixels.clamp(min=1), pixels > 0


def mean_over(values: Tensor, present: Tensor) -> Tensor:
    """Return the mean of (count,) values over the domains that are present, 0 if none is."""
    return torch.where(present, values, 0).sum() / present.sum().clamp(min=1)
