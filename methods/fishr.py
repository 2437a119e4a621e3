"""Equal variances of gradients over the source domains (Fishr)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from methods.base import IGNORE, Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.domain_losses import mean_over
from methods.parts.head import classifier, padded, pass_with_features


class Fishr(Method):
    """Let the gradients of the classifier vary equally in all source domains (Rame et al., ICML 2022).

    ``L = CE(source) + weight * mean over domains of mean over weights of (v_k - mean v)^2``, where v_k is the variance
    of the derivatives of single samples by the weights of the classifier, over the samples of domain k. As in the
    official code, v_k goes on from step to step as ``v_k <- variance + decay * v_k``, without a gradient through the
    past, and the weight is 0 in the first ``warm_up`` of the steps (1500 of 5000 there).

    A sample is a pixel, and the classifier is the last convolution of the segmentation head. The derivative of a pixel
    by the weight of class c and input d at some place of the kernel is ``g_c x_d``, g the derivative by its output and
    x the input there. So the sums of the derivatives and of their squares are convolutions of x and g, and of x^2 and
    g^2, and no derivative of a single sample is kept.

    Departures: where the head enlarges its outputs, a sample is a pixel of these, with all the loss that hangs on it. A
    domain that is not in the batch keeps its v_k and is not compared; sums over fewer steps are scaled up to those of
    the domain that was there most. The cross-entropy is that of the batch, in which all domains are drawn equally
    often, so that weight 0 is plain training. The optimiser is the engine's, and is not reset after the warm-up.
    """

    sums: Tensor
    steps: Tensor

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1000.0, low=1e1, high=1e4, log=True, neutral=0.0)
        decay: float = tunable(0.95, low=0.9, high=0.99)
        warm_up: float = tunable(0.3, low=0.0, high=0.5)  # share of the steps at weight 0

    def setup(self) -> None:
        self._size = sum(weights.numel() for weights in classifier(self.network).parameters())
        count = len(self.task.domains)
        self.register_buffer("sums", torch.zeros(count, self._size))  # of variances, older ones for less
        self.register_buffer("steps", torch.zeros(count))  # with the domain; older ones for less

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        logits, features, outputs = pass_with_features(self.network, source)
        weight = 0.0 if progress.fraction < self.hyperparameters.warm_up else self.hyperparameters.weight
        penalty = self.penalty(logits, features, outputs, source)
        return {"segmentation": self.segmentation_loss(source, logits), "variances": weight * penalty}

    def penalty(self, logits: Tensor, features: Tensor, outputs: Tensor, source: SourceBatch) -> Tensor:
        """Return how far the domains' variances differ, and let them go on by this batch.

        Args:
            logits: (N, C, H, W).
            features, outputs: (N, D, h, w) and (N, C, h, w), what enters and leaves the classifier.
        """
        loss = F.cross_entropy(logits.float(), source.labels, ignore_index=IGNORE, reduction="sum")
        (slopes,) = self.gradients(loss, [outputs], create_graph=True)
        sampled = slopes.detach().ne(0).any(1)  # the rest is ignored, or was added by the network at the border
        fresh, present = [], []
        for domain in range(len(self.sums)):
            rows = source.domains == domain
            fresh.append(self.variances(features[rows].float(), slopes[rows].float(), sampled[rows].sum()))
            present.append(sampled[rows].any())
        seen = torch.stack(present)
        decay = torch.where(seen, self.hyperparameters.decay, 1.0)
        steps = decay * self.steps + seen
        sums = decay[:, None] * self.sums + seen[:, None] * torch.stack(fresh)
        self.sums.copy_(sums.detach())
        self.steps.copy_(steps)
        means = sums / steps.clamp(min=1)[:, None] * steps.max()
        centre = (seen[:, None] * means).sum(0) / seen.sum().clamp(min=1)
        return mean_over((means - centre).square().mean(1), seen)

    def variances(self, features: Tensor, slopes: Tensor, count: Tensor) -> Tensor:
        """Return the variance over pixels of the derivatives by each weight of the classifier, then by each bias.

        Args:
            features, slopes: (n, D, h, w) and (n, C, h, w) of the images of a domain, of which there may be none.
            count: () int64, number of pixels.

        Returns:
            (weights of the classifier,) float32.
        """
        if not len(features):
            return slopes.new_zeros(self._size)
        layer, wide = classifier(self.network), padded(classifier(self.network), features)
        moments = []
        for inputs, outputs in ((wide, slopes), (wide.square(), slopes.square())):
            with torch.autocast(inputs.device.type, enabled=False):  # squares of small slopes need all digits
                size, groups = layer.weight.shape, layer.groups
                total = conv2d_weight(inputs, size, outputs, layer.stride, 0, layer.dilation, groups)
            parts = [total.flatten()] + ([outputs.sum((0, 2, 3))] if layer.bias is not None else [])
            moments.append(torch.cat(parts) / count.clamp(min=1))
        return moments[1] - moments[0].square()
