"""Days between the seasons of the source and the target, and self-training with them (TimeMatch)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import IGNORE, Method, Needs, Progress, SeriesUse, SourceBatch, TargetBatch, tunable
from methods.parts.entropy import entropy
from methods.parts.pseudo_labels import confident_labels
from methods.parts.teacher import blend, make_teacher, warm_decay

ROUNDS = 5  # of a training, evenly long; at the end of each the days are estimated again
CANDIDATES = sorted(range(-60, 61, 2), key=abs)  # days; of equally good ones the first is taken
BATCHES = 8  # of target patches, the last of a round, that an estimate is made on


class TemporalShift(Method):
    """Move the target's dates by the days that its season is early, and learn from it (TimeMatch, Nyborg et al., 2022).

    ``L = CE(source) + weight * q CE(network(target, moved), teacher's labels)`` over the share q of target pixels that
    the teacher is sure of; it sees all dates, the network a random share. The days are the candidate with the lowest
    ``KL(source's class shares || mean p) + mean H(p)``, p the teacher's probabilities of target patches moved by it:
    sure predictions, and classes in the shares they should have (activation maximisation). During ``warm_up`` the
    network learns from the source alone; with ``weight=0`` always, and only the days set it apart from source-only.

    There is one number of days for the whole target: all source domains share one network, which knows the calendar of
    each, and the days lead to the one that fits best. Everything but source validation is predicted as target, with
    moved dates. The days are the buffer ``days`` of the trained method and its weights, above 0 for an early target.

    Departures: the paper moves the source's dates to the target, and goes on from a finished source-trained network;
    here its calendar is kept, and nothing learned twice. Class shares are the source's, where the paper takes them from
    predictions at the days of the best inception score. ``q`` and the weight (2.0 there) keep a few sure pixels from
    ruling, the teacher follows faster (0.9999), candidates are two days apart (one), the source's classes are not
    balanced and its loss is not focal. Target patches pass in training mode, which moves batch-norm statistics too, as
    in most published codes.
    """

    needs = Needs.TARGET_IMAGES
    needs_series = True
    series_use = SeriesUse.OWN

    days: Tensor  # () float32, added to the target's
    class_pixels: Tensor  # (C,) int64, of the source so far
    likely: Tensor  # (candidates, C), sum over this round's batches of the mean probabilities
    unsure: Tensor  # (candidates,), of the mean entropies

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=0.1, high=4.0, neutral=0.0)
        warm_up: float = tunable(0.4, low=0.2, high=0.8)  # share of the training, in whole rounds
        dates: float = tunable(0.5, low=0.3, high=1.0)  # share that the network sees
        confidence: float = tunable(0.9, low=0.5, high=0.99)
        decay: float = tunable(0.99, low=0.9, high=0.9999)  # of the teacher

    def setup(self) -> None:
        self.teacher = make_teacher(self.network)
        classes = len(self.task.classes)
        self.register_buffer("days", torch.zeros(()))
        self.register_buffer("class_pixels", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("likely", torch.zeros(len(CANDIDATES), classes))
        self.register_buffer("unsure", torch.zeros(len(CANDIDATES)))

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        losses = {"segmentation": self.learn(self.segmentation_loss(source))}
        self.class_pixels += torch.bincount(source.labels[source.labels != IGNORE], minlength=len(self.task.classes))
        length = max(progress.steps // ROUNDS, 1)
        start = round(self.hyperparameters.warm_up * ROUNDS) * length
        if progress.step >= start and self.hyperparameters.weight:
            losses["target"] = self.hyperparameters.weight * self._target_loss(target)
        left = length - 1 - progress.step % length
        if progress.step >= start - length and left < BATCHES:
            self._measure(target)
            if left == 0:
                self._estimate()
        return losses

    def after_step(self, progress: Progress) -> None:
        blend(self.teacher, self.network, 1 - warm_decay(self.hyperparameters.decay, progress.step))

    def predict(self, batch: TargetBatch) -> Tensor:
        return super().predict(moved(batch, self.days))

    def predict_source(self, batch: TargetBatch) -> Tensor:
        return super().predict(batch)

    def _target_loss(self, target: TargetBatch) -> Tensor:
        target = moved(target, self.days)
        with torch.no_grad():
            confidence, labels = confident_labels(self.teacher.eval()(target))
        labels = labels.masked_fill(confidence <= self.hyperparameters.confidence, IGNORE)
        if target.series:
            draws = torch.rand(target.series.valid.shape, generator=self.generator("dates")).to(labels.device)
            target = replace(target, series=target.series.only(draws < self.hyperparameters.dates))
        return F.cross_entropy(self.network(target), labels, ignore_index=IGNORE, reduction="sum") / labels.numel()

    @torch.no_grad()
    def _measure(self, target: TargetBatch) -> None:
        self.teacher.eval()
        for row, days in enumerate(CANDIDATES):
            logits = self.teacher(moved(target, days)).float()
            self.likely[row] += logits.softmax(1).mean((0, 2, 3))
            self.unsure[row] += entropy(logits).mean()

    def _estimate(self) -> None:
        batches = self.likely[0].sum()  # the probabilities of each sum to one
        shares = self.class_pixels / self.class_pixels.sum().clamp(min=1)
        best = activation_score(self.likely / batches, self.unsure / batches, shares).argmin()
        self.days.copy_(self.days.new_tensor(CANDIDATES)[best])
        for sums in (self.likely, self.unsure):
            sums.zero_()


def moved(batch: TargetBatch, days: Tensor | float) -> TargetBatch:
    """Return a batch with days added to the dates of its series, if it has one."""
    return replace(batch, series=batch.series and batch.series.moved(days))


def activation_score(likely: Tensor, unsure: Tensor, shares: Tensor) -> Tensor:
    """Return ``KL(shares || likely) + unsure``, the lower the better, in nats.

    Args:
        likely: (..., C), mean probabilities of the classes.
        unsure: (...), mean entropies of a prediction.
        shares: (C,), shares that the classes should have.
    """
    return (torch.xlogy(shares, shares) - shares * likely.clamp(min=1e-5).log()).sum(-1) + unsure
