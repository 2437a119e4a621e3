"""The season of the aerial image, read from the series around its date, as a second input."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.base import Method, Progress, SeriesBatch, SourceBatch, TargetBatch, tunable
from methods.parts.feature_size import residual_stages
from methods.parts.metadata import Metadata

WIDTH = 32
MONTHS = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)  # days of a year before each month
REFERENCE = 134  # days of a year before the 15th of May


class SeasonConditioning(Method):
    """Tell the image's encoder how far the season was when the image was taken, as its series shows it.

    ``features * (1 + strength * scale) + strength * shift`` after each residual stage of the image's encoder, alike
    everywhere in an image (FiLM, Perez et al., AAAI 2018), while training and at test time, and ``L = CE(source)``.
    Scale and shift, two numbers a channel, come from the state of the season by a layer of 32 and a ReLU; they are 0
    before the first step.

    The state is what the satellite saw around the date of the flight, over the ground of the series: each band's mean,
    and how far it is from its mean of the year, both normalised as the network's series are. Around the flight a date
    counts by ``exp(-days to the flight / reach)``, in the year all count alike. The date itself is not given: years may
    be early or late, and May of the one look like June of the other. Where the date of the flight is unknown, or the
    series has no valid date, the state is 0, as it is for a share of the patches in training (``dropout``).

    FiLM conditions on a question; to condition on the series' state at the flight is ours.
    """

    needs_series = True

    @dataclass(frozen=True)
    class Hyperparameters:
        strength: float = tunable(1.0, low=0.1, high=1.0, neutral=0.0)
        reach: float = tunable(10.0, low=3.0, high=60.0, log=True)  # days
        dropout: float = tunable(0.2, low=0.0, high=0.6)

    def setup(self) -> None:
        self.encode = nn.Sequential(nn.Linear(2 * len(self.network.series_mean), WIDTH), nn.ReLU())
        stages = residual_stages(self.network, len(self.task.bands))
        self.films = nn.ModuleDict({name: nn.Linear(WIDTH, 2 * channels) for name, channels in stages.items()})
        for weights in self.films.parameters():
            nn.init.zeros_(weights)
        self._state: Tensor | None = None

    def fuse(self, stage: str, features: Tensor) -> Tensor:
        if self._state is None or stage not in self.films:
            return features
        film = self.films[stage](self.encode(self._state))
        scale, shift = (self.hyperparameters.strength * film.to(features.dtype)[..., None, None]).chunk(2, 1)
        return features * (1 + scale) + shift

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        draws = torch.rand(len(source.images), 1, generator=self.generator("dropout"))
        kept = (draws >= self.hyperparameters.dropout).to(source.images.device)
        return {"segmentation": self.segmentation_loss(source, self._logits(source, kept))}

    def predict(self, batch: TargetBatch) -> Tensor:
        return self._logits(batch)

    def _logits(self, batch: SourceBatch | TargetBatch, kept: Tensor | float = 1.0) -> Tensor:
        """Return the network's logits with the states of the season; ``kept`` (N, 1) is 0 where it is hidden."""
        mean, deviation = self.network.series_mean.flatten(), self.network.series_std.flatten()
        if batch.series is not None:
            flight = days_of_flight(batch.metadata)
            self._state = kept * season_state(batch.series, flight, mean, deviation, self.hyperparameters.reach)
        try:
            logits: Tensor = self.network(batch)
        finally:
            self._state = None
        return logits


def days_of_flight(metadata: Metadata) -> Tensor:
    """Return the days (N,) float32 from the 15th of May to each date, negative before it, NaN where unknown."""
    months = torch.tensor(MONTHS, dtype=torch.float32, device=metadata.month.device)
    before = months[metadata.month.nan_to_num(1.0).long() - 1]
    return before + metadata.day - 1 - REFERENCE + 0 * metadata.month


def season_state(series: SeriesBatch, flight: Tensor, mean: Tensor, deviation: Tensor, reach: float) -> Tensor:
    """Return the state of the season around each flight: the bands' means, and these less their means of the year.

    Args:
        series: N series of B bands.
        flight: (N,) as from `days_of_flight`.
        mean, deviation: (B,) by which the bands are normalised.
        reach: days after which a date counts by the factor 1 / e.

    Returns:
        (N, 2 B) float32; 0 where no date is valid, and where that of the flight is unknown.
    """
    values = (series.values.mean((3, 4)) - mean) / deviation
    known = series.valid & flight[:, None].isfinite()
    distance = (series.days - flight[:, None]).abs()
    around = (-distance / reach).masked_fill(~known, -torch.inf).softmax(1).nan_to_num(0.0)
    year = known / known.sum(1, keepdim=True).clamp(min=1)
    means = [(weights[..., None] * values).sum(1) for weights in (around, year)]
    return torch.cat((means[0], means[0] - means[1]), 1)
