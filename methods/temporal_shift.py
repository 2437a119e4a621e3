"""Days between the seasons of the source and the target, and self-training with them (TimeMatch)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import IGNORE, Method, Needs, Progress, SeriesUse, SourceBatch, TargetBatch, tunable
from methods.parts.entropy import entropy
from methods.parts.pseudo_labels import confident_labels
from methods.parts.teacher import blend, make_teacher, warm_decay

ROUNDS = 10  # of a training, evenly long; at the end of each the days are estimated again
BATCHES = 4  # of target patches, the last of a round, that an estimate is made on


class TemporalShift(Method):
    """Move the target's dates by the days that its season is early, and learn from it (Nyborg et al., 2022, "TimeMatch").

    ``L = CE(source) + weight * CE(network(target, days moved), teacher's labels)`` over the target pixels that the
    teacher is sure of; it sees all dates and the network a random share of them. The days are those of all candidates
    with the lowest ``KL(source's class shares || mean p) + mean H(p)``, p the teacher's probabilities of target patches
    with dates moved so: sure predictions, and classes in the shares they should have (activation maximisation). First
    the network learns from the source alone (``warm_up``). With ``weight=0`` the days are all that is adapted: the
    weights are source-only's, and the target is predicted with its dates moved.

    There is one number of days, of all of the target: sources of several years share one network, which knows the
    calendar of each, and the days lead to whichever fits best. Everything but source validation is predicted as target,
    with moved dates; checkpoints are chosen by the source with its dates as they are. The days of a trained method are
    the buffer ``days`` (``days`` in its weights, too), above 0 where the target is early.

    Departures: the paper moves the source's dates to the target instead, by the same days, for a network that goes on
    from a source-trained one; here it stays in the source's calendar, and learns nothing again. Class shares are the
    source's, where the paper takes them from predictions at a shift that is estimated by the inception score. The
    teacher follows faster than the paper's (0.9999), source classes are not balanced, and there is no focal loss.
    Target patches pass in training mode, which moves batch-norm statistics too, as in most published codes.
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
        weight: float = tunable(2.0, low=0.1, high=4.0, neutral=0.0)
        warm_up: float = tunable(0.3, low=0.1, high=0.8)  # share of the training, in whole rounds
        most: int = tunable(60, low=15, high=90)  # days, to either side
        spacing: int = tunable(2, low=1, high=10)  # of the candidates, days
        dates: float = tunable(0.5, low=0.3, high=1.0)  # share that the network sees
        confidence: float = tunable(0.9, low=0.5, high=0.99)
        decay: float = tunable(0.99, low=0.9, high=0.9999)  # of the teacher

    def setup(self) -> None:
        self.teacher = make_teacher(self.network)
        steps, classes = self.hyperparameters.most // self.hyperparameters.spacing, len(self.task.classes)
        # The nearest to 0 first: they win where the score is the same.
        self._candidates = sorted((k * self.hyperparameters.spacing for k in range(-steps, steps + 1)), key=abs)
        self.register_buffer("days", torch.zeros(()))
        self.register_buffer("class_pixels", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("likely", torch.zeros(len(self._candidates), classes))
        self.register_buffer("unsure", torch.zeros(len(self._candidates)))

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
            if not left:
                self._estimate()
        return losses

    def after_step(self, progress: Progress) -> None:
        blend(self.teacher, self.network, 1 - warm_decay(self.hyperparameters.decay, progress.step))

    def predict(self, batch: TargetBatch) -> Tensor:
        logits: Tensor = self.network(moved(batch, self.days))
        return logits

    def predict_source(self, batch: TargetBatch) -> Tensor:
        logits: Tensor = self.network(batch)
        return logits

    def _target_loss(self, target: TargetBatch) -> Tensor:
        target = moved(target, self.days)
        with torch.no_grad():
            confidence, labels = confident_labels(self.teacher.eval()(target))
        labels = labels.masked_fill(confidence <= self.hyperparameters.confidence, IGNORE)
        if target.series:
            draws = torch.rand(target.series.valid.shape, generator=self.generator("dates"))
            seen = (draws < self.hyperparameters.dates).to(labels.device)
            target = replace(target, series=target.series.only(seen))
        total = F.cross_entropy(self.network(target), labels, ignore_index=IGNORE, reduction="sum")
        return total / (labels != IGNORE).sum().clamp(min=1)

    @torch.no_grad()
    def _measure(self, target: TargetBatch) -> None:
        self.teacher.eval()
        for row, days in enumerate(self._candidates):
            logits = self.teacher(moved(target, days)).float()
            self.likely[row] += logits.softmax(1).mean((0, 2, 3))
            self.unsure[row] += entropy(logits).mean()

    def _estimate(self) -> None:
        batches = self.likely[0].sum()  # the probabilities of each sum to one
        shares = self.class_pixels / self.class_pixels.sum().clamp(min=1)
        best = activation_score(self.likely / batches, self.unsure / batches, shares).argmin()
        self.days.copy_(self.days.new_tensor(self._candidates)[best])
        self.likely.zero_()
        self.unsure.zero_()


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
