"""Marginal entropy minimisation with one test image (MEMO)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from methods.augmentation_ensemble import VIEWS, view_of
from methods.base import Method, Needs, SeriesUse, TargetBatch, tunable
from methods.cotta import turn_back
from methods.parts.batch_norm import mixed_statistics
from methods.parts.memory import split_batch


class MEMO(Method):
    """Make the predictions of views of one image agree and be certain, image by image (Zhang et al., NeurIPS 2022).

    ``L = mean over pixels of H(mean over views of p)``: one step of gradient descent on all weights of the source,
    with which this image is predicted; the next one starts from the source again. Batch-norm layers mix the statistics
    of the source with those of the view, as ``prior`` images to one.

    Departures: the entropy is that of each pixel, where the paper has one prediction for an image (a port to
    segmentation takes the mean over pixels first, which is the entropy of the image's class shares). Eight views
    instead of 32 or 64, right angles and flips in eight lights: they can be turned back without resampling. The views
    are passed one by one, so that each has statistics of its own. The learning rate is that for ImageNet; for CIFAR-10
    it is 0.005.
    """

    needs = Needs.TEST_STREAM
    series_use = SeriesUse.TURNED

    @dataclass(frozen=True)
    class Hyperparameters:
        learning_rate: float = tunable(2.5e-4, low=1e-5, high=1e-2, log=True)
        brightness: float = tunable(0.2, low=0.0, high=0.6)  # largest change, as a share
        prior: float = tunable(16.0, low=0.0, high=64.0)  # how many images the source's statistics count for

    def setup(self) -> None:
        self.network.requires_grad_(False)

    def predict(self, batch: TargetBatch) -> Tensor:
        # Its own gradients are taken while the engine keeps none; what was made without them cannot be learned from.
        with torch.inference_mode(False), torch.enable_grad():
            return torch.cat([self._predict_one(image) for image in split_batch(batch)])

    def _predict_one(self, image: TargetBatch) -> Tensor:
        weights = {name: value.detach().clone().requires_grad_() for name, value in self.network.named_parameters()}
        bands = self.task.radiometric_bands
        with mixed_statistics(self.network, self.hyperparameters.prior):
            views = []
            for number in range(VIEWS):
                view = view_of(image, number, self.hyperparameters.brightness, bands)
                views.append(turn_back(functional_call(self.network, weights, (view,)).float(), number))
            loss = marginal_entropy(torch.stack(views)).mean()
            slopes = self.gradients(loss, weights.values(), retain_graph=False, allow_unused=True)
            rate = self.hyperparameters.learning_rate
            adapted = {
                name: value.detach() if slope is None else value.detach() - rate * slope
                for (name, value), slope in zip(weights.items(), slopes, strict=True)
            }
            with torch.no_grad():
                logits: Tensor = functional_call(self.network, adapted, (image,))
        return logits


def marginal_entropy(logits: Tensor) -> Tensor:
    """Return the entropy in nats of the probabilities averaged over views: (V, N, C, ...) -> (N, ...)."""
    log_mean = logits.log_softmax(2).logsumexp(0) - math.log(len(logits))
    return -(log_mean.exp() * log_mean).sum(1)
