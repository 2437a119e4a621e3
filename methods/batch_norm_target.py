"""Batch-norm statistics of the target (AdaBN)."""

import torch
from torch import Tensor

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch
from methods.parts.batch_norm import batch_norms
from methods.parts.entropy import entropy


class BatchNormTarget(Method):
    """Take the statistics of every batch-norm layer from the unlabelled target pool (AdaBN, Li et al., 2018).

    Mean and (unbiased) variance of a layer are the averages of those of all batches seen so far; no weight is trained,
    and the logged entropy (nats) is no loss that anything follows. A test patch is predicted by itself, with the
    statistics of the pool. Departures: the paper's one-pass variance of the whole pool includes how far the means of
    the batches are apart, the average of variances does not, which batches drawn at random make small. Dropout, where
    a network has it, is on while the statistics are taken.
    """

    needs = Needs.SOURCE_MODEL

    def setup(self) -> None:
        self.network.requires_grad_(False)
        for layer in batch_norms(self.network):
            layer.reset_running_stats()
            layer.momentum = None  # all batches count the same

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        for layer in batch_norms(self.network):
            layer.train()  # a frozen encoder is in eval mode
        with torch.no_grad():
            return {"entropy": entropy(self.network(target).float()).mean()}
