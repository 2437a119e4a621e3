"""Uncertainty reduction for model adaptation (URMA)."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import IGNORE, Method, Needs, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.entropy import normalized_entropy
from methods.parts.head import classifier, pass_with_features
from methods.parts.pseudo_labels import balanced_labels, class_thresholds, confident_labels
from methods.parts.teacher import make_teacher


class URMA(Method):
    """Learn features of the target by which classes are recognised though half of them are missing.

    That is, reduce the uncertainty of the source model (Sivaprasad and Fleuret, CVPR 2021):
    ``L = CE(p, y) + entropy * H(p) / ln C + uncertainty * sum over d of mean (q_d - p)^2``. The labels y are those that
    the source model gives to the surest ``share`` of the pixels of each class, as in CBST (Zou et al., ECCV 2018).
    Each q_d is predicted by a classifier of its own, new and trained at ten times the learning rate, from the features
    without half of their channels; no gradient goes through that p. The classifier of the source is frozen, the rest is
    trained by SGD at a constant rate.

    Departures: the classifier is the last convolution of the segmentation head, and features are what enters it, in the
    place of DeepLab's classifier of the deepest features; p is compared with q_d at its resolution. The thresholds of
    the classes are a moving average over batches, and not those of all target data. Without the search for patches of
    rare classes. The term that asks for classes of equal area is left out, as the code advises.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.SOURCE_MODEL
    constant_rate = True
    thresholds: Tensor

    @dataclass(frozen=True)
    class Hyperparameters:
        learning_rate: float = tunable(5e-5, low=1e-5, high=1e-2, log=True)
        entropy: float = tunable(1.0, low=0.0, high=2.0)
        uncertainty: float = tunable(0.1, low=0.01, high=10.0, log=True)
        classifiers: int = tunable(4, low=1, high=8)  # that see half of the channels
        share: float = tunable(0.2, low=0.05, high=0.5)  # of the pixels of a class that get a label
        momentum: float = tunable(0.9, low=0.5, high=0.99)  # of the thresholds

    def setup(self) -> None:
        self.source_model = make_teacher(self.network)
        layer = classifier(self.network)
        copies = [copy.deepcopy(layer).requires_grad_(True) for _ in range(self.hyperparameters.classifiers)]
        for each in copies:
            each.reset_parameters()
        self.classifiers = nn.ModuleList(copies)
        self.network.model.segmentation_head.requires_grad_(False)
        self.register_buffer("thresholds", torch.ones(len(self.task.classes)))

    def optimizer(self) -> torch.optim.Optimizer:
        rate = self.hyperparameters.learning_rate
        mine = [weights for weights in self.network.parameters() if weights.requires_grad]
        groups = [{"params": mine}, {"params": self.classifiers.parameters(), "lr": 10 * rate}]
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, weight_decay=5e-4)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        labels = self.labels(target)
        logits, features, outputs = pass_with_features(self.network, target)
        total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
        sure = outputs.detach().float().softmax(1)
        gaps = []
        for each in self.classifiers:
            unsure = each(F.dropout2d(features, 0.5)).float().softmax(1)
            gaps.append((unsure - sure).square().mean())
        return {
            "pseudo_labels": total / (labels != IGNORE).sum().clamp(min=1),
            "entropy": self.hyperparameters.entropy * normalized_entropy(logits.float()).mean(),
            "uncertainty": self.hyperparameters.uncertainty * torch.stack(gaps).sum(),
        }

    @torch.no_grad()
    def labels(self, target: TargetBatch) -> Tensor:
        """Return the labels (N, H, W) of the source model with `IGNORE`, and move the thresholds by this batch."""
        logits = self.source_model.eval()(target)
        confidence, predicted = confident_labels(logits)
        fresh = class_thresholds(confidence, predicted, len(self.thresholds), self.hyperparameters.share)
        moved = fresh.lerp(self.thresholds, self.hyperparameters.momentum)
        self.thresholds.copy_(self.thresholds.where(fresh.isnan(), moved))
        return balanced_labels(logits.float().softmax(1), self.thresholds)
