"""Information maximisation without source data (SHOT-IM)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.entropy import entropy


class SHOT(Method):
    """Fit the features of the target to the classifier of the source, which is frozen (Liang et al., ICML 2020).

    ``L = mean over pixels of H(p) - diversity * H(mean of p over pixels)`` in nats: each pixel certain, all classes in
    use. Trained with SGD, the encoder at a tenth of the learning rate; the segmentation head is frozen.
    Departures: no pseudo-labels of class prototypes (this is the paper's SHOT-IM); the source model is the ordinary
    one, without label smoothing and weight normalisation; the learning rate follows the recipe's schedule.
    The second term asks for classes of equal area in every batch, which is wrong for land cover. The right term, a
    divergence from the class shares of the source, needs to know them, and a source model alone does not tell; so
    there is only ``diversity`` to turn down. At 0 the most frequent class takes over.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.SOURCE_MODEL

    @dataclass(frozen=True)
    class Hyperparameters:
        learning_rate: float = tunable(1e-2, low=1e-4, high=1e-1, log=True)
        diversity: float = tunable(1.0, low=0.0, high=1.0)

    def setup(self) -> None:
        self.network.model.segmentation_head.requires_grad_(False)

    def optimizer(self) -> torch.optim.Optimizer:
        encoder = list(self.network.model.encoder.parameters())
        known = set(encoder)
        others = [weights for weights in self.network.parameters() if weights.requires_grad and weights not in known]
        rate = self.hyperparameters.learning_rate
        groups = [{"params": encoder, "lr": rate / 10}, {"params": others}]
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, weight_decay=1e-3, nesterov=True)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        logits = self.network(target).float()
        return {
            "entropy": entropy(logits).mean(),
            "diversity": -self.hyperparameters.diversity * entropy_of_mean(logits),
        }


def entropy_of_mean(logits: Tensor) -> Tensor:
    """Return the entropy in nats of the class probabilities averaged over all pixels: (N, C, H, W) -> ()."""
    pixels = logits.log_softmax(1).transpose(0, 1).flatten(1)
    log_mean = pixels.logsumexp(1) - math.log(pixels.shape[1])
    return -(log_mean.exp() * log_mean).sum()
