"""Self-training whose pseudo-labels are denoised by the distance to prototypes of the classes (ProDA)."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import Method, Needs, Progress, SeriesUse, SourceBatch, TargetBatch, tunable
from methods.parts.feature_size import feature_channels
from methods.parts.photometric import strong_view
from methods.parts.teacher import follow, make_teacher, warm_decay

LEAST = math.log(1e-4)  # what the logarithm of a 0 counts for in the reverse cross-entropy


class ProDA(Method):
    """Correct pseudo-labels by the prototypes that a pixel's features are near to (Zhang et al., CVPR 2021, "ProDA").

    ``L = CE(source) + weight * (alpha CE + RCE)(strong view of target, y)`` with ``y = argmax_c w_c p_c``.
    p are the teacher's probabilities, and ``w = softmax(-||f - eta_c|| * sharpness)`` over the classes weighs them by
    the distance of the teacher's features f to the prototype eta_c of each class, the mean feature of what is predicted
    as it. RCE is the reverse cross-entropy, whose gradient is small on pixels that contradict their label (symmetric
    cross-entropy, Wang et al., ICCV 2019). A prototype is the mean of the first ``1 / momentum`` batches that show its
    class, and follows those after them with ``momentum``.

    Departures: the denoising alone, without the regulariser and the consistency of views that the paper trains with
    and the two stages of distillation behind. One training: a slow teacher gives p, where the paper fixes those of a
    model after its warm-up, and the first steps see the source alone. The prototypes start from the first batches
    instead of the whole target pool. f are the encoder's deepest features, brought to the size of the image as w; the
    paper's are the last before the classifier. Strong views change light and blur, and no geometry.
    Strong views pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES
    series_use = SeriesUse.LEFT
    prototypes: Tensor
    seen: Tensor

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=0.1, high=2.0, neutral=0.0)
        alpha: float = tunable(0.1, low=0.01, high=1.0, log=True)  # of the cross-entropy beside the reverse one
        sharpness: float = tunable(1.0, low=0.1, high=10.0, log=True)  # 1 / temperature of the prototypes
        momentum: float = tunable(1e-4, low=1e-4, high=0.1, log=True)  # of the prototypes
        warm_up: float = tunable(0.25, low=0.0, high=0.5)  # share of the steps
        strength: float = tunable(0.25, low=0.0, high=0.5)  # of the jitter
        decay: float = tunable(0.999, low=0.9, high=0.9999)  # of the teacher

    def setup(self) -> None:
        classes = len(self.task.classes)
        self.teacher = make_teacher(self.network)
        channels = feature_channels(self.network, len(self.task.bands))
        self.register_buffer("prototypes", torch.zeros(classes, channels))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.int64))  # batches that showed a class

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        losses = {"segmentation": self.learn(self.segmentation_loss(source))}
        options = self.hyperparameters
        if progress.fraction >= options.warm_up:
            labels = self.denoised_labels(target)
            bands = self.task.radiometric_bands
            images = strong_view(target.images, options.strength, self.generator("view"), bands)
            logits = self.network(replace(target, images=images)).float()
            losses["denoised"] = options.weight * symmetric_cross_entropy(logits, labels, options.alpha)
        return losses

    @torch.no_grad()
    def denoised_labels(self, target: TargetBatch) -> Tensor:
        """Return the labels (N, H, W) int64 of a batch, after the prototypes have learned from it."""
        logits, features = self.teacher(target, return_features=True)
        features, probabilities = features.float(), logits.float().softmax(1)
        cells = F.adaptive_avg_pool2d(probabilities, features.shape[-2:]).argmax(1)
        means, present = class_means(features, cells, len(self.prototypes))
        self.seen += present
        rates = (1 / self.seen.clamp(min=1)).clamp(min=self.hyperparameters.momentum)
        self.prototypes += (present * rates)[:, None] * (means - self.prototypes)
        weights = prototype_weights(features, self.prototypes, self.hyperparameters.sharpness, self.seen > 0)
        enlarged = F.interpolate(weights, logits.shape[-2:], mode="bilinear", align_corners=False)
        return (enlarged * probabilities).argmax(1)

    def after_step(self, progress: Progress) -> None:
        follow(self.teacher, self.network, warm_decay(self.hyperparameters.decay, progress.step))


def class_means(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the mean feature of each class, and whether there is any.

    Args:
        features: (N, D, h, w) float32.
        labels: (N, h, w) int64.

    Returns:
        (classes, D), 0 where there is none; and (classes,) bool.
    """
    belongs = F.one_hot(labels.flatten(), classes).to(features)
    counts = belongs.sum(0)
    with torch.autocast(features.device.type, enabled=False):
        sums = belongs.T @ features.movedim(1, -1).flatten(0, -2)
    return sums / counts.clamp(min=1)[:, None], counts > 0


def prototype_weights(features: Tensor, prototypes: Tensor, sharpness: float, known: Tensor) -> Tensor:
    """Return how near each cell is to each prototype, as weights of sum 1 over those that are known.

    Args:
        features: (N, D, h, w).
        prototypes: (C, D).
        known: (C,) bool, at least one is.

    Returns:
        (N, C, h, w).
    """
    distances = torch.stack([(features - each[:, None, None]).norm(dim=1) for each in prototypes], 1)
    return (-distances * sharpness).masked_fill(~known[:, None, None], -torch.inf).softmax(1)


def symmetric_cross_entropy(logits: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """Return ``alpha CE + RCE`` averaged over pixels, with labels (N, H, W) int64 and logits (N, C, H, W) float32.

    The reverse cross-entropy of a label y is ``-sum_c p_c log(y_c) = -LEAST (1 - p_y)``.
    """
    likelihood = logits.log_softmax(1).gather(1, labels[:, None])
    return -(alpha * likelihood + LEAST * (1 - likelihood.exp())).mean()
