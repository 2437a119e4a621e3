"""Efficient test-time adaptation that does not forget (EATA)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from methods.base import Method, Needs, TargetBatch, tunable
from methods.parts.batch_norm import batch_statistics, train_only_affine
from methods.parts.entropy import entropy

MEMORY = 0.9  # share of the earlier batches in the moving average of probabilities


class EATA(Method):
    """TENT on pixels that are certain and not like all others, held to what the source needs (Niu et al., ICML 2022).

    ``L = mean of exp(E - H(p)) H(p) + fisher_weight * sum_i F_i (w_i - source's w_i)^2``, the mean over pixels with
    ``H(p) < E = margin * ln C`` whose probabilities have a cosine below ``redundancy`` with the moving average over all
    pixels used so far. F is the Fisher information of the source's weights: the squared gradient of the cross-entropy
    with the labels that the source model itself predicts, averaged over batches.

    Departures: pixels are selected instead of images; the margin scales with ln C, since the official 0.4 ln 1000 is
    above the entropy that 12 classes can have. F needs images without shift, which a stream does not give: it is taken
    from the first ``fisher_batches`` of the stream, at the weights of the source, so that it says what the source's
    predictions of the target depend on. With few classes the cosine with an average is large: ``redundancy`` is the
    paper's for CIFAR-10 (0.4), where that for ImageNet (0.05) would leave out all but rare classes; ``fisher_weight``
    is that for ImageNet (for CIFAR-10 it is 1).
    """

    needs = Needs.TEST_STREAM
    depends_on_batch = True
    start: Tensor
    fisher: Tensor
    measured: Tensor
    average: Tensor

    @dataclass(frozen=True)
    class Hyperparameters:
        learning_rate: float = tunable(2.5e-4, low=1e-5, high=1e-2, log=True)
        margin: float = tunable(0.4, low=0.1, high=1.0)  # over ln C
        redundancy: float = tunable(0.4, low=0.05, high=1.0)  # cosine
        fisher_weight: float = tunable(2000.0, low=1.0, high=10_000.0, log=True)
        fisher_batches: int = tunable(8, low=1, high=32)

    def setup(self) -> None:
        self.affine = train_only_affine(self.network)
        self.updates = torch.optim.SGD(self.affine, lr=self.hyperparameters.learning_rate, momentum=0.9)
        self.register_buffer("start", parameters_to_vector(self.affine).detach().clone())
        self.register_buffer("fisher", torch.zeros_like(self.start))
        self.register_buffer("measured", torch.zeros((), dtype=torch.int64))  # batches that it is the mean of
        self.register_buffer("average", torch.full((len(self.task.classes),), math.nan))  # of probabilities; none yet

    def predict(self, batch: TargetBatch) -> Tensor:
        with batch_statistics(self.network):
            return super().predict(batch)

    def adapt(self, batch: TargetBatch) -> None:
        if self.measured < self.hyperparameters.fisher_batches:
            self._measure(batch)
        logits = self.predict(batch).float()
        uncertainty, probabilities = entropy(logits), logits.detach().softmax(1)
        limit = self.hyperparameters.margin * math.log(len(self.task.classes))
        chosen = (uncertainty < limit) & self._is_new(probabilities)
        if not chosen.any():
            return
        self._remember(probabilities.movedim(1, -1)[chosen].mean(0))
        certain = uncertainty[chosen]
        drift = (parameters_to_vector(self.affine) - self.start).square()
        loss = ((limit - certain.detach()).exp() * certain).mean()
        self.updates.zero_grad()
        torch.autograd.backward(loss + self.hyperparameters.fisher_weight * (self.fisher * drift).sum())
        self.updates.step()

    def _is_new(self, probabilities: Tensor) -> Tensor:
        """Return which pixels (N, H, W) are unlike the average: all of them while there is none."""
        likeness = F.cosine_similarity(probabilities, self.average.view(1, -1, 1, 1), dim=1).abs()
        return self.average.isnan().any() | (likeness < self.hyperparameters.redundancy)

    def _remember(self, probabilities: Tensor) -> None:
        mixed = MEMORY * self.average + (1 - MEMORY) * probabilities
        self.average.copy_(torch.where(self.average.isnan(), probabilities, mixed))

    def _measure(self, batch: TargetBatch) -> None:
        """Add a batch to the Fisher information, with the weights of the source put back meanwhile."""
        here = parameters_to_vector(self.affine).detach().clone()
        self._put(self.start)
        logits = self.predict(batch).float()
        slopes = self.gradients(F.cross_entropy(logits, logits.detach().argmax(1)), self.affine, retain_graph=False)
        self._put(here)
        self.measured += 1
        self.fisher.lerp_(parameters_to_vector(slopes).square(), 1 / self.measured.item())

    @torch.no_grad()
    def _put(self, weights: Tensor) -> None:
        sizes = [mine.numel() for mine in self.affine]
        for mine, values in zip(self.affine, torch.split(weights, sizes), strict=True):
            mine.copy_(values.view_as(mine))
