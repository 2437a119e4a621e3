"""Adversarial alignment where two classifiers disagree (CLAN)."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.discriminator import patch_discriminator

SOURCE, TARGET = 0.0, 1.0  # the discriminator's labels


class CLAN(Method):
    """Align most where two classifiers on the same features disagree (Luo et al., CVPR 2019, "CLAN").

    ``L = CE1 + CE2 + (1 - p) (weight * mean of m BCE(D(softmax(z1 + z2)), "source") + 2 * discrepancy * (cos(w1, w2) +
    1))`` for the logits z1 and z2 of both classifiers, on the target where D is, and their weights w1 and w2, which the
    last term drives apart; p is the share of training that is done. ``m = epsilon + local * (1 - cos)`` of both
    classifiers' probabilities in a pixel is small where they agree: what is aligned by class already stays. The
    discriminator minimises ``BCE(D_source, "source") + mean of m BCE(D_target, "target")``. In the first ``warm_up`` of
    the steps m is 1. The mean of z1 and z2 is predicted.

    Both classifiers teach the network, so that no weight of a loss makes it source-only.

    Departures: the second classifier is a copy of the network's own with other first weights, and sees its input; what
    a network adds to its classifier's logits, such as those of a series, is in both. The discriminator's learning rate
    is constant, and the network's the recipe's; both rates decay there, after a rise in the warm-up.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1e-3, low=1e-5, high=1e-1, log=True)
        discrepancy: float = tunable(0.01, low=1e-3, high=1.0, log=True)  # weight of that of the classifiers
        local: float = tunable(40.0, low=1.0, high=100.0, log=True)  # what disagreement adds to a pixel's weight
        epsilon: float = tunable(0.4, low=0.0, high=1.0)  # the weight where both agree
        warm_up: float = tunable(0.05, low=0.0, high=0.5)  # share of the steps
        learning_rate: float = tunable(1e-4, low=1e-5, high=1e-3, log=True)  # the discriminator's
        width: int = tunable(64, low=8, high=128, log=True)  # the discriminator's first layer

    def setup(self) -> None:
        self.second_head = copy.deepcopy(self.network.model.segmentation_head)
        for layer in self.second_head.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()

    def make_second_network(self) -> nn.Module:
        return patch_discriminator(len(self.task.classes), self.hyperparameters.width)

    def second_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.hyperparameters.learning_rate, betas=(0.9, 0.99))

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        options, damping = self.hyperparameters, 1 - progress.fraction
        first, second = self.classify(source)
        segmentation = self.learn(self.segmentation_loss(source, first) + self.segmentation_loss(source, second))
        source_map = (first + second).detach().softmax(1)
        first, second = self.classify(target)
        target_map, weights = (first + second).softmax(1), torch.ones_like(first[:, :1])
        if progress.fraction >= options.warm_up:
            weights = options.epsilon + options.local * disagreement(first, second)
        # The discriminator learns from the same maps after the step, without a second pass through the network.
        self._seen = source_map, target_map.detach(), weights.detach()
        angle = weight_cosine(self.network.model.segmentation_head, self.second_head)
        fooled = weighted_domain_loss(self.second_network(target_map), SOURCE, weights)
        return {
            "segmentation": segmentation,
            "adversarial": options.weight * damping * fooled,
            "discrepancy": 2 * options.discrepancy * damping * (angle + 1),
        }

    def second_losses(self, progress: Progress) -> dict[str, Tensor]:
        source, target, weights = self._seen
        alike = torch.ones_like(source[:, :1])
        return {
            "discriminator_source": weighted_domain_loss(self.second_network(source), SOURCE, alike),
            "discriminator_target": weighted_domain_loss(self.second_network(target), TARGET, weights),
        }

    def predict(self, batch: TargetBatch) -> Tensor:
        first, second = self.classify(batch)
        return (first + second) / 2

    def classify(self, batch: SourceBatch | TargetBatch) -> tuple[Tensor, Tensor]:
        """Return the logits (N, C, H, W) of both classifiers."""
        model, differences = self.network.model, list[Tensor]()

        def judge_twice(head: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
            return torch.cat((logits, self.second_head(inputs[0])))

        def keep_one(model: nn.Module, inputs: object, logits: Tensor) -> Tensor:
            first, second = logits.chunk(2)
            differences.append(second - first)
            return first

        # Between both hooks the logits are brought to the image's size, in whatever way the network does it.
        with model.segmentation_head.register_forward_hook(judge_twice), model.register_forward_hook(keep_one):
            first: Tensor = self.network(batch)
        rows, columns = first.shape[-2:]
        return first, first + differences[0][..., :rows, :columns]


def weight_cosine(first: nn.Module, second: nn.Module) -> Tensor:
    """Return the cosine of all weights of two modules of one structure, as two vectors; a scalar."""
    one, other = (torch.cat([weights.flatten() for weights in each.parameters()]) for each in (first, second))
    return F.cosine_similarity(one.float(), other.float(), dim=0)


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """Return 1 minus the cosine of both classifiers' probabilities: logits (N, C, H, W) -> (N, 1, H, W) float32."""
    return 1 - F.cosine_similarity(first.float().softmax(1), second.float().softmax(1), dim=1)[:, None]


def weighted_domain_loss(judged: Tensor, domain: float, weights: Tensor) -> Tensor:
    """Return the mean weighted binary cross-entropy of the discriminator's logits against one domain's label.

    Args:
        judged: (N, 1, h, w), which is enlarged to the size of the weights.
        weights: (N, 1, H, W).
    """
    enlarged = F.interpolate(judged.float(), weights.shape[-2:], mode="bilinear", align_corners=False)
    errors = F.binary_cross_entropy_with_logits(enlarged, torch.full_like(enlarged, domain), reduction="none")
    return (errors * weights).mean()
