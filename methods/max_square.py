"""Maximum squares: push target predictions to certainty, with gradients that certainty does not win."""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch, choice, tunable


class MaxSquare(Method):
    """Maximise the squared probabilities of target predictions (Chen et al., ICCV 2019).

    ``L = CE(source) - weight * mean over target images of (1 / C) sum over classes and pixels of w_n p_nc^2``. With
    image-wise weighting ``w_n = 1 / (N_k^ratio N^(1 - ratio))`` for a pixel whose most probable class k covers
    N_k of the image's N pixels, so that small classes count more; without it ``w_n = 1 / (2 N)``. The gradient
    of p^2 grows linearly with p, where that of the entropy grows faster, so sure pixels do not drown the others.

    The division by the C classes and the lost 1/2 of the weighted form are the official code's and not the paper's;
    they are kept, since the weight was tuned with them (0.1 in the published commands; the code's default of 1 is in
    none of them). Departures: each image of a batch has its own histogram, while the official code takes one image at
    a time; training starts from ImageNet or random weights and not from a source model; the networks here have no
    auxiliary head for the multi-level variant.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(0.1, low=1e-3, high=1.0, log=True, neutral=0.0)
        weighting: str = choice("image-wise", ("image-wise", "none"))
        ratio: float = tunable(0.2, low=0.0, high=1.0)  # 0: all pixels alike; 1: all classes of an image alike

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        segmentation = self.learn(self.segmentation_loss(source))
        logits = self.network(target).float()
        weighted = self.hyperparameters.weighting == "image-wise"
        loss = image_wise_max_square(logits, self.hyperparameters.ratio) if weighted else max_square(logits)
        return {"segmentation": segmentation, "max_square": self.hyperparameters.weight * loss}


def max_square(logits: Tensor) -> Tensor:
    """Return half the mean of the negative squared probabilities, over pixels and classes: (N, C, H, W) -> scalar."""
    return -logits.softmax(1).square().mean() / 2


def image_wise_max_square(logits: Tensor, ratio: float) -> Tensor:
    """Return the mean over images and classes of the negative weighted sum of squares: (N, C, H, W) -> scalar.

    Args:
        ratio: exponent of a class's pixel count in its image; at 0 the loss is twice `max_square`.
    """
    probabilities = logits.softmax(1)
    images, classes = logits.shape[:2]
    winners = logits.argmax(1).flatten(1)  # (N, H * W)
    # One histogram an image: the winners of image i are counted in the bins from i * C on.
    first_bins = classes * torch.arange(images, device=logits.device)[:, None]
    counts = torch.bincount((first_bins + winners).flatten(), minlength=images * classes).view(images, classes)
    # A class without pixels has a count of 0, and no pixel to weight.
    weights = 1 / (counts.clamp(min=1).to(logits.dtype) ** ratio * winners.shape[1] ** (1 - ratio))
    weighted: Tensor = probabilities.square().flatten(2) * weights.gather(1, winners)[:, None]
    return -weighted.sum() / (images * classes)
