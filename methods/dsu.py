"""Uncertain feature statistics (DSU)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.feature_statistics import channel_statistics, restyle

EPSILON = 1e-6


class DSU(Method):
    """Take the style of an image for one draw of an uncertain style, and train on others (Li et al., ICLR 2022).

    Style is the mean m and the standard deviation s of each channel of a feature map. After each stage of the encoder,
    with some probability, they are moved by as much as they differ between the images of the batch:
    ``(f - m) / s * (s + e_s S_s) + m + e_m S_m``, where S is the standard deviation of m or s over the batch and
    e ~ N(0, 1) for each image and channel; gradients go through m, s and S. ``L = CE(source)``. At test time nothing
    is changed.

    Departures: only after the stages, where the official network has two more places, between its first convolution
    and its first stage. In a batch of one image S is 0 and not undefined, so that almost nothing is changed.
    Style is that of the crop that the network sees, as in the official code, whose input is a crop or a whole image.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        probability: float = tunable(0.5, low=0.1, high=1.0, neutral=0.0)  # for a batch, drawn again after each stage

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}

    def perturb(self, stage: str, features: Tensor) -> Tensor:
        random = self.generator(stage)
        if torch.rand((), generator=random) >= self.hyperparameters.probability:
            return features
        noise = torch.randn(2, *features.shape[:2], 1, 1, generator=random)
        return move_style(features, noise.to(features.device))


def move_style(features: Tensor, noise: Tensor) -> Tensor:
    """Return features whose statistics are moved by noise, in units of the statistics' spread over the batch.

    Args:
        features: (N, D, h, w).
        noise: (2, N, D, 1, 1), first that of the means, then that of the standard deviations.

    Returns:
        (N, D, h, w).
    """
    own = channel_statistics(features, EPSILON)
    mean, deviation = (values + draw * _spread(values) for values, draw in zip(own, noise, strict=True))
    return restyle(features, own, (mean, deviation))


def _spread(values: Tensor) -> Tensor:
    """Return the standard deviation over the batch: (N, D, 1, 1) -> (1, D, 1, 1)."""
    return (values.var(0, correction=min(1, len(values) - 1), keepdim=True) + EPSILON).sqrt()
