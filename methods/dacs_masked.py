"""Self-training on mixtures and on masked target images, with one teacher for both (MIC on DACS)."""

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from methods.base import Progress, SeriesUse, SourceBatch, TargetBatch, tunable
from methods.dacs import DACS
from methods.parts.masking import hide_blocks
from methods.parts.photometric import strong_view


class DACSMasked(DACS):
    """Masked image consistency on top of DACS, as its paper uses it (Hoyer et al., CVPR 2023, "MIC").

    ``L = CE(source) + weight * mixed + masked_weight * q CE(network(masked target), teacher's labels)``. The mixture
    is that of `dacs`, the masks are those of `masked-image-consistency`; both learn from the same labels of one teacher
    and share q, the part of the batch's target pixels that it is sure of. Teacher, threshold and colours are those of
    the official code of MIC, where DACS has a slower teacher (0.999) and weaker jitter (0.2) than in its own.

    Departures: those of the two methods that it joins.
    Mixtures and masked images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters(DACS.Hyperparameters):
        strength: float = tunable(0.2, low=0.0, high=0.5)  # of the jitter
        decay: float = tunable(0.999, low=0.9, high=0.9999)  # of the teacher
        masked_weight: float = tunable(1.0, low=0.1, high=2.0, neutral=0.0)
        block: int = tunable(64, low=8, high=128, log=True)  # pixels
        ratio: float = tunable(0.7, low=0.3, high=0.9)  # of the blocks, hidden

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        segmentation = self.learn(self.segmentation_loss(source))
        labels, share = self.teach(target)
        mixed = self.learn(self.mixed_loss(source, target, labels, share))
        return {"segmentation": segmentation, "mixed": mixed, "masked": self.masked_loss(target, labels, share)}

    def masked_loss(self, target: TargetBatch, labels: Tensor, share: Tensor) -> Tensor:
        """Return the loss on target images of which most is hidden, by the labels and sure share of `teach`."""
        options = self.hyperparameters
        images = strong_view(
            target.images, options.strength, self.generator("masked view"), self.task.radiometric_bands
        )
        images = hide_blocks(images, self.network.mean, options.block, options.ratio, self.generator("mask"))
        masked: Tensor = F.cross_entropy(self.network(replace(target, images=images)), labels)
        return options.masked_weight * share * masked
