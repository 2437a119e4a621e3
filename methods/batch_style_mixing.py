"""Styles mixed within a batch, whole images at a time (BaSA)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import Method, Progress, SeriesUse, SourceBatch, TargetBatch, choice, tunable
from methods.parts.fourier import SceneStyle
from methods.parts.photometric import BRIGHTEST


class BatchStyleMixing(Method):
    """Learn each image twice, as it is and in the style of another one of the batch (Luo et al., ISPRS 2025, "BaSA").

    ``L = CE(x_i) + weight * CE(x_i in the style of x_j)``, where the style is the amplitude of the low frequencies of
    the whole image, exchanged as in FDA (Yang and Soatto, CVPR 2020), j is the image at the same place in the batch
    read backwards, and the width of the exchanged frequencies is drawn for each batch, evenly between ``narrowest`` and
    ``widest``. Exchanged images are cut to the range of pixel values. So it is in the authors' code, which has a
    consistency between both predictions, too, that its published settings do not use, and that is left out here.

    Departures: the paper's network (a frozen DINOv2 with adapters and Mask2Former) is the config's here, and its losses
    the cross-entropy. Only bands that hold light are changed, since a height has no style. The window is that of FDA's
    NumPy code, which has the mean in it at any width; theirs is the torch code's. Whole images are whole patches;
    ``extent=crop`` takes the style of what the network sees, as their code does with crops of 512 pixels, but a small
    crop often shows a single field, and its style is that of a class.
    """

    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=0.1, high=2.0, neutral=0.0)  # of the images in another style
        narrowest: float = tunable(0.01, low=0.0, high=0.02)  # half-width of the window over the image's side
        widest: float = tunable(0.1, low=0.03, high=0.2)
        extent: str = choice("patch", ("crop", "patch"))  # whose style an image has

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        if not self.hyperparameters.weight:
            return {"segmentation": self.segmentation_loss(source)}
        segmentation = self.learn(self.segmentation_loss(source))
        restyled = replace(source, images=self.in_other_styles(source))
        return {"segmentation": segmentation, "style": self.hyperparameters.weight * self.segmentation_loss(restyled)}

    def in_other_styles(self, source: SourceBatch) -> Tensor:
        """Return the images (N, C, H, W), each in the style of another one; the middle one of an odd number stays."""
        options, bands = self.hyperparameters, self.task.radiometric_bands
        drawn = torch.rand((), generator=self.generator("window")).item()
        window = options.narrowest + drawn * (options.widest - options.narrowest)
        partners = torch.arange(len(source.images), device=source.images.device).flip(0)
        images = SceneStyle(window, options.extent, bands, self.seed).transfer(source, source, partners)
        images[:, bands] = images[:, bands].clamp(0, BRIGHTEST)
        return images
