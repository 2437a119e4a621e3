"""Robust test-time adaptation on correlated streams (RoTTA)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import Method, Needs, SeriesUse, TargetBatch, tunable
from methods.parts.batch_norm import following_statistics, train_only_affine
from methods.parts.entropy import entropy
from methods.parts.memory import BalancedMemory, Remembered, split_batch
from methods.parts.photometric import strong_view
from methods.parts.teacher import follow, make_teacher


class RoTTA(Method):
    """Learn from a memory that is balanced over classes, where the stream is one-sided (Yuan et al., CVPR 2023).

    ``L = mean over patches of weight(age) * mean over pixels of -sum_c q_c ln p_c``, on the patches in memory, with q
    of a teacher and p of the network on a view in other light; of the network the scales and shifts of normalisation
    layers are trained, and the teacher follows with ``1 - decay``. ``weight = 1 / (1 + exp(age / memory))``. A patch
    counts for the class that most of its pixels are predicted as. In memory no class has more than its share, and of
    those that compete the one goes that is old and uncertain. The stored batch-norm statistics of both networks follow
    those of the memory by ``share``; what is scored is the teacher's prediction, which is by its stored statistics, and
    so does not depend on the rest of the batch.

    Departures: the class and the uncertainty (mean entropy) are of a patch, where the paper's are of an image with one
    class; 16 patches in memory instead of 64, and an update a batch instead of one every 64 images, since all of the
    memory passes at once; the view differs in light and sharpness only, so that its pixels stay in place.
    """

    needs = Needs.TEST_STREAM
    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters:
        learning_rate: float = tunable(1e-3, low=1e-5, high=1e-2, log=True)
        memory: int = tunable(16, low=8, high=64)  # patches
        share: float = tunable(0.05, low=0.01, high=0.3, log=True)  # of the memory in the statistics
        decay: float = tunable(0.999, low=0.9, high=0.9999)
        strength: float = tunable(0.25, low=0.0, high=0.5)  # of the view's jitter

    def setup(self) -> None:
        self.teacher = make_teacher(self.network)
        self.updates = torch.optim.Adam(train_only_affine(self.network), lr=self.hyperparameters.learning_rate)
        self.memory = BalancedMemory(self.hyperparameters.memory, len(self.task.classes))

    def predict(self, batch: TargetBatch) -> Tensor:
        logits: Tensor = self.teacher(batch)
        self._taught = logits  # to remember with, without another pass
        return logits

    def adapt(self, batch: TargetBatch) -> None:
        self._remember(batch)
        known, weights = self.memory.batch()
        with following_statistics(self.teacher, self.hyperparameters.share), torch.no_grad():
            taught = self.teacher(known).float().softmax(1)
        with following_statistics(self.network, self.hyperparameters.share):
            log_probabilities = self.network(self._view(known)).float().log_softmax(1)
        losses = -(taught * log_probabilities).sum(1).mean((1, 2))
        self.updates.zero_grad()
        torch.autograd.backward((weights * losses).mean())
        self.updates.step()
        follow(self.teacher, self.network, self.hyperparameters.decay)

    def _remember(self, batch: TargetBatch) -> None:
        logits = self._taught.float()
        uncertainties = entropy(logits).mean((1, 2)).tolist()
        for patch, labels, uncertainty in zip(split_batch(batch), logits.argmax(1), uncertainties, strict=True):
            self.memory.add(Remembered(patch, int(labels.flatten().bincount().argmax()), uncertainty))

    def _view(self, batch: TargetBatch) -> TargetBatch:
        random, bands = self.generator("view"), self.task.radiometric_bands
        return replace(batch, images=strong_view(batch.images, self.hyperparameters.strength, random, bands))
