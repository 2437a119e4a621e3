"""Fourier domain adaptation (FDA): source images in the target's style."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import Method, Needs, Progress, SeriesUse, SourceBatch, TargetBatch, choice, tunable
from methods.parts.entropy import normalized_entropy
from methods.parts.fourier import SceneStyle
from methods.parts.scenes import EXTENTS


class FourierAdaptation(Method):
    """Train on source images that wear the style of target images (Yang and Soatto, CVPR 2020, "FDA").

    Each source image takes the low-frequency amplitudes of a target image, or of its zone (see `SceneStyle`), and
    ``L = CE(restyled source) + weight * mean over target pixels of (h^2 + 1e-8)^eta``, where h is the entropy over
    ln C: the exponent lets unsure pixels count more than those that are sure already. Defaults are the published
    command's.

    Departures: only bands that hold light are restyled, since a height has no style, and the amplitudes of a flat place
    would flatten a hilly one; the window is that of the official NumPy code; C is the data's number of classes (19 in
    the official code, whatever they are); the second round, on pseudo-labels of three trained networks, is left out.
    The official code restyles whole images, and its images show many classes; that is ``extent=patch``, and a patch of
    land cover may show one. The mean over a zone keeps a forest darker than a field.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES
    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters:
        window: float = tunable(
            0.01, low=0.01, high=0.09
        )  # half-width of the swapped frequencies over the image's side
        weight: float = tunable(0.005, low=5e-4, high=5e-2, log=True)
        eta: float = tunable(2.0, low=0.5, high=4.0)
        extent: str = choice("zone", EXTENTS)  # whose style an image has

    def setup(self) -> None:
        options = self.hyperparameters
        self._style = SceneStyle(options.window, options.extent, self.task.radiometric_bands, self.seed)

    def augment(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> tuple[SourceBatch, TargetBatch]:
        # Both batches are drawn at random, so pairs by position are random pairs.
        partners = torch.arange(len(source.images), device=source.images.device) % len(target.images)
        return replace(source, images=self._style.transfer(source, target, partners)), target

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        segmentation = self.learn(self.segmentation_loss(source))
        entropy = normalized_entropy(self.network(target).float())
        robust = robust_norm(entropy, self.hyperparameters.eta).mean()
        return {"segmentation": segmentation, "entropy": self.hyperparameters.weight * robust}


def robust_norm(values: Tensor, eta: float) -> Tensor:
    """Return Charbonnier's penalty ``(x^2 + 1e-8)^eta`` of each value, with a finite gradient at 0."""
    return (values.square() + 1e-8) ** eta
