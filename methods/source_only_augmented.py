"""Source-only training with augmentation, the control for methods that change images."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import Method, Progress, SeriesUse, SourceBatch, TargetBatch, choice, tunable
from methods.parts.partners import other_domain_partners
from methods.parts.photometric import blur, jitter, match_histograms, value_shares
from methods.parts.scenes import EXTENTS, SceneStatistics, whole_images

LEAST_SIGMA = 0.15  # pixels, as in DACS


class SourceOnlyAugmented(Method):
    """Source-only with changes of light as practice has them: what a method gains over it is more than augmentation's.

    Each image, each with its probability and by its own draws, has its brightness, contrast and gamma changed by one
    factor for all bands and a small one a band, and is blurred a little. Contrast is changed around the mean of the
    whole patch, or of what else ``extent`` says: that of a small crop is often that of one class. The probabilities are
    those of DACS (Tranheden et al., WACV 2021), where hue and saturation of three bands are changed instead of gamma.
    With a probability of ``matching`` an image takes the histogram of (the ``extent`` around) an image of another
    domain of the batch first. Flips and right-angle turns are not here: the engine's loader does them for every method
    (the recipe's ``turn``). Only bands that hold light are changed.

    Much stronger is ``matching=0.5, strength=0, band_strength=0.25, sigma=1.15, extent=crop``, whose colours and crops'
    histograms change from image to image. On small crops, where colour shows the class, it costs much of the source's
    score.
    """

    control_for = "augmentation alone"
    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters:
        matching: float = tunable(0.0, low=0.0, high=1.0, neutral=0.0)  # probability of another image's histogram
        jitter: float = tunable(0.8, low=0.1, high=1.0, neutral=0.0)  # probability of other brightness, contrast, gamma
        strength: float = tunable(
            0.25, low=0.0, high=0.5
        )  # of these, all bands: factors of 1 - strength to 1 + strength
        band_strength: float = tunable(0.03, low=0.0, high=0.3)  # likewise, each band by itself
        blur: float = tunable(0.5, low=0.1, high=1.0, neutral=0.0)  # probability of a blur
        sigma: float = tunable(0.6, low=0.2, high=1.15)  # widest blur, standard deviation in pixels
        extent: str = choice("patch", EXTENTS)  # whose mean and histogram

    def setup(self) -> None:
        extent = self.hyperparameters.extent
        self._means = SceneStatistics(lambda images: images.mean((2, 3)), extent, self.seed)
        self._shares = SceneStatistics(value_shares, extent, self.seed)

    def augment(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> tuple[SourceBatch, TargetBatch]:
        settings, bands = self.hyperparameters, self.task.radiometric_bands
        images = source.images.clone()
        matched = self._chosen("matching", settings.matching, source)
        jittered = self._chosen("jitter", settings.jitter, source)
        is_measured = settings.extent == "patch" and (len(matched) or len(jittered))
        whole = whole_images(source) if is_measured else None
        scenes = torch.arange(len(images), device=images.device)  # the image in whose light each one is
        if len(matched):
            partners = other_domain_partners(source.domains.cpu(), self.generator("partner"))
            scenes[matched] = partners.to(scenes)[matched]
            shares = self._shares.of(source, whole)
            images[matched] = match_histograms(images[matched], shares[matched], shares[scenes[matched]], bands)
        if len(jittered):
            centres = self._means.of(source, whole)[scenes[jittered]]
            strengths = settings.strength, settings.band_strength
            images[jittered] = jitter(images[jittered], *strengths, self.generator("strength"), bands, centres)
        rows = self._chosen("blur", settings.blur, source)
        least = min(LEAST_SIGMA, settings.sigma)
        sigmas = torch.empty(len(rows)).uniform_(least, settings.sigma, generator=self.generator("sigma"))
        images[rows] = blur(images[rows], sigmas, bands)
        return replace(source, images=images), target

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}

    def _chosen(self, purpose: str, probability: float, source: SourceBatch) -> Tensor:
        draws = torch.rand(len(source.images), generator=self.generator(purpose))
        return (draws < probability).nonzero().flatten().to(source.images.device)
