"""Deep CORAL: second moments of source and target features."""

from dataclasses import dataclass

from torch import Tensor

from methods.base import tunable
from methods.parts.alignment import covariance_distance
from methods.parts.feature_alignment import FeatureAlignment


class DeepCORAL(FeatureAlignment):
    """Make the features of the target as correlated as those of the source (Sun and Saenko, ECCV workshops 2016).

    ``L = CE(source) + weight * ||C_source - C_target||_F^2 / (4 D^2)``, where C is the covariance of the encoder's
    deepest D features over pixels. Some libraries call another loss by this name, with means and without the 4.

    Departures: the samples are at most 1024 pixels of each domain in a batch, where the paper's are images, and the
    layer is the encoder's last, where the paper's is the last before the softmax. The paper sets the weight such that
    both losses end up alike, which no fixed number does; 1 is that of the libraries.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=1e-2, high=1e3, log=True, neutral=0.0)

    def distance(self, source: Tensor, target: Tensor) -> Tensor:
        return covariance_distance(source, target)
