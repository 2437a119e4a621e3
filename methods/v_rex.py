"""Variance risk extrapolation (V-REx)."""

from dataclasses import dataclass

from torch import Tensor

from methods.base import Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.domain_losses import domain_losses, mean_over


class VREx(Method):
    """Make all source domains equally hard by risk extrapolation (Krueger et al., ICML 2021).

    ``L = CE(source) + weight * mean over domains of (L_k - mean L)^2``, where L_k is the cross-entropy of a domain and
    the variance is that of a population, over the domains of the batch. In the first ``warm_up`` of the steps the
    weight is 1, as in DomainBed (500 of 5000 steps there). Both terms are divided by the weight where it is above 1, as
    in the authors' own code, so that the gradients keep their size. Departures: the first term is the cross-entropy of
    the batch, in which all domains are drawn equally often, instead of the mean of L_k, so that weight 0 is plain
    training; and the optimiser is the engine's, and is not reset when the weight jumps, as DomainBed resets Adam.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(10.0, low=1e-1, high=1e5, log=True, neutral=0.0)
        warm_up: float = tunable(0.1, low=0.0, high=0.5, neutral=0.0)  # share of the steps at weight 1

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        logits = self.network(source)
        losses, present = domain_losses(logits, source, len(self.task.domains))
        variance = mean_over((losses - mean_over(losses, present)) ** 2, present)
        weight = 1.0 if progress.fraction < self.hyperparameters.warm_up else self.hyperparameters.weight
        size = max(1.0, weight)
        return {"segmentation": self.segmentation_loss(source, logits) / size, "variance": weight / size * variance}
