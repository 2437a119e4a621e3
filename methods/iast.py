"""Self-training with thresholds that adapt to each image (IAST)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import IGNORE, TargetBatch, tunable
from methods.class_balanced_self_training import ClassBalancedSelfTraining
from methods.parts.entropy import entropy
from methods.parts.pseudo_labels import confident_labels

FIRST, HIGHEST = 0.9, 0.999  # thresholds at the start, and the highest one


class IAST(ClassBalancedSelfTraining):
    """Learn from target pixels that are sure by the measure of their image (Mei et al., ECCV 2020, "IAST").

    ``L = CE(source) + weight * (CE(y) + kld_weight * K + entropy_weight * H)``. A pixel's label y is the teacher's, if
    its confidence reaches the threshold t_c of the class; K is ``-(1 / C) sum_c log p_c``, averaged over these pixels
    as the cross-entropy is, and keeps them from growing too sure. H is the entropy in nats of the others, averaged over
    them: they have no label, and are still to become certain.

    The thresholds pass from image to image, ``t_c <- momentum t_c + (1 - momentum) q_c``, before its pixels are
    selected. q_c is the confidence that a share ``a t_c^gamma`` of the image's pixels of class c exceed, t_c itself
    being one more of them. So an image with other light does not lose all of its labels or give nothing but labels,
    and a class of which little is sure, where t_c is low, gives few labels.

    Departures: one training instead of rounds: the share a grows from ``first_share`` to ``last_share`` (in the paper
    round by round), a slow teacher labels, and the first steps see the source alone, where the paper starts from an
    adversarial training; all as in `class-balanced-self-training`, without its quota over images and its thresholds.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    @dataclass(frozen=True)
    class Hyperparameters(ClassBalancedSelfTraining.Hyperparameters):
        last_share: float = tunable(0.3, low=0.2, high=0.9)  # at the end
        gamma: float = tunable(8.0, low=1.0, high=16.0)  # how much fewer labels an unsure class gives
        kld_weight: float = tunable(0.1, low=0.01, high=1.0, log=True)
        entropy_weight: float = tunable(3.0, low=0.1, high=5.0)

    def setup(self) -> None:
        super().setup()
        self.thresholds.fill_(FIRST)

    def target_loss(self, target: TargetBatch, share: float) -> Tensor:
        options = self.hyperparameters
        labels = self.pseudo_labels(target, share)
        selected = labels != IGNORE
        logits = self.network(target).float()
        errors = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
        sureness = -logits.log_softmax(1).mean(1)
        kept = mean_where(selected, errors + options.kld_weight * sureness)
        return kept + options.entropy_weight * mean_where(~selected, entropy(logits))

    @torch.no_grad()
    def pseudo_labels(self, target: TargetBatch, share: float) -> Tensor:
        """Return the labels (N, H, W) int64 with `IGNORE`; the thresholds move with each image."""
        options = self.hyperparameters
        confidence, labels = confident_labels(self.teacher.eval()(target))
        kept = []
        for sure, label in zip(confidence, labels, strict=True):
            fresh = image_thresholds(sure, label, self.thresholds, share, options.gamma)
            self.thresholds.copy_(fresh.lerp(self.thresholds, options.momentum).clamp(max=HIGHEST))
            kept.append(label.masked_fill(sure < self.thresholds[label], IGNORE))
        return torch.stack(kept)


def image_thresholds(confidence: Tensor, labels: Tensor, thresholds: Tensor, share: float, gamma: float) -> Tensor:
    """Return for each class the confidence that a share of an image's pixels of the class exceed, interpolated.

    Args:
        confidence: (H, W) float32.
        labels: (H, W) int64.
        thresholds: (C,) float32 of the images before; each is one more confidence of its class.
        share: share of the pixels of a class whose threshold is 1.
        gamma: exponent of the threshold in the share.

    Returns:
        (C,) float32.
    """
    quantiles = 1 - share * thresholds**gamma
    found = [
        torch.cat((old[None], confidence[labels == index])).quantile(quantile)
        for index, (old, quantile) in enumerate(zip(thresholds, quantiles, strict=True))
    ]
    return torch.stack(found)


def mean_where(chosen: Tensor, values: Tensor) -> Tensor:
    """Return the mean of chosen values, 0 if there are none: (N, H, W) bool and (N, H, W) -> scalar."""
    return torch.where(chosen, values, 0).sum() / chosen.sum().clamp(min=1)
