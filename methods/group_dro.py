"""Group distributionally robust optimisation (GroupDRO)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.domain_losses import domain_losses


class GroupDRO(Method):
    """Weight the source domains by how badly they do (Sagawa et al., ICLR 2020).

    ``q_k <- q_k exp(step_size * L_k)``, normalised to sum 1, then ``L = sum over domains of q_k L_k`` with the new q.
    A domain with no valid pixel in the batch counts as ``L_k = 0`` in both, as in the official code, where a batch
    is large and has all of them. Departures: the loss is multiplied by the number of domains over the number of those
    in the batch, so that it is an estimate of the full sum however few of them a batch can hold; q is kept as its
    logarithm, so that a domain that was easy for long can come back; and the official code's optional adjustment
    ``C / sqrt(size of the domain)`` is left out, since a method does not get those sizes.
    """

    log_weights: Tensor

    @dataclass(frozen=True)
    class Hyperparameters:
        step_size: float = tunable(1e-2, low=1e-3, high=1e-1, log=True)  # of the ascent on q

    def setup(self) -> None:
        self.register_buffer("log_weights", torch.zeros(len(self.task.domains)).log_softmax(0))

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        losses, present = domain_losses(self.network(source), source, len(self.task.domains))
        self.log_weights.copy_(ascend(self.log_weights, losses.detach(), self.hyperparameters.step_size))
        share = present.float().mean().clamp(min=1 / len(present))
        return {"robust": (self.log_weights.exp() * losses).sum() / share}


def ascend(log_weights: Tensor, losses: Tensor, step_size: float) -> Tensor:
    """Return the logarithms of the next weights (D,) from those of the last ones and the domains' losses (D,)."""
    return (log_weights + step_size * losses).log_softmax(0)
