"""Invariant risk minimisation (IRM)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import IGNORE, Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.domain_losses import domain_means, mean_over


class IRM(Method):
    """Look for features on which one classifier is best in every source domain (Arjovsky et al., 2019, IRMv1).

    ``L = CE(source) + weight * mean over domains of g_k^even * g_k^odd``, where g is the derivative of a domain's
    cross-entropy by a factor s on all logits, at s = 1, over the even or the odd half of its valid pixels. The product
    of two halves is DomainBed's unbiased estimate of the squared derivative; it can be negative. In the first
    ``warm_up`` of the steps the weight is 1 (500 of 5000 steps there).

    Both terms are divided by the weight where it is above 1, as in the authors' own code, so that the gradients keep
    their size.

    Departures: the default weight is 1, where DomainBed's is 100: there the derivatives are means over many images, and
    here, over a few patches, their noise squared would be most of the loss. Pixels are halved in each image, where
    neighbours are alike, so the product is nearly a square; the first term is the cross-entropy of the batch, in which
    all domains are drawn equally often, so that weight 0 is plain training; and the optimiser is the engine's, and is
    not reset when the weight jumps, as DomainBed resets Adam.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=1e-2, high=1e3, log=True, neutral=0.0)
        warm_up: float = tunable(0.1, low=0.0, high=0.5, neutral=0.0)  # share of the steps at weight 1

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        logits = self.network(source)
        penalties, present = scale_penalties(logits, source, len(self.task.domains))
        weight = 1.0 if progress.fraction < self.hyperparameters.warm_up else self.hyperparameters.weight
        size = max(1.0, weight)
        return {
            "segmentation": self.segmentation_loss(source, logits) / size,
            "invariance": weight / size * mean_over(penalties, present),
        }


def scale_penalties(logits: Tensor, batch: SourceBatch, count: int) -> tuple[Tensor, Tensor]:
    """Return the product of each domain's two derivatives by the scale of the logits.

    Args:
        logits: (N, classes, H, W).
        batch: batch of N patches.
        count: number of source domains.

    Returns:
        penalties (count,) float32, 0 where the batch holds no valid pixel of the domain; and whether it does, (count,)
        bool.
    """
    logits = logits.float()
    valid = batch.labels != IGNORE
    # d/ds of the cross-entropy of s * z at s = 1 is the expected logit less that of the label: no second backward pass.
    labelled = logits.gather(1, torch.where(valid, batch.labels, 0)[:, None])[:, 0]
    slopes = (logits.softmax(1) * logits).sum(1) - labelled
    odd = valid.flatten(1).cumsum(1).view_as(valid) % 2 == 0  # the second, fourth, ... valid pixel of each image
    first, present = domain_means(slopes, valid & ~odd, batch.domains, count)
    second, _ = domain_means(slopes, valid & odd, batch.domains, count)
    return first * second, present
