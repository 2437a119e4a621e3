"""Maximum mean discrepancy between source and target features (DAN)."""

from dataclasses import dataclass

from torch import Tensor

from methods.base import tunable
from methods.parts.alignment import gaussian_mmd
from methods.parts.feature_alignment import FeatureAlignment


class MMD(FeatureAlignment):
    """Make source and target features equally distributed, as far as Gaussian kernels see (Long et al., ICML 2015).

    ``L = CE(source) + weight * MMD^2(f_source, f_target)`` with the sum of five kernels, whose widths are a quarter to
    four times the mean squared distance between these features.

    Departures: the samples are at most 1024 pixels of each domain in a batch, where the paper's are images, and the
    layer is the encoder's last, where the paper aligns three fully connected ones. The kernels all weigh the same (the
    official code's too; the paper learns their weights). The estimate is the biased one, of which the official code's
    differs by the constant diagonal.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=1e-2, high=10.0, log=True, neutral=0.0)

    def distance(self, source: Tensor, target: Tensor) -> Tensor:
        return gaussian_mmd(source, target)
