"""CORAL between the source domains."""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.alignment import moment_spread, sample_pixels


class SourceCORAL(Method):
    """Give the features of all source domains the same mean and covariance, as DomainBed's CORAL.

    ``L = CE(source) + weight * mean over pairs of domains in the batch of mean((mu_i - mu_j)^2) + mean((C_i - C_j)^2)``
    on the encoder's deepest features (Gulrajani and Lopez-Paz, ICLR 2021, after Sun and Saenko, 2016). Nothing of the
    target is seen, and a batch of one domain has nothing to align.

    Departures: the samples are at most 1024 pixels of each domain, where DomainBed's are images; cross-entropy is
    averaged over the pixels of the batch and not over domains first.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=0.1, high=10.0, log=True, neutral=0.0)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        logits, features = self.network(source, return_features=True)
        generator = self.generator("pixels")
        groups = [
            sample_pixels(features[source.domains == domain], generator) for domain in torch.unique(source.domains)
        ]
        return {
            "segmentation": self.segmentation_loss(source, logits),
            "alignment": self.hyperparameters.weight * moment_spread(groups),
        }
