"""Random convolutions of the input (RandConv)."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import Method, Progress, SeriesUse, SourceBatch, TargetBatch, tunable

SIDES = (1, 3, 5, 7)  # of a kernel, in pixels


class RandConv(Method):
    """Train on images whose colours and fine texture are random and whose shapes stay (Xu et al., ICLR 2021, RC_mix).

    A view of a batch is ``a (x * K) + (1 - a) x`` with ``a ~ U(0, 1)`` and a kernel K of 1, 3, 5 or 7 pixels a side,
    whose weights are N(0, 1 / (bands side^2)); all images of the batch share both. Several views are predicted, and
    ``L = CE(first view) + weight * JSD(all views)``, the Jensen-Shannon divergence of the predictions p_v,
    ``mean_v KL(p_v || mean_v p_v)``, averaged over pixels.

    The bands that hold light are convolved among themselves. Height goes into no kernel and is not changed: it has no
    colour, and mixed with light it would be none. So height stays a cue that no view makes unsure.

    Departures: x are pixel values normalised by mean and standard deviation of the batch, and are put back on that
    scale, since the network here normalises for itself. All views are of the original image, as in the paper; in the
    released code the others are made from the first.
    """

    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters:
        probability: float = tunable(1.0, low=0.3, high=1.0, neutral=0.0)  # of a view to be changed
        views: int = tunable(3, low=1, high=3, neutral=1)  # 1 for no consistency; each is a pass through the network
        weight: float = tunable(10.0, low=0.1, high=50.0, log=True)  # of the consistency

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        views = [self.view(source.images, number) for number in range(self.hyperparameters.views)]
        logits = [self.network(replace(source, images=images)) for images in views]
        return {
            "segmentation": self.segmentation_loss(source, logits[0]),
            "consistency": self.hyperparameters.weight * jensen_shannon(torch.stack(logits)),
        }

    def view(self, images: Tensor, number: int) -> Tensor:
        """Return one of the views of the raw images (N, C, H, W) at this step."""
        random = self.generator(f"view {number}")
        chance, share = torch.rand(2, generator=random).tolist()
        if chance >= self.hyperparameters.probability:
            return images
        side = SIDES[int(torch.randint(len(SIDES), (), generator=random))]
        bands = self.task.radiometric_bands
        kernel = torch.randn(len(bands), len(bands), side, side, generator=random) / math.sqrt(len(bands) * side**2)
        changed = images.clone()
        changed[:, bands] = mixed_convolution(images[:, bands], kernel.to(images.device), share)
        return changed


def mixed_convolution(images: Tensor, kernel: Tensor, share: float) -> Tensor:
    """Return images between themselves and their convolution, on the scale of the batch's mean and standard deviation.

    Args:
        images: (N, B, H, W) raw pixel values.
        kernel: (B, B, side, side) with an odd side; beyond the border is the mean.
        share: share of the convolution, from 0 to 1.

    Returns:
        (N, B, H, W), not clipped to the range of pixel values.
    """
    variance, mean = torch.var_mean(images, (0, 2, 3), correction=0, keepdim=True)
    deviation = (variance + 1e-6).sqrt()
    normalized = (images - mean) / deviation
    with torch.autocast(images.device.type, enabled=False):  # it would round pixel values to eight bits and less
        convolved = F.conv2d(normalized, kernel, padding="same")
    return images + share * deviation * (convolved - normalized)


def jensen_shannon(logits: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of predictions: (V, N, C, H, W) -> scalar in nats, the mean over pixels."""
    log_probabilities = logits.float().log_softmax(2)
    log_mixture = log_probabilities.logsumexp(0) - math.log(len(logits))
    divergences = (log_probabilities.exp() * (log_probabilities - log_mixture)).sum(2)
    return divergences.mean()
