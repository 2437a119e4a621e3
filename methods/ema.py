"""Exponential moving average of the weights (EMA)."""

from dataclasses import dataclass

from torch import Tensor

from methods.base import Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.teacher import blend, make_teacher, warm_decay


class EMA(Method):
    """Train as source-only, and predict with a moving average of the weights (Tarvainen and Valpola, NeurIPS 2017).

    After each step ``average <- d average + (1 - d) network`` with ``d = min(1 - 1 / (step + 1), decay)``, and 0.999 as
    they have it for all but their first steps. It remembers ``1 / (1 - decay)`` steps;
    in a training of no more than these it is the mean of all of them, the poor ones of the beginning included.

    The statistics of batch normalisation are averaged with the same decay. Copied, they would be those of the newest
    features, which run ahead of averaged weights; averaged, both are of one age. Buffers of whole numbers, such as
    counts of batches, keep the values of the start, and no prediction reads them.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        decay: float = tunable(0.999, low=0.9, high=0.9999, neutral=0.0)

    def setup(self) -> None:
        self.average = make_teacher(self.network)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}

    def after_step(self, progress: Progress) -> None:
        blend(self.average, self.network, 1 - warm_decay(self.hyperparameters.decay, progress.step))

    def predict(self, batch: TargetBatch) -> Tensor:
        logits: Tensor = self.average(batch)
        return logits
