"""Style randomisation between source domains in the Fourier domain."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import Method, Progress, SeriesUse, SourceBatch, TargetBatch, choice, tunable
from methods.parts.fourier import SceneStyle
from methods.parts.partners import other_domain_partners
from methods.parts.scenes import EXTENTS


class StyleRandomization(Method):
    """Train on source images that wear the style of another source domain.

    Style is the amplitude of low spatial frequencies, exchanged as in FDA (Yang and Soatto, CVPR 2020), but with an
    image of another *source* domain in the batch, or with its zone (see `SceneStyle`), instead of a target image; so
    nothing of the target is seen.
    Departures: only a share ``probability`` of the images is changed, so that the source's own look stays in the
    training, and only bands that hold light are touched: a height has no style. With a single source domain the
    images of the batch are exchanged.
    """

    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters:
        window: float = tunable(
            0.05, low=0.01, high=0.09
        )  # half-width of the swapped frequencies over the image's side
        probability: float = tunable(0.5, low=0.1, high=1.0, neutral=0.0)
        extent: str = choice("zone", EXTENTS)  # whose style an image has

    def setup(self) -> None:
        options = self.hyperparameters
        self._style = SceneStyle(options.window, options.extent, self.task.radiometric_bands, self.seed)

    def augment(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> tuple[SourceBatch, TargetBatch]:
        partners = other_domain_partners(source.domains.cpu(), self.generator("partner"))
        chosen = torch.rand(len(partners), generator=self.generator("chosen")) < self.hyperparameters.probability
        if not chosen.any():
            return source, target
        device = source.images.device
        images = self._style.transfer(source, source, partners.to(device))
        return replace(source, images=images.where(chosen.to(device)[:, None, None, None], source.images)), target

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}
