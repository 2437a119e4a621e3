"""Domain-adversarial training on the encoder's features (DANN)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.feature_size import feature_channels
from methods.parts.gradient_reversal import reversal_strength, reverse_gradient


class DANN(Method):
    """Learn features from which no classifier can tell source from target (Ganin et al., JMLR 2016).

    ``L = CE(source) + (BCE(D(R(f_source)), 1) + BCE(D(R(f_target)), 0)) / 2``, averaged over the pixels of the
    encoder's deepest features f. R leaves them as they are and turns their gradient into
    ``-weight * (2 / (1 + exp(-speed * p)) - 1)`` times itself, p being the share of training that is done. So one
    backward pass teaches the classifier D at full strength, and the encoder to fool it ever more.

    Departures: D judges each pixel of the features with 1x1 convolutions where the paper's judges an image; of the
    paper's two hidden layers of 1024 both are kept, but without dropout; D learns at the recipe's rate (ten times the
    network's there). Source and target pass the network apart, as in the other methods here.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=1e-2, high=10.0, log=True, neutral=0.0)
        speed: float = tunable(10.0, low=1.0, high=20.0)  # at which the reversal grows
        width: int = tunable(1024, low=64, high=1024, log=True)  # of the classifier's hidden layers

    def setup(self) -> None:
        channels = feature_channels(self.network, len(self.task.bands))
        self.classifier = domain_classifier(channels, self.hyperparameters.width)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        logits, source_features = self.network(source, return_features=True)
        _, target_features = self.network(target, return_features=True)
        strength = self.hyperparameters.weight * reversal_strength(progress.fraction, self.hyperparameters.speed)
        return {
            "segmentation": self.segmentation_loss(source, logits),
            "domain": domain_loss(self.classifier, source_features.float(), target_features.float(), strength),
        }


def domain_loss(classifier: nn.Module, source: Tensor, target: Tensor, strength: float) -> Tensor:
    """Return the domain classifier's binary cross-entropy, each domain half, behind a gradient reversal.

    Args:
        classifier: maps features (N, D, h, w) to logits of being source (N, 1, h, w).
        source, target: features (N, D, h, w).
        strength: factor of the features' gradient, which is also negated.
    """
    losses = []
    for features, domain in ((source, 1.0), (target, 0.0)):
        judged = classifier(reverse_gradient(features, strength))
        losses.append(F.binary_cross_entropy_with_logits(judged, torch.full_like(judged, domain)))
    return (losses[0] + losses[1]) / 2


def domain_classifier(channels: int, width: int) -> nn.Sequential:
    """Return a pixel classifier with two hidden layers: features (N, channels, h, w) -> logits (N, 1, h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=1),
        nn.ReLU(),
        nn.Conv2d(width, width, kernel_size=1),
        nn.ReLU(),
        nn.Conv2d(width, 1, kernel_size=1),
    )
