"""Continual test-time adaptation by a teacher (CoTTA)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import Method, Needs, SeriesUse, TargetBatch, tunable
from methods.parts.batch_norm import batch_statistics
from methods.parts.teacher import follow, make_teacher


class CoTTA(Method):
    """Learn from a teacher that is averaged over time and over views, and forget a little (Wang et al., CVPR 2022).

    ``L = mean over pixels of -sum_c q_c ln p_c``, with p of the network and q of its teacher, of which only the network
    is trained. After each step the teacher follows with ``decay``, and each weight of the network falls back to the
    source's with probability ``restore``. Where the source model is unsure of the batch (mean confidence below
    ``threshold``), the teacher's logits are averaged over turned views of random brightness. What is scored is the
    teacher's output before the step. All three use the statistics of the batch. At first the teacher is the network,
    and only views differ from it: where the source model is sure of every batch, nothing is ever learned.
    Departures: eight views instead of 32, since right angles and flips give eight that can be turned back without
    resampling, and every one costs a pass; other augmentations of the code are left out, since they blur borders. The
    one decision for the batch is that of the classification code, with its default of 0.9; the segmentation code
    decides for each pixel at 0.69, and trains on the hard labels. The learning rate is that of the latter (6e-5 / 8).
    """

    needs = Needs.TEST_STREAM
    depends_on_batch = True
    series_use = SeriesUse.TURNED

    @dataclass(frozen=True)
    class Hyperparameters:
        learning_rate: float = tunable(7.5e-6, low=1e-6, high=1e-3, log=True)
        decay: float = tunable(0.999, low=0.9, high=0.9999)
        threshold: float = tunable(0.9, low=0.5, high=1.0)
        views: int = tunable(8, low=1, high=8)
        brightness: float = tunable(0.4, low=0.0, high=0.6)  # largest change, as a share
        restore: float = tunable(0.01, low=0.0, high=0.1)

    def setup(self) -> None:
        self.teacher, self.anchor = make_teacher(self.network), make_teacher(self.network)
        self.updates = torch.optim.Adam(self.network.parameters(), lr=self.hyperparameters.learning_rate)

    def predict(self, batch: TargetBatch) -> Tensor:
        with batch_statistics(self.anchor):
            confidence = self.anchor(batch).float().softmax(1).amax(1).mean()
        with batch_statistics(self.teacher):
            unsure = confidence < self.hyperparameters.threshold
            logits: Tensor = self._averaged(batch) if unsure else self.teacher(batch)
        self._taught = logits  # to learn from, without all these passes again
        return logits

    def adapt(self, batch: TargetBatch) -> None:
        with batch_statistics(self.network):
            loss = consistency(self.network(batch), self._taught)
        self.updates.zero_grad()
        torch.autograd.backward(loss)
        self.updates.step()
        follow(self.teacher, self.network, self.hyperparameters.decay)
        self._restore()

    def _averaged(self, batch: TargetBatch) -> Tensor:
        """Return the teacher's logits averaged over views; the height is not light, and stays."""
        images, views = batch.images, self.hyperparameters.views
        bands = self.task.radiometric_bands
        draws = torch.rand(views, len(images), 1, 1, 1, generator=self.generator("brightness"))
        factors = (1 + self.hyperparameters.brightness * (2 * draws - 1)).to(images.device)
        total = torch.zeros((), device=images.device)
        for view in range(views):
            lit = images.clone()
            lit[:, bands] = (images[:, bands] * factors[view]).clamp(0, 255)
            series = batch.series and replace(batch.series, values=turn(batch.series.values, view))
            turned = replace(batch, images=turn(lit, view), series=series)
            total = total + turn_back(self.teacher(turned).float(), view)
        return total / views

    @torch.no_grad()
    def _restore(self) -> None:
        generator = self.generator("restore")
        for mine, theirs in zip(self.network.parameters(), self.anchor.parameters(), strict=True):
            chosen = torch.rand(mine.shape, generator=generator) < self.hyperparameters.restore
            mine.copy_(torch.where(chosen.to(mine.device), theirs, mine))


def consistency(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the cross-entropy of the teacher's probabilities, averaged over pixels; both (N, C, H, W)."""
    return F.cross_entropy(logits.float(), teacher_logits.float().softmax(1))


def turn(images: Tensor, number: int) -> Tensor:
    """Return one of the eight symmetries of the square: (..., H, W), or (..., W, H) for every other number."""
    flipped = images.flip(-1) if number % 8 >= 4 else images
    return flipped.rot90(number % 4, (-2, -1))


def turn_back(images: Tensor, number: int) -> Tensor:
    """Return what `turn` with the same number made its output of."""
    straight = images.rot90(-(number % 4), (-2, -1))
    return straight.flip(-1) if number % 8 >= 4 else straight
