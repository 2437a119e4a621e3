"""Templates of the test stream in the place of the classifier (T3A)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import Method, Needs, TargetBatch, tunable
from methods.parts.entropy import entropy
from methods.parts.head import classifier, neighbourhoods, padded, watched

PIXELS = 1024  # of a batch


class T3A(Method):
    """Replace the weights of each class by what the surest pixels of it look like (Iwasawa and Matsuo, NeurIPS 2021).

    No gradient is taken. A class has templates: at first its own weights, then features that are predicted as it, of
    which those with the lowest entropies are kept, ``templates`` at most. The new weights of a class are the sum of its
    templates, each of length 1, scaled to length 1; a logit is their product with a feature, without a bias. A batch
    counts in its own prediction.

    Departures: the classifier is the last convolution of the segmentation head, and a feature its window around a
    pixel. 1024 random pixels of a batch are looked at: the surest of all would be neighbours, and alike. As in the
    official code weights that the classifier itself gives to another class are templates of that one, and a class
    without any template has logits of 0.
    """

    needs = Needs.TEST_STREAM
    depends_on_batch = True
    templates: Tensor
    entropies: Tensor

    @dataclass(frozen=True)
    class Hyperparameters:
        templates: int = tunable(100, low=1, high=100, log=True)  # of a class

    def setup(self) -> None:
        self.network.requires_grad_(False)
        layer = classifier(self.network)
        weights = layer.weight.detach().flatten(1)
        shape = (len(weights), self.hyperparameters.templates)
        empty = weights.new_zeros(*shape, weights.shape[1]), weights.new_full(shape, torch.inf)
        outputs = weights @ weights.T + (0 if layer.bias is None else layer.bias)
        templates, entropies = admit(*empty, weights, outputs)
        self.register_buffer("templates", templates)
        self.register_buffer("entropies", entropies)  # infinite where there is no template

    def predict(self, batch: TargetBatch) -> Tensor:
        with watched(classifier(self.network), self._classify):
            return super().predict(batch)

    def adapt(self, batch: TargetBatch) -> None:
        for kept, fresh in zip((self.templates, self.entropies), self._next, strict=True):
            kept.copy_(fresh)

    def _classify(self, features: Tensor, outputs: Tensor) -> Tensor:
        """Return other outputs (N, C, h, w) of the classifier, by the templates and the pixels of this batch."""
        layer, values = classifier(self.network), outputs.detach().movedim(1, -1).flatten(0, 2)
        chosen = torch.randperm(len(values), generator=self.generator("pixels"))[:PIXELS].to(values.device)
        seen = neighbourhoods(layer, features.detach(), chosen)
        self._next = templates, entropies = admit(self.templates, self.entropies, seen, values[chosen])
        weights = class_weights(templates, entropies).view_as(layer.weight)
        with torch.autocast(features.device.type, enabled=False):
            return F.conv2d(padded(layer, features).float(), weights, None, layer.stride, 0, layer.dilation)


def admit(templates: Tensor, entropies: Tensor, features: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the surest of templates and of new features, for each class as many as there were.

    Args:
        templates, entropies: (C, K, F) and (C, K), infinite where there is none.
        features, outputs: (P, F) and (P, C), new ones and what the classifier says of them.
    """
    outputs = outputs.float()
    uncertainty = entropy(outputs[:, :, None, None]).flatten()
    belongs = outputs.argmax(1) == torch.arange(len(templates), device=outputs.device)[:, None]
    every = torch.cat([entropies, uncertainty.where(belongs, torch.inf)], 1)
    lowest, rows = every.topk(entropies.shape[1], largest=False)
    pool = torch.cat([templates, features.expand(len(templates), -1, -1)], 1)
    return torch.take_along_dim(pool, rows[:, :, None], 1), lowest


def class_weights(templates: Tensor, entropies: Tensor) -> Tensor:
    """Return the weights (C, F) of the classes, of length 1; 0 of one without a template."""
    return F.normalize((F.normalize(templates, dim=2) * entropies.isfinite()[:, :, None]).sum(1), dim=1)
