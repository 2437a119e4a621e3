"""Common part of methods that make a distance between source and target features small."""

from abc import abstractmethod

from torch import Tensor

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch
from methods.parts.alignment import sample_pixels


class FeatureAlignment(Method):
    """``L = CE(source) + weight * distance(f_source, f_target)``, f the encoder's deepest features of single pixels.

    A subclass declares the hyperparameter ``weight``.
    """

    needs = Needs.TARGET_IMAGES

    @abstractmethod
    def distance(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the distance between the features (n, D) and (m, D) float32 of two domains; a scalar."""

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        logits, source_features = self.network(source, return_features=True)
        _, target_features = self.network(target, return_features=True)
        distance = self.distance(
            sample_pixels(source_features, self.generator("source pixels")),
            sample_pixels(target_features, self.generator("target pixels")),
        )
        return {
            "segmentation": self.segmentation_loss(source, logits),
            "alignment": self.hyperparameters.weight * distance,
        }
