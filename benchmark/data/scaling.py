"""The scale 0 to 255 on which methods see every band, whatever the type of the stored numbers."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.store import Store

QUANTILES = 0.001, 0.999  # of the source's pixels, which become 0 and 255


@dataclass(frozen=True)
class Scaling:
    """One affine map a band: ``low`` becomes 0 and ``high`` 255; what is beyond them is not clipped.

    Without numbers it leaves values as they are, which is so for uint8 images.

    Attributes:
        low, high: (C,) stored values; () for uint8.
    """

    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def of(cls, store: Store, rows: NDArray[np.int64]) -> "Scaling":
        """Return the scaling by robust quantiles of the patches in some rows, from the sample of their pixels.

        Where these are equal, as for a band that is nearly everywhere 0, the smallest and the largest value are taken;
        a band of one value becomes 0.
        """
        sample = store.sample(rows)
        if not sample.size:
            return cls()
        low, high = np.quantile(sample, QUANTILES, axis=1)
        smallest, largest = store.range_of(rows)
        flat = high <= low
        low, high = np.where(flat, smallest, low), np.where(flat, largest, high)
        return cls(tuple(low.tolist()), tuple(np.where(high > low, high, low + 255).tolist()))

    def __call__(self, images: Tensor) -> Tensor:
        """Return stored images (..., C, H, W) of any type as float32 on the scale 0 to 255, on their device."""
        values = images.float()
        if not self.low:
            return values
        low, factor = (torch.from_numpy(each).float().view(-1, 1, 1).to(images.device) for each in self._map())
        return (values - low) * factor

    def as_texts(self) -> dict[str, str]:
        """Return the numbers as the metadata of a file of weights; empty for uint8."""
        return {"low": repr(self.low), "high": repr(self.high)} if self.low else {}

    def moments(
        self, mean: NDArray[np.float64], std: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean and the standard deviation (C,) of stored values as those of scaled ones."""
        if not self.low:
            return mean, std
        low, factor = self._map()
        return (mean - low) * factor, std * factor

    def _map(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low = np.array(self.low)
        return low, 255 / (np.array(self.high) - low)


AS_STORED = Scaling()
"""The scaling that changes nothing."""
