"""Predictions averaged over views of each patch (test-time augmentation)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import Method, Needs, SeriesUse, TargetBatch, tunable
from methods.cotta import turn, turn_back

VIEWS = 8


class AugmentationEnsemble(Method):
    """Average the source model's probabilities over the eight symmetries of the square, each in another light.

    ``p = mean over views v of p(turned by v, brightness times f_v)``, turned back; the factors f_v are evenly spaced
    from ``1 - brightness`` to ``1 + brightness``, and the same for each patch. Nothing is learned and nothing is kept:
    it is what CoTTA and MEMO must beat, which use such views to learn from.
    """

    needs = Needs.TEST_STREAM
    series_use = SeriesUse.TURNED

    @dataclass(frozen=True)
    class Hyperparameters:
        brightness: float = tunable(0.2, low=0.0, high=0.6)  # largest change, as a share

    def setup(self) -> None:
        self.network.requires_grad_(False)

    def predict(self, batch: TargetBatch) -> Tensor:
        total = torch.zeros((), device=batch.images.device)
        for number in range(VIEWS):
            view = view_of(batch, number, self.hyperparameters.brightness, self.task.radiometric_bands)
            total = total + turn_back(self.network(view).float(), number).softmax(1)
        return (total / VIEWS).clamp(min=torch.finfo(torch.float32).tiny).log()


def view_of(batch: TargetBatch, number: int, brightness: float, bands: list[int]) -> TargetBatch:
    """Return a batch turned by one of eight symmetries, and in one of eight lights.

    Args:
        number: the view, from 0 to 7.
        brightness: factors of the views are from ``1 - brightness`` to ``1 + brightness``.
        bands: indices of the bands that hold light; the height is none.
    """
    images = batch.images.clone()
    factor = 1 + brightness * (2 * number / (VIEWS - 1) - 1)
    images[:, bands] = (images[:, bands] * factor).clamp(0, 255)
    series = batch.series and replace(batch.series, values=turn(batch.series.values, number))
    return replace(batch, images=turn(images, number), series=series)
