"""Universal test-time adaptation: weighting, weight ensembling and prior correction (ROID)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import Method, Needs, SeriesUse, TargetBatch, switch, tunable
from methods.parts.batch_norm import batch_statistics, train_only_affine
from methods.parts.entropy import entropy
from methods.parts.photometric import strong_view

CLIP, LEAST = 0.99, 1e-5  # of a probability in the loss, and of its odds


class ROID(Method):
    """Learn most from pixels that are certain and unlike others, and lean on the source (Marsden et al., WACV 2024).

    ``L = mean over pixels of w (-sum_c p_c ln(p_c / (1 - p_c)) + SCE(p', p))``: the soft likelihood ratio keeps its
    slope where entropy has none left, and SCE is the symmetric cross-entropy with the prediction p' of a view in other
    light. ``w = exp(diversity * certainty / temperature)``, both from 0 to 1 within the batch: the distance by cosine
    from the moving average of probabilities, and the negative entropy. Pixels of less than mean diversity get none. The
    scales and shifts of the normalisation layers are trained, and after each step they go ``1 - momentum`` of the way
    back to the source's. What is scored is corrected by the shares of the classes that are predicted for the batch.

    Departures: pixels are weighted instead of images; the view differs in light and sharpness only, so that its pixels
    stay in place. The correction adds the logarithm of the smoothed shares to the logits; the official code multiplies
    them, which lifts a rare class where logits are negative. On maps with rare classes it may cost more than it gives.
    """

    needs = Needs.TEST_STREAM
    depends_on_batch = True
    series_use = SeriesUse.LEFT
    average: Tensor

    @dataclass(frozen=True)
    class Hyperparameters:
        learning_rate: float = tunable(2.5e-4, low=1e-5, high=1e-2, log=True)
        temperature: float = tunable(1 / 3, low=0.1, high=1.0)
        momentum: float = tunable(0.99, low=0.9, high=1.0)  # share of the adapted weights after each step
        strength: float = tunable(0.25, low=0.0, high=0.5)  # of the view's jitter
        prior_correction: bool = switch(True)

    def setup(self) -> None:
        classes = len(self.task.classes)
        self.affine = train_only_affine(self.network)
        self.updates = torch.optim.SGD(self.affine, lr=self.hyperparameters.learning_rate, momentum=0.9)
        for number, weights in enumerate(self.affine):
            self.register_buffer(f"start{number}", weights.detach().clone())
        self.register_buffer("average", torch.full((classes,), 1 / classes))  # of probabilities

    def predict(self, batch: TargetBatch) -> Tensor:
        logits = self._logits(batch)
        return logits + smoothed_shares(logits).log().view(1, -1, 1, 1) if self._corrects else logits

    @property
    def _corrects(self) -> bool:
        return bool(self.hyperparameters.prior_correction)

    def adapt(self, batch: TargetBatch) -> None:
        logits = self._logits(batch)
        weights = self._weights(logits.detach())
        of_view = self._logits(self._view(batch))
        losses = likelihood_ratio(logits) + symmetric_cross_entropy(of_view, logits)
        self.updates.zero_grad()
        torch.autograd.backward((weights * losses).mean())
        self.updates.step()
        with torch.no_grad():
            for number, mine in enumerate(self.affine):
                mine.lerp_(getattr(self, f"start{number}"), 1 - self.hyperparameters.momentum)

    def _logits(self, batch: TargetBatch) -> Tensor:
        with batch_statistics(self.network):
            return super().predict(batch).float()

    def _view(self, batch: TargetBatch) -> TargetBatch:
        random, bands = self.generator("view"), self.task.radiometric_bands
        return replace(batch, images=strong_view(batch.images, self.hyperparameters.strength, random, bands))

    def _weights(self, logits: Tensor) -> Tensor:
        """Return the weight of each pixel (N, H, W), and take the batch into the average of probabilities."""
        probabilities = logits.softmax(1)
        diversity = _stretched(1 - F.cosine_similarity(self.average.view(1, -1, 1, 1), probabilities, dim=1))
        weights = (diversity * _stretched(-entropy(logits)) / self.hyperparameters.temperature).exp()
        self.average.lerp_(probabilities.mean((0, 2, 3)), 0.1)
        return weights.masked_fill(diversity < diversity.mean(), 0)


def _stretched(values: Tensor) -> Tensor:
    """Return values moved and scaled to 0 to 1; all 0 where they are equal."""
    low, high = values.aminmax()
    return (values - low) / (high - low).clamp(min=1e-12)


def likelihood_ratio(logits: Tensor) -> Tensor:
    """Return ``-sum_c p_c ln(p_c / (1 - p_c))`` of each pixel, p cut at 0.99: (N, C, H, W) -> (N, H, W)."""
    probabilities = logits.softmax(1).clamp(max=CLIP)
    return -(probabilities * (probabilities / (1 - probabilities) + LEAST).log()).sum(1)


def symmetric_cross_entropy(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean of the two cross-entropies of each pixel: logits (N, C, H, W) twice -> (N, H, W)."""
    both = other.softmax(1) * one.log_softmax(1) + one.softmax(1) * other.log_softmax(1)
    return -both.sum(1) / 2


def smoothed_shares(logits: Tensor) -> Tensor:
    """Return the mean probability of each class over all pixels, drawn to equal shares: (N, C, H, W) -> (C,).

    The less, the more one class prevails.
    """
    shares = logits.softmax(1).mean((0, 2, 3))
    pixels, classes = logits[:, 0].numel(), len(shares)
    smoothing = max(1 / pixels, 1 / classes) / shares.max()
    return (shares + smoothing) / (1 + smoothing * classes)
