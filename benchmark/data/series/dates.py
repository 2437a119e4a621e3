"""Dates that are kept of a series, by its clouds and snow, and their means month by month: pure functions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.series.series import CLOUD, NO_DATA, PATCH, SNOW, Series


@dataclass(frozen=True)
class DateFilter:
    """Rule which dates are kept, by the covers of the crop, not of the whole zone.

    Attributes:
        probability: percent from which on a pixel counts as covered.
        share: share of covered pixels below which a date is kept.
        inclusive: whether a date with this very share is kept, too.
        union: whether a pixel covered by both counts once; else the two counts are summed.
        snow_alone: whether, where no date is kept, snow alone decides.
    """

    probability: int = 60
    share: float = 0.5
    inclusive: bool = False
    union: bool = False
    snow_alone: bool = False


FLAIR2 = DateFilter()
"""Filter of FLAIR #2's published code."""

FLAIRHUB = DateFilter(probability=2, share=0.05, inclusive=True, union=True, snow_alone=True)
"""Filter of FLAIR-HUB's published code: at most 1 % of both in 95 % of the pixels."""

DATE_FILTERS: dict[str, DateFilter | None] = {"all": None, "flair2": FLAIR2, "flairhub": FLAIRHUB}
"""Rules by name; None keeps all dates."""


@dataclass(frozen=True)
class SeriesView:
    """The part of a series that a training sees.

    Attributes:
        side: even side in pixels of what is cut around the middle of an image.
        dates: name of a rule of `DATE_FILTERS`.
        monthly: whether the kept dates are averaged month by month.
    """

    side: int = PATCH
    dates: str = "flair2"
    monthly: bool = False

    @property
    def rule(self) -> DateFilter | None:
        """The filter of dates; None for all dates."""
        return DATE_FILTERS[self.dates]


def choose_dates(covers: NDArray[np.uint8], rule: DateFilter = FLAIR2) -> tuple[NDArray[np.int64], bool]:
    """Return the numbers (k,) of the dates to keep, at least one, and whether the rule kept none of them.

    Where it keeps none, the date with the smallest share of covered pixels is kept, the first of equals. (The published
    code of FLAIR #2 then fails where it averages, and gives an empty series where it does not.)

    Args:
        covers: (T, 2, H, W), see `Series`. Pixels without data count neither as covered nor as pixels.
    """
    pixels = np.maximum((covers[:, CLOUD] != NO_DATA).sum((-2, -1)), 1)
    covered = (covers >= rule.probability) & (covers != NO_DATA)
    seen = (covers[:, CLOUD] != NO_DATA).any((-2, -1))
    both = (covered.any(1) if rule.union else covered.sum(1)).sum((-2, -1)) / pixels
    shares = np.where(seen, both, np.inf)
    kept = _kept(shares, rule)
    if not len(kept) and rule.snow_alone:
        kept = _kept(np.where(seen, covered[:, SNOW].sum((-2, -1)) / pixels, np.inf), rule)
    if not len(kept):
        return np.array([shares.argmin()]), True
    return kept, False


def _kept(shares: NDArray[np.float64], rule: DateFilter) -> NDArray[np.int64]:
    return np.flatnonzero(shares <= rule.share if rule.inclusive else shares < rule.share)


def select(series: Series, rule: DateFilter | None = FLAIR2, *, monthly: bool = False) -> tuple[Series, bool]:
    """Return the dates of a crop that a rule keeps, or the means of their months, and whether the rule kept none.

    Args:
        series: crop of a patch.
        rule: see `choose_dates`; None keeps all dates.
        monthly: whether the means of `average_months` are returned.
    """
    kept, fell_back = choose_dates(series.covers, rule) if rule else (np.arange(len(series.days)), False)
    chosen = series.take(kept)
    return average_months(chosen) if monthly else chosen, fell_back


def average_months(series: Series) -> Series:
    """Return one image a calendar month that has dates: the mean of its pixels with data, dated to the 15th.

    Months without dates are left out, as in FLAIR #2, so T differs. Values become float32; the covers are means,
    rounded. (FLAIR-HUB always gives 12 months, where a gap repeats the month before.)
    """
    months, month_of = np.unique(series.days.astype("datetime64[D]").astype("datetime64[M]"), return_inverse=True)
    member = (np.arange(len(months))[:, None] == month_of).astype(np.float32)
    valid = series.valid
    counts = _sums(member, valid)
    values = np.where(valid[:, None], series.values, 0) if not valid.all() else series.values
    means = _sums(member, values) / np.maximum(counts, 1)[:, None]
    covers = np.rint(_sums(member, np.where(valid[:, None], series.covers, 0)) / np.maximum(counts, 1)[:, None])
    covers = np.where(counts[:, None] > 0, covers, NO_DATA).astype(np.uint8)
    days = months.astype("datetime64[D]").astype(np.int32) + np.int32(14)
    return Series(means, days, covers)


def _sums(member: NDArray[np.float32], values: NDArray) -> NDArray[np.float32]:
    """Sum (T, ...) over the dates of each month: exact for whole numbers, in whatever order a processor adds them."""
    flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    return np.asarray((member @ flat).reshape(len(member), *values.shape[1:]))
