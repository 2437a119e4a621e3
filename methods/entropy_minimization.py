"""Entropy minimisation on the target (MinEnt)."""

from dataclasses import dataclass

from torch import Tensor

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.entropy import normalized_entropy


class EntropyMinimization(Method):
    """Minimise the entropy of target predictions (Vu et al., CVPR 2019, "ADVENT", section 3.1).

    ``L = CE(source) + weight * mean over target pixels of H(p) / ln C``. The entropy is divided by ln C as in the
    official code (the test-time methods use nats), so that the weight means the same for any number of classes.
    Departure: one output instead of the official two, since the networks here have no auxiliary head. A weight ten
    times too high drives the prediction to the most frequent class.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1e-3, low=1e-5, high=1e-1, log=True, neutral=0.0)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {
            "segmentation": self.learn(self.segmentation_loss(source)),
            "entropy": self.hyperparameters.weight * normalized_entropy(self.network(target)).mean(),
        }
