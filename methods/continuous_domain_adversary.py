"""Adversarial alignment along continuous domain indices (CIDA and PCIDA)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch, choice, switch, tunable
from methods.parts.batch_metadata import BatchMetadata
from methods.parts.feature_size import feature_channels
from methods.parts.metadata import domain_index

SIZE = 4  # numbers of a domain index


def square_errors(judged: Tensor, index: Tensor) -> Tensor:
    """Return the errors (N, d) of the regressed and the true index, both (N, d)."""
    return (index - judged).square()


def gaussian_errors(judged: Tensor, index: Tensor) -> Tensor:
    """Return minus the log-likelihood (N, d) of an index (N, d) by means and log variances (N, 2 d), but a constant."""
    mean, log_variance = judged.chunk(2, 1)
    return ((index - mean).square() / log_variance.exp() + log_variance) / 2


ERRORS = {"mse": (1, square_errors), "gaussian": (2, gaussian_errors)}  # what D gives for each number of the index


class ContinuousDomainAdversary(Method):
    """Keep an adversary from telling by the features where and when a patch was taken (Wang et al., ICML 2020).

    The adversary D regresses the domain index u of a patch, `domain_index`: day of the year and place. It minimises
    ``error = (error(D(f_s), u_s) + error(D(f_t), u_t)) / 2`` for the encoder's deepest features f, and the network
    ``L = CE(source) - weight * error``. The error is the mean square (CIDA) or the negative log-likelihood of a
    Gaussian whose mean and log variance D gives (PCIDA). What is unknown of u counts in no error.

    As in the paper the encoder is given u, so that it can undo what place and date do to the features: a small MLP of u
    is added to the deepest ones, at test time too; there what is unknown is 0. ``index_to_encoder=false``: not.

    Departures: u enters after the last stage, not at the input, which works with every encoder. D takes the mean of
    the features over the image. Its layers are normalised over their channels instead of over the batch, since a batch
    of one has no variance; without any normalisation features that only grow would win the game. Its learning rate is
    constant (it halves every 50 epochs there); the other settings of its Adam are the official ones.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(2.0, low=1e-2, high=10.0, log=True, neutral=0.0)  # as for images there; 0.4 for points
        error: str = choice("mse", ERRORS)
        index_to_encoder: bool = switch(True, neutral=False)
        learning_rate: float = tunable(2e-4, low=1e-5, high=1e-3, log=True)  # the adversary's
        width: int = tunable(512, low=32, high=1024, log=True)  # of the adversary's layers

    def setup(self) -> None:
        self._channels = feature_channels(self.network, len(self.task.bands))
        self._deepest = list(self.network.stages)[-1]
        self._outputs, self._errors = ERRORS[self.hyperparameters.error]
        self._batch = BatchMetadata()
        has_encoder = self.hyperparameters.index_to_encoder
        self.index_encoder = index_encoder(self._channels) if has_encoder else None

    def fuse(self, stage: str, features: Tensor) -> Tensor:
        if stage != self._deepest or self.index_encoder is None:
            return features
        index = domain_index(self._batch.of(features)).nan_to_num(0.0)
        shift: Tensor = self.index_encoder(index)
        return features + shift.to(features.dtype)[:, :, None, None]

    def make_second_network(self) -> nn.Module:
        return index_regressor(self._channels, self._outputs * SIZE, self.hyperparameters.width)

    def second_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.hyperparameters.learning_rate, weight_decay=5e-4)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        logits, source_features = self._run(source)
        _, target_features = self._run(target)
        source_index, target_index = domain_index(source.metadata), domain_index(target.metadata)
        # The adversary learns from the same features after the step, without a second pass through the network.
        self._seen = (source_features.detach(), source_index), (target_features.detach(), target_index)
        error = (self._error(source_features, source_index) + self._error(target_features, target_index)) / 2
        return {
            "segmentation": self.segmentation_loss(source, logits),
            "adversarial": -self.hyperparameters.weight * error,
        }

    def second_losses(self, progress: Progress) -> dict[str, Tensor]:
        source_seen, target_seen = self._seen
        return {
            "discriminator_source": self._error(*source_seen) / 2,
            "discriminator_target": self._error(*target_seen) / 2,
        }

    def predict(self, batch: TargetBatch) -> Tensor:
        logits: Tensor = self._run(batch)[0]
        return logits

    def _run(self, batch: SourceBatch | TargetBatch) -> Any:
        with self._batch.known(batch.metadata):
            return self.network(batch, return_features=True)

    def _error(self, features: Tensor, index: Tensor) -> Tensor:
        """Return the adversary's mean error over what is known of the index, 0 if there is nothing."""
        errors = self._errors(self.second_network(features).float(), index.nan_to_num(0.0))
        known = index.isfinite()
        return (errors * known).sum() / known.sum().clamp(min=1)


def index_encoder(channels: int) -> nn.Sequential:
    """Return a network from domain indices (N, 4) to what is added to the features (N, channels)."""
    return nn.Sequential(nn.Linear(SIZE, 64), nn.ReLU(), nn.Linear(64, channels))


def index_regressor(channels: int, outputs: int, width: int) -> nn.Sequential:
    """Return the adversary, with the official three hidden layers: features (N, channels, h, w) -> (N, outputs)."""
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for inputs in (channels, width, width):
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.LeakyReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))
