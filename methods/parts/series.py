"""Series of satellite images beside the images of a batch."""

from dataclasses import dataclass, fields, replace
from enum import StrEnum

import torch
from torch import Tensor


class SeriesUse(StrEnum):
    """The effect of a method that changes the input on the series beside an image."""

    NO_CHANGE = "it does not change the input"
    LEFT = "it changes images, and leaves their series as they are"
    TURNED = "it turns images, and their series alike"
    OWN = "it changes series"


@dataclass(frozen=True, eq=False)
class SeriesBatch:
    """Series of a year around each image of a batch, whose middle is the image's.

    Attributes:
        values: (N, T, B, h, w) float32, values as stored, for Sentinel-2 reflectance times 10,000 (the network
            normalises them itself); 0 at dates that are not valid. T is that of the longest series.
        days: (N, T) float32, days from the 15th of May of the series' year to each date, negative before it.
        valid: (N, T) bool, whether there is such a date.
    """

    values: Tensor
    days: Tensor
    valid: Tensor

    @classmethod
    def empty(cls, count: int, bands: int, side: int = 8) -> "SeriesBatch":
        """Return series (count, 1, bands, side, side) without any valid date."""
        return cls(
            torch.zeros(count, 1, bands, side, side), torch.zeros(count, 1), torch.zeros(count, 1, dtype=torch.bool)
        )

    def take(self, rows: Tensor | slice) -> "SeriesBatch":
        """Return the series of some images: int64 positions, or a slice."""
        return SeriesBatch(*(getattr(self, field.name)[rows] for field in fields(self)))

    def to(self, device: torch.device) -> "SeriesBatch":
        """Return the same on another device."""
        return SeriesBatch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def only(self, dates: Tensor) -> "SeriesBatch":
        """Return the same without the dates that are False in (N, T) bool."""
        valid = self.valid & dates
        return SeriesBatch(self.values.masked_fill(~valid[:, :, None, None, None], 0), self.days, valid)

    def moved(self, days: Tensor | float) -> "SeriesBatch":
        """Return the same with days (a number, or (N, 1)) added to its dates."""
        return replace(self, days=self.days + days)
