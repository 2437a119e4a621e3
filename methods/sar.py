"""Sharpness-aware and reliable entropy minimisation at test time (SAR)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from methods.base import Method, Needs, TargetBatch, tunable
from methods.parts.batch_norm import batch_statistics, train_only_affine
from methods.parts.entropy import entropy

FORGET = 0.1  # share of the latest loss in the moving average


class SAR(Method):
    """TENT on the pixels that are already rather certain, towards flat minima, with a way back (Niu et al., ICLR 2023).

    ``L(w) = mean of H(p) over the pixels with H(p) < margin * ln C``, and the step is along the gradient of L at
    ``w + radius * g / |g|``, g the gradient at w, over the pixels that are certain at both. Where the moving average of
    that loss falls below ``collapse * ln C / ln 1000`` nats, the weights of the source come back.
    Departures: pixels are selected instead of images; thresholds in nats scale with ln C, since 0.4 ln 1000 is above
    the entropy that 12 classes can have, and nothing would be left out; all normalisation layers are trained (the code
    leaves out the last blocks of its networks by name). SAR is made for group and layer norms, because the statistics
    of a mixed batch mislead: batch-norm layers use those of the batch here, as in TENT, and share that weakness. After
    a reset the average starts again; the code means that too, but puts the old one back, and so resets again and again.
    Most pixels of a map are certain, so their average is lower than that of images: try a lower ``collapse`` first.
    """

    needs = Needs.TEST_STREAM
    depends_on_batch = True
    average: Tensor
    start: Tensor

    @dataclass(frozen=True)
    class Hyperparameters:
        learning_rate: float = tunable(2.5e-4, low=1e-5, high=1e-2, log=True)
        margin: float = tunable(0.4, low=0.1, high=1.0)  # over ln C
        radius: float = tunable(0.05, low=0.005, high=0.5, log=True)
        collapse: float = tunable(0.2, low=0.0, high=0.5)  # nats, of 1000 classes

    def setup(self) -> None:
        self.affine = train_only_affine(self.network)
        self.updates = torch.optim.SGD(self.affine, lr=self.hyperparameters.learning_rate, momentum=0.9)
        self.register_buffer("start", parameters_to_vector(self.affine).detach().clone())
        self.register_buffer("average", torch.tensor(math.nan))  # of the loss; none yet

    def predict(self, batch: TargetBatch) -> Tensor:
        with batch_statistics(self.network):
            return super().predict(batch)

    def adapt(self, batch: TargetBatch) -> None:
        here = parameters_to_vector(self.affine).detach()
        reliable, loss = self._reliable(batch, True)
        slope = parameters_to_vector(self.gradients(loss, self.affine, retain_graph=False))
        self._put(here + self.hyperparameters.radius * slope / (slope.norm() + 1e-12))
        reliable, loss = self._reliable(batch, reliable)
        self.updates.zero_grad()
        torch.autograd.backward(loss)
        self._put(here)
        self.updates.step()
        self._watch(loss.detach(), reliable.any())

    def _reliable(self, batch: TargetBatch, among: Tensor | bool) -> tuple[Tensor, Tensor]:
        """Return which pixels (N, H, W) of some, or of all (True), are certain, and their mean entropy or 0."""
        uncertainty = entropy(self.predict(batch).float())
        certain = (uncertainty < self.hyperparameters.margin * math.log(len(self.task.classes))) & among
        return certain, torch.where(certain, uncertainty, 0).sum() / certain.sum().clamp(min=1)

    @torch.no_grad()
    def _put(self, weights: Tensor) -> None:
        sizes = [mine.numel() for mine in self.affine]
        for mine, values in zip(self.affine, torch.split(weights, sizes), strict=True):
            mine.copy_(values.view_as(mine))

    def _watch(self, loss: Tensor, known: Tensor) -> None:
        """Bring the source's weights back where the average of the loss, if it is known of this batch, is too low."""
        average = torch.where(self.average.isnan(), loss, self.average.lerp(loss, FORGET))
        self.average.copy_(torch.where(known, average, self.average))
        if self.average < self.hyperparameters.collapse * math.log(len(self.task.classes)) / math.log(1000):
            self._put(self.start)
            self.updates.state.clear()
            self.average.fill_(math.nan)
