"""Source hypothesis transfer: information maximisation and pseudo-labels without source data (SHOT)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import IGNORE, Method, Needs, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.centroids import class_centroids, directions, nearest
from methods.parts.entropy import entropy
from methods.parts.head import classifier, pass_with_features

STEPS, PIXELS = 64, 512  # steps that centroids are computed from, and pixels of each


class SHOT(Method):
    """Fit the features of the target to the classifier of the source, which is frozen (Liang et al., ICML 2020).

    ``L = mean over pixels of H(p) - diversity * H(mean of p over pixels) + pseudo_labels * CE(nearest centroid)``, in
    nats: each pixel certain, all classes in use, and pixels of the class whose centroid is nearest. The centroid of a
    class is the mean of features, weighted by its probability, then once more of those features that are nearest to it;
    features have a 1 appended and length 1, and the distance is the cosine's. Weight 0 is the paper's SHOT-IM. Trained
    with SGD, the encoder at a tenth of the learning rate; the segmentation head is frozen.

    Departures: a feature is what enters the last convolution at one pixel, and a pseudo-label is for what leaves it
    there. Centroids are computed from 512 random pixels of each of the last 64 steps instead of all target data, as
    often as the paper has epochs; labels are those nearest to them now. Both are seen in eval mode, as there, which is
    a second pass. The source model is the ordinary one, without label smoothing and weight normalisation; the learning
    rate follows the recipe's schedule.
    The second term asks for classes of equal area in every batch, which is wrong for land cover. The right term, a
    divergence from the class shares of the source, needs to know them, and a source model alone does not tell; so
    there is only ``diversity`` to turn down. At 0 the most frequent class takes over.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.SOURCE_MODEL
    pool: Tensor
    probabilities: Tensor
    centroids: Tensor

    @dataclass(frozen=True)
    class Hyperparameters:
        learning_rate: float = tunable(1e-2, low=1e-4, high=1e-1, log=True)
        diversity: float = tunable(1.0, low=0.0, high=1.0)
        pseudo_labels: float = tunable(0.3, low=0.0, high=1.0)
        intervals: int = tunable(15, low=1, high=100)  # of a training; centroids are new at the beginning of each

    def setup(self) -> None:
        self.network.model.segmentation_head.requires_grad_(False)
        if self.hyperparameters.pseudo_labels:
            length, classes = classifier(self.network).in_channels + 1, len(self.task.classes)
            self.register_buffer("pool", torch.zeros(STEPS, PIXELS, length))
            self.register_buffer("probabilities", torch.zeros(STEPS, PIXELS, classes))  # 0 where there is no pixel
            self.register_buffer("centroids", torch.full((classes, length), torch.nan))

    def optimizer(self) -> torch.optim.Optimizer:
        encoder = list(self.network.model.encoder.parameters())
        known = set(encoder)
        others = [weights for weights in self.network.parameters() if weights.requires_grad and weights not in known]
        rate = self.hyperparameters.learning_rate
        groups = [{"params": encoder, "lr": rate / 10}, {"params": others}]
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, weight_decay=1e-3, nesterov=True)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        weight = self.hyperparameters.pseudo_labels
        labels = self.labels(target, progress) if weight else None
        logits, _, outputs = pass_with_features(self.network, target)
        logits = logits.float()
        losses = {
            "entropy": entropy(logits).mean(),
            "diversity": -self.hyperparameters.diversity * entropy_of_mean(logits),
        }
        if labels is not None:
            total = F.cross_entropy(outputs.float(), labels, ignore_index=IGNORE, reduction="sum")
            losses["pseudo_labels"] = weight * total / (labels != IGNORE).sum().clamp(min=1)
        return losses

    @torch.no_grad()
    def labels(self, target: TargetBatch, progress: Progress) -> Tensor:
        """Return the pseudo-labels (N, h, w) of what enters the classifier; new centroids before, where it is time."""
        self.network.eval()
        _, features, outputs = pass_with_features(self.network, target)
        self.network.train()
        points = directions(features)
        chosen = torch.randperm(points[..., 0].numel(), generator=self.generator("pixels"))[:PIXELS].to(points.device)
        for kept, values in ((self.pool, points), (self.probabilities, outputs.float().softmax(1).movedim(1, -1))):
            place = kept[progress.step % STEPS].zero_()
            place[: len(chosen)] = values.flatten(0, 2)[chosen]
        count, step = self.hyperparameters.intervals, progress.step
        if count * step // progress.steps > count * (step - 1) // progress.steps:
            self.centroids.copy_(class_centroids(self.pool.flatten(0, 1), self.probabilities.flatten(0, 1)))
        return nearest(points, self.centroids)


def entropy_of_mean(logits: Tensor) -> Tensor:
    """Return the entropy in nats of the class probabilities averaged over all pixels: (N, C, H, W) -> ()."""
    pixels = logits.log_softmax(1).transpose(0, 1).flatten(1)
    log_mean = pixels.logsumexp(1) - math.log(pixels.shape[1])
    return -(log_mean.exp() * log_mean).sum()
