"""Adversarial alignment in output space (AdaptSegNet and AdvEnt)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch, choice, tunable
from methods.parts.discriminator import patch_discriminator
from methods.parts.entropy import self_information

SOURCE, TARGET = 0.0, 1.0  # the discriminator's labels
MAPS = {"softmax": lambda logits: logits.softmax(1), "self-information": self_information}


class AdversarialAlignment(Method):
    """Make target predictions look like source predictions to a discriminator.

    ``L = CE(source) + weight * BCE(D(map(target)), "source")``, and the discriminator minimises
    ``(BCE(D(map(source)), "source") + BCE(D(map(target)), "target")) / 2`` on the same maps. With softmax maps this is
    AdaptSegNet (Tsai et al., CVPR 2018, single level), with weighted self-information maps AdvEnt (Vu et al.,
    CVPR 2019). Departures: one output level, and a constant learning rate of the discriminator (it decays there).
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1e-3, low=1e-5, high=1e-1, log=True, neutral=0.0)
        learning_rate: float = tunable(1e-4, low=1e-5, high=1e-3, log=True)  # the discriminator's
        width: int = tunable(64, low=8, high=128, log=True)  # the discriminator's first layer; 64 in both papers
        maps: str = choice("self-information", MAPS)

    def make_second_network(self) -> nn.Module:
        return patch_discriminator(len(self.task.classes), self.hyperparameters.width)

    def second_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.hyperparameters.learning_rate, betas=(0.9, 0.99))

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        to_map = MAPS[self.hyperparameters.maps]
        source_logits = self.network(source)
        segmentation = self.learn(self.segmentation_loss(source, source_logits))
        target_map = to_map(self.network(target))
        # The discriminator learns from the same maps after the step, without a second pass through the network.
        self._maps = to_map(source_logits.detach()), target_map.detach()
        return {
            "segmentation": segmentation,
            "adversarial": self.hyperparameters.weight * domain_loss(self.second_network(target_map), SOURCE),
        }

    def second_losses(self, progress: Progress) -> dict[str, Tensor]:
        source_map, target_map = self._maps
        return {
            "discriminator_source": domain_loss(self.second_network(source_map), SOURCE) / 2,
            "discriminator_target": domain_loss(self.second_network(target_map), TARGET) / 2,
        }


def domain_loss(judged: Tensor, domain: float) -> Tensor:
    """Return the binary cross-entropy of the discriminator's logits against one domain's label."""
    return F.binary_cross_entropy_with_logits(judged, torch.full_like(judged, domain))
