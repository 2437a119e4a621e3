"""Source-only training with strong augmentation, the control for methods that change images."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import Method, Progress, SourceBatch, TargetBatch, tunable
from methods.parts.partners import other_domain_partners
from methods.parts.photometric import blur, jitter, match_histograms

SIGMAS = 0.15, 1.15  # pixels; the range in DACS


class SourceOnlyAugmented(Method):
    """Source-only with strong changes of light: what a method gains over it is not the gain of any augmentation.

    Each image, each with its probability and by its own draws, takes the histogram of an image of another domain of the
    batch, has its brightness, contrast and gamma changed band by band, and is blurred. Strengths and probabilities of
    the last two are those of DACS (Tranheden et al., WACV 2021), where they are for three bands: gamma is here instead
    of its hue and saturation. Flips and right-angle turns are not here: the engine's loader does them for every method
    (the recipe's ``turn``). Only bands that hold light are changed.
    """

    control_for = "augmentation alone"

    @dataclass(frozen=True)
    class Hyperparameters:
        matching: float = tunable(0.5, low=0.1, high=1.0, neutral=0.0)  # probability of another image's histogram
        jitter: float = tunable(0.8, low=0.1, high=1.0, neutral=0.0)  # probability of other brightness, contrast, gamma
        strength: float = tunable(0.25, low=0.05, high=0.5)  # of these three: factors of 1 - strength to 1 + strength
        blur: float = tunable(0.5, low=0.1, high=1.0, neutral=0.0)  # probability of a blur

    def augment(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> tuple[SourceBatch, TargetBatch]:
        settings, bands = self.hyperparameters, self.task.radiometric_bands
        images = source.images.clone()
        rows = self._chosen("matching", settings.matching, source)
        partners = other_domain_partners(source.domains.cpu(), self.generator("partner")).to(rows.device)
        images[rows] = match_histograms(source.images[rows], source.images[partners[rows]], bands)
        rows = self._chosen("jitter", settings.jitter, source)
        images[rows] = jitter(images[rows], settings.strength, self.generator("strength"), bands)
        rows = self._chosen("blur", settings.blur, source)
        sigmas = torch.empty(len(rows)).uniform_(*SIGMAS, generator=self.generator("sigma"))
        images[rows] = blur(images[rows], sigmas, bands)
        return replace(source, images=images), target

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}

    def _chosen(self, purpose: str, probability: float, source: SourceBatch) -> Tensor:
        draws = torch.rand(len(source.images), generator=self.generator(purpose))
        return (draws < probability).nonzero().flatten().to(source.images.device)
