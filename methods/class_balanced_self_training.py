"""Self-training with a confidence threshold for each class (CBST)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import IGNORE, Method, Needs, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.pseudo_labels import balanced_labels, class_thresholds, confident_labels
from methods.parts.teacher import blend, make_teacher, warm_decay


class ClassBalancedSelfTraining(Method):
    """Learn from target pixels that are among the surest of their class (Zou et al., ECCV 2018, "CBST").

    ``L = CE(source) + weight * CE(target, y)``, the second averaged over the selected pixels: ``y = argmax_c p_c /
    t_c`` where that is at least 1. The threshold t_c is the confidence of the last of the surest share of the pixels
    predicted as c; so rare and hard classes get their share of pseudo-labels too.

    Departures: one training instead of rounds that alternate labelling and training. The network of the round before
    is a slow teacher, which labels in eval mode as that one does, with batch-norm statistics that follow the network's
    as its weights do; the thresholds are a moving average over batches, of every fourth pixel, and stay near 1 for a
    class that is hardly predicted; the first steps see the source alone, as the first round starts from a source
    model; and the share grows with the steps after them. Without the spatial prior of street scenes, and without the
    search for patches of rare classes.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES
    thresholds: Tensor

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=0.1, high=2.0, neutral=0.0)
        warm_up: float = tunable(0.25, low=0.0, high=0.5)  # share of the steps
        first_share: float = tunable(0.2, low=0.05, high=0.5)  # of the pixels of a class, after the warm-up
        last_share: float = tunable(0.5, low=0.2, high=0.9)  # at the end
        momentum: float = tunable(0.9, low=0.5, high=0.99)  # of the thresholds
        decay: float = tunable(0.999, low=0.9, high=0.9999)  # of the teacher

    def setup(self) -> None:
        self.teacher = make_teacher(self.network)
        self.register_buffer("thresholds", torch.ones(len(self.task.classes)))

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        losses = {"segmentation": self.learn(self.segmentation_loss(source))}
        if progress.fraction >= self.hyperparameters.warm_up:
            losses["pseudo_labels"] = self.hyperparameters.weight * self.target_loss(target, self.share(progress))
        return losses

    def target_loss(self, target: TargetBatch, share: float) -> Tensor:
        """Return the loss on the selected pixels, a share of those of each class."""
        labels = self.pseudo_labels(target, share)
        total = F.cross_entropy(self.network(target), labels, ignore_index=IGNORE, reduction="sum")
        return total / (labels != IGNORE).sum().clamp(min=1)

    def share(self, progress: Progress) -> float:
        """Return the share of the pixels of a class to select; it grows evenly after the warm-up."""
        options = self.hyperparameters
        done = (progress.fraction - options.warm_up) / (1 - options.warm_up)
        share: float = options.first_share + done * (options.last_share - options.first_share)
        return share

    @torch.no_grad()
    def pseudo_labels(self, target: TargetBatch, share: float) -> Tensor:
        """Return the labels (N, H, W) int64 with `IGNORE`, after the thresholds have moved by this batch."""
        return balanced_labels(self.judge(target, share), self.thresholds)

    @torch.no_grad()
    def judge(self, target: TargetBatch, share: float) -> Tensor:
        """Return the teacher's probabilities (N, C, H, W), and move the thresholds by this batch."""
        logits = self.teacher.eval()(target)
        confidence, labels = confident_labels(logits[..., ::2, ::2])
        fresh = class_thresholds(confidence, labels, len(self.thresholds), share)
        moved = fresh.lerp(self.thresholds, self.hyperparameters.momentum)
        self.thresholds.copy_(self.thresholds.where(fresh.isnan(), moved))
        return logits.float().softmax(1)

    def after_step(self, progress: Progress) -> None:
        blend(self.teacher, self.network, 1 - warm_decay(self.hyperparameters.decay, progress.step))
