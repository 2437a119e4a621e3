"""Entropy minimisation at test time (TENT)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from methods.base import Method, Needs, TargetBatch, choice, tunable
from methods.parts.batch_norm import batch_statistics, train_only_affine
from methods.parts.entropy import entropy

OPTIMIZERS: dict[str, Any] = {"adam": torch.optim.Adam, "sgd": partial(torch.optim.SGD, momentum=0.9)}


class TENT(Method):
    """Learn from each test batch by making its prediction more certain (Wang et al., ICLR 2021).

    ``L = mean over pixels of H(p)`` in nats, one step a batch, on the scales and shifts of the normalisation layers
    alone; batch-norm layers use the statistics of the batch. A batch is predicted before the step that it gives. Adam
    at 1e-3 is the official setting for CIFAR, SGD at 2.5e-4 that for ImageNet.
    Departures: group and layer norms are trained too, as the paper has it (the code has 2-D batch norms only); dropout
    is off (the code runs in training mode); the source's statistics are set aside instead of removed.
    """

    needs = Needs.TEST_STREAM
    depends_on_batch = True

    @dataclass(frozen=True)
    class Hyperparameters:
        learning_rate: float = tunable(1e-3, low=1e-5, high=1e-2, log=True)
        optimizer: str = choice("adam", OPTIMIZERS)

    def setup(self) -> None:
        make_optimizer = OPTIMIZERS[self.hyperparameters.optimizer]
        self.updates = make_optimizer(train_only_affine(self.network), lr=self.hyperparameters.learning_rate)

    def predict(self, batch: TargetBatch) -> Tensor:
        with batch_statistics(self.network):
            return super().predict(batch)

    def adapt(self, batch: TargetBatch) -> None:
        self.updates.zero_grad()
        torch.autograd.backward(entropy(self.predict(batch).float()).mean())
        self.updates.step()
