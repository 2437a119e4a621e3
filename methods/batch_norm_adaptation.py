"""Prediction with the batch-norm statistics of the test batch."""

from dataclasses import dataclass

from torch import Tensor

from methods.base import Method, Needs, TargetBatch, tunable
from methods.parts.batch_norm import mixed_statistics


class BatchNormAdaptation(Method):
    """Normalise each test batch with its own statistics, held up by those of the source.

    In every batch-norm layer ``mu = (N mu_s + n mu_t) / (N + n)``, and the variance likewise, for a batch of n images
    and a prior of N (Schneider et al., NeurIPS 2020); N = 0 is the batch alone (Nado et al., 2020). Nothing is learned
    and nothing is kept from batch to batch. N = 16 is the paper's for batches of few images; an image here has as
    many pixels as many images there, so that a smaller N may do.
    As in the official code, the variance of the batch is the unbiased one, with any N; Nado et al. take the biased
    one, as training does. On p pixels that is a factor of p / (p - 1), and shows in the deepest layers only. Departure:
    a layer that gets a single value a channel keeps the statistics of the source, which elsewhere is an error.
    """

    needs = Needs.TEST_STREAM
    depends_on_batch = True
    control_for = "batch-norm statistics of the test batch alone"

    @dataclass(frozen=True)
    class Hyperparameters:
        prior: float = tunable(16.0, low=0.0, high=64.0)  # how many images the source's statistics count for

    def setup(self) -> None:
        self.network.requires_grad_(False)

    def predict(self, batch: TargetBatch) -> Tensor:
        with mixed_statistics(self.network, self.hyperparameters.prior):
            return super().predict(batch)
