"""Self-training on target series of which dates are hidden."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import SeriesBatch, SeriesUse, TargetBatch, tunable
from methods.masked_image_consistency import MaskedImageConsistency

YEAR = 365.25  # days


class MaskedDates(MaskedImageConsistency):
    """Predict from some dates of a target series what a teacher sees in all of them.

    Masked image consistency (Hoyer et al., CVPR 2023, "MIC") in time instead of space:
    ``L = CE(source) + weight * q CE(network(target with hidden dates), teacher's labels)``, with q the share of the
    batch's target pixels that the teacher is sure of. Of each series a window of the year is hidden, as clouds and gaps
    come, and single dates besides; Presto (Tseng et al., 2023) is pretrained with masks of both kinds. At least one
    date stays. A network that leans on one month, which may look different in another year, so learns to use the rest.

    Departures: it has no other method beside it, and images stay as they are. Hidden dates are not valid ones, where
    MIC fills what it hides. Masked target series pass in training mode, which moves batch-norm statistics too.
    """

    needs_series = True
    series_use = SeriesUse.OWN

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=0.1, high=2.0, neutral=0.0)
        window: float = tunable(90.0, low=0.0, high=180.0)  # days in a row that are hidden
        ratio: float = tunable(0.3, low=0.0, high=0.8)  # of the other dates, hidden
        confidence: float = tunable(0.968, low=0.5, high=0.99)
        decay: float = tunable(0.999, low=0.9, high=0.9999)  # of the teacher

    def hide(self, target: TargetBatch) -> TargetBatch:
        options = self.hyperparameters
        return replace(target, series=hide_dates(target.series, options.window, options.ratio, self.generator("dates")))


def hide_dates(
    series: SeriesBatch | None, window: float, ratio: float, generator: torch.Generator
) -> SeriesBatch | None:
    """Return N series without the dates of a random window of the year each, and without some of the others.

    Args:
        series: series; None stays None.
        window: length of the window in days; it goes on from December in January.
        ratio: share of the dates outside it that is hidden on average.
        generator: generator on the CPU.
    """
    if series is None:
        return None
    starts = YEAR * torch.rand(len(series.valid), 1, generator=generator)
    draws = torch.rand(series.valid.shape, generator=generator).to(series.valid.device)
    return series.only(visible_dates(series, starts.to(draws.device), draws, window, ratio))


def visible_dates(series: SeriesBatch, starts: Tensor, draws: Tensor, window: float, ratio: float) -> Tensor:
    """Return the dates outside the windows whose draw is not below the ratio; the highest draw if there are none.

    Args:
        series: N series of T dates.
        starts: (N, 1), first day of each window, from the 15th of May on.
        draws: (N, T) float32, uniform in [0, 1).
        window, ratio: see `hide_dates`.

    Returns:
        (N, T) bool, at least one valid date of each series that has any.
    """
    seen = series.valid & ((series.days - starts) % YEAR >= window) & (draws >= ratio)
    ranks = draws.masked_fill(~series.valid, -1.0)
    highest = ranks == ranks.amax(1, keepdim=True)
    return seen | (highest & series.valid & ~seen.any(1, keepdim=True))
