"""Stochastic weight averaging, densely (SWAD)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from methods.base import LossOf, Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.teacher import blend, make_teacher


class SWAD(Method):
    """Train as source-only, and predict with the mean weights of a valley of the validation loss.

    The mean is over all steps in the valley (Cha et al., NeurIPS 2021).

    The valley begins with the steps that lead to a loss which the next ``n_converge - 1`` validations do not undercut.
    Its rim is ``(1 + tolerance_ratio)`` times the mean loss of these ``n_converge`` validations; it ends with the last
    validation at or below the rim before ``n_tolerance`` in a row above it. A checkpoint predicts with the mean up to
    there, as if training ended with it, and with the plain network while no valley has begun. As in the paper's
    Algorithm 1 the learning rate is constant: with one that falls to zero, the last steps are all alike and their mean
    is the last network. There are twenty validations, on a sample of source validation. The optimiser is the paper's
    (Adam), at a rate for networks that are not as large and pretrained as theirs (5e-5).

    Departures: each step counts once; the official code counts some stretches around the beginning twice, and may add
    some from before it. Of the first ``n_converge`` validations only the last can be above the rim, so that no more
    than two means need to be kept. Training does not stop where the valley ends: all methods have the same steps. The
    statistics of batch normalisation are averaged as the weights are. The official code freezes them, or runs 500 more
    batches through the averaged network: training that no other method gets. The averaged variances are a little too
    large, since the variance of the mean of several networks' features is at most the mean of their variances.
    """

    constant_rate = True

    # Numbers that must survive an interruption, as float32 scalars on the device: no step waits for their values.
    recent_steps: Any  # averaged in `recent`
    valley_steps: Any  # averaged in `valley`
    lowest: Any  # validation loss so far
    loss_sum: Any  # of the validations since the lowest, itself included
    loss_count: Any
    rim: Any  # infinite while no valley has begun
    above: Any  # validations above the rim in a row

    @dataclass(frozen=True)
    class Hyperparameters:
        n_converge: int = tunable(3, low=2, high=6)
        n_tolerance: int = tunable(6, low=2, high=10)
        tolerance_ratio: float = tunable(0.3, low=0.0, high=0.5)
        learning_rate: float = tunable(1e-3, low=1e-5, high=1e-2, log=True)

    def setup(self) -> None:
        self.recent = make_teacher(self.network)  # mean since the last validation that was let into the valley
        self.valley = make_teacher(self.network)  # mean of the valley, or of what may become one
        for name in ("recent_steps", "valley_steps", "loss_sum", "loss_count", "above"):
            self.register_buffer(name, torch.zeros(()))
        for name in ("lowest", "rim"):
            self.register_buffer(name, torch.full((), torch.inf))

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.hyperparameters.learning_rate)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}

    def after_step(self, progress: Progress) -> None:
        self.recent_steps += 1
        blend(self.recent, self.network, 1 / self.recent_steps)

    def validate(self, loss_of: LossOf, progress: Progress) -> None:
        if self.above >= self.hyperparameters.n_tolerance:
            return  # the valley has ended
        loss = self.lowest.new_tensor(loss_of(super().predict))
        if self.rim.isinf():
            if loss < self.lowest:  # no valley began before this one
                self.lowest.copy_(loss)
                for number in (self.valley_steps, self.loss_sum, self.loss_count):
                    number.zero_()
            self.loss_sum += loss
            self.loss_count += 1
            if self.loss_count == self.hyperparameters.n_converge:
                self.rim.copy_((1 + self.hyperparameters.tolerance_ratio) * self.loss_sum / self.loss_count)
        if loss > self.rim:
            self.above += 1
            return
        self.above.zero_()
        self.valley_steps += self.recent_steps
        blend(self.valley, self.recent, self.recent_steps / self.valley_steps)
        self.recent_steps.zero_()

    def predict(self, batch: TargetBatch) -> Tensor:
        logits: Tensor = super().predict(batch) if self.rim.isinf() else self.valley(batch)
        return logits
