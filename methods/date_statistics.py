"""Statistics of the series, date by date: source series with the target's means and deviations."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import Method, Needs, Progress, SeriesBatch, SeriesUse, SourceBatch, TargetBatch, tunable

YEAR = 365.25  # days
ROUNDING = 1.0  # variance that is added to each, in squares of stored units: a band may be constant


class DateStatistics(Method):
    """Give the series of a source domain the statistics that the target's series have at the same time of the year.

    ``x' = x + strength * ((x - mean_s) / std_s * std_t + mean_t - x)`` for each band of each date of a source series,
    and ``L = CE(source)``. Means and deviations are those of the band over all pixels seen so far in the same part of
    the year (``bins`` of equal length; of 12, each is around the 15th of a month), s in the series of the domain, t in
    those of the target. So a season that is late in the target is late in the source as well, and so is its haze.

    AdaBN (Li et al., 2018) gives each domain statistics of its own, and AdaIN (Huang and Belongie, ICCV 2017) replaces
    statistics by those of another style, both of features; to do so with the input, by the time of the year, is ours.
    A date whose part of the year the target has not shown yet stays as it is. All classes of a date are moved alike:
    soil and water, which have no season, go with the plants, and where places differ in how frequent their classes are,
    the series of a forest gets a field's mean. Images and the target's series stay.
    """

    dates: Tensor
    mean: Tensor
    variance: Tensor
    needs = Needs.TARGET_IMAGES
    needs_series = True
    series_use = SeriesUse.OWN

    @dataclass(frozen=True)
    class Hyperparameters:
        strength: float = tunable(1.0, low=0.25, high=1.0, neutral=0.0)
        bins: int = tunable(12, low=4, high=24)  # parts of the year

    def setup(self) -> None:
        bands, bins = len(self.network.series_mean), self.hyperparameters.bins
        groups = max(1, len(self.task.domains)) + 1  # the last is the target
        self.register_buffer("dates", torch.zeros(groups * bins, 1))
        self.register_buffer("mean", torch.zeros(groups * bins, bands))
        self.register_buffer("variance", torch.zeros(groups * bins, bands))

    def augment(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> tuple[SourceBatch, TargetBatch]:
        if source.series is None or target.series is None:
            return source, target
        last = len(self.dates) // self.hyperparameters.bins - 1
        own = self._slots(source.series, source.domains)
        new = self._slots(source.series, torch.full_like(source.domains, last))
        self._learn(source.series, own)
        self._learn(target.series, self._slots(target.series, own.new_full((len(target.images),), last)))
        return replace(source, series=self._restyle(source.series, own, new)), target

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}

    def _slots(self, series: SeriesBatch, groups: Tensor) -> Tensor:
        """Return the row (N, T) of each date in the statistics, of series of some groups (N,)."""
        bins = self.hyperparameters.bins
        return groups[:, None] * bins + part_of_year(series.days, bins)

    def _learn(self, series: SeriesBatch, slots: Tensor) -> None:
        """Let the valid dates of a batch into the statistics; ``slots`` (N, T) are their rows."""
        dates, mean, variance = statistics_of(series, slots, len(self.dates))
        share = dates / (self.dates + dates).clamp(min=1)
        change = mean - self.mean
        self.dates += dates
        self.mean += share * change
        # Of two sets taken together: the mean of the variances, and how far the means are apart.
        self.variance += share * (variance - self.variance) + share * (1 - share) * change.square()

    def _restyle(self, series: SeriesBatch, own: Tensor, new: Tensor) -> SeriesBatch:
        """Return a series whose dates have the statistics of the rows ``new`` instead of ``own``, both (N, T)."""
        deviation = (self.variance + ROUNDING).sqrt()
        factor = deviation[new] / deviation[own]
        shift = self.mean[new] - factor * self.mean[own]
        changed = series.values * factor[..., None, None] + shift[..., None, None]
        known = series.valid & (self.dates[new, 0] > 0)
        values = series.values.lerp(changed, self.hyperparameters.strength)
        return replace(series, values=torch.where(known[:, :, None, None, None], values, series.values))


def part_of_year(days: Tensor, bins: int) -> Tensor:
    """Return the part of the year of days after the 15th of May: int64, 0 for the part in whose middle that day is."""
    return (days * (bins / YEAR)).round().long() % bins


def statistics_of(series: SeriesBatch, slots: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return number of dates, mean and variance of each band of the valid dates by their slots.

    Args:
        series: N series of B bands.
        slots: (N, T) int64, below ``count``.

    Returns:
        (count, 1), (count, B) and (count, B) float32, zeros where there is no date.
    """
    # Products of matrices instead of scattered sums, whose order on a GPU is not always the same.
    member = (torch.arange(count, device=slots.device)[:, None] == slots[series.valid]).float()
    values = series.values[series.valid].float()  # (V, B, h, w)
    dates = member.sum(1, keepdim=True)
    weights = member / dates.clamp(min=1)
    mean = weights @ values.mean((2, 3))
    apart = values - (member.T @ mean)[..., None, None]
    return dates, mean, weights @ apart.square().mean((2, 3))
