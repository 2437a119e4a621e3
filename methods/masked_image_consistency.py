"""Self-training on target images of which most is hidden (MIC)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import Method, Needs, Progress, SeriesUse, SourceBatch, TargetBatch, tunable
from methods.parts.masking import hide_blocks
from methods.parts.photometric import strong_view
from methods.parts.pseudo_labels import confident_labels, confident_share
from methods.parts.teacher import follow, make_teacher, warm_decay


class MaskedImageConsistency(Method):
    """Predict behind a mask what a teacher sees without it (Hoyer et al., CVPR 2023, "MIC").

    ``L = CE(source) + weight * q CE(network(masked target), teacher's labels)``, with q the share of the batch's target
    pixels that the teacher is sure of. Hidden pixels become the source's mean, which is 0 where the network normalises,
    so that they say nothing. What is under them can only be predicted from what is around.

    Departures: it is used alone, where the paper adds it to another method, to show what masking does by itself;
    `dacs-masked` is the paper's pair with DACS. Light is changed without hue and saturation. In images less than four
    blocks wide, a block is a quarter of the shorter side, or often all would be hidden or nothing.
    Masked target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES
    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=0.1, high=2.0, neutral=0.0)
        block: int = tunable(64, low=8, high=128, log=True)  # pixels
        ratio: float = tunable(0.7, low=0.3, high=0.9)  # of the blocks, hidden
        confidence: float = tunable(0.968, low=0.5, high=0.99)
        strength: float = tunable(0.2, low=0.0, high=0.5)  # of the jitter
        decay: float = tunable(0.999, low=0.9, high=0.9999)  # of the teacher

    def setup(self) -> None:
        self.teacher = make_teacher(self.network)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        segmentation = self.learn(self.segmentation_loss(source))
        with torch.no_grad():
            confidence, labels = confident_labels(self.teacher(target))
        options = self.hyperparameters
        share = confident_share(confidence, options.confidence)
        masked = options.weight * share * F.cross_entropy(self.network(self.hide(target)), labels)
        return {"segmentation": segmentation, "masked": masked}

    def hide(self, target: TargetBatch) -> TargetBatch:
        """Return what the student sees of a batch."""
        options, bands = self.hyperparameters, self.task.radiometric_bands
        images = strong_view(target.images, options.strength, self.generator("view"), bands)
        images = hide_blocks(images, self.network.mean, options.block, options.ratio, self.generator("mask"))
        return replace(target, images=images)

    def after_step(self, progress: Progress) -> None:
        follow(self.teacher, self.network, warm_decay(self.hyperparameters.decay, progress.step))
