"""Self-training on target images that wear pieces of source images (DACS)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import Method, Needs, Progress, SeriesUse, SourceBatch, TargetBatch, switch, tunable
from methods.parts.class_mixing import class_mask, draw_classes, paste
from methods.parts.photometric import strong_view
from methods.parts.pseudo_labels import confident_labels, confident_share
from methods.parts.teacher import follow, make_teacher, warm_decay


class DACS(Method):
    """Learn from mixtures of source and target (Tranheden et al., WACV 2021, "DACS").

    ``L = CE(source) + weight * mean over pixels of w CE(mixed)``. Half of the classes of each source image are pasted
    with their labels onto a target image (ClassMix), whose labels are the teacher's: there w is the share of the
    batch's target pixels that the teacher is sure of, and 1 on pasted pixels. The mixture's colours are jittered and it
    is blurred; the teacher sees the target as it is.

    An option beside the published method is the rare-class sampling of DAFormer (Hoyer et al., CVPR 2022): a class of
    share f_c is drawn with ``P(c) = softmax((1 - f_c) / temperature)``, then any of the patches that hold it. With it
    the source's domains are no longer drawn equally often; and at the published temperature of 0.01, made for classes
    with shares below a hundredth, hardly more than the few rarest classes of a land-cover map are drawn.

    Departures: unlabelled source pixels are never pasted (see `draw_classes`). Light is changed for each image by
    itself, without hue and saturation, which only three visible bands have. With rare-class sampling, a patch holds a
    class from its first pixel on, instead of being cropped again and again until 3000 pixels of the class are seen.
    The mixtures pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    needs = Needs.TARGET_IMAGES
    series_use = SeriesUse.LEFT

    @dataclass(frozen=True)
    class Hyperparameters:
        weight: float = tunable(1.0, low=0.1, high=2.0, neutral=0.0)
        confidence: float = tunable(0.968, low=0.5, high=0.99)
        strength: float = tunable(0.25, low=0.0, high=0.5)  # of the jitter
        decay: float = tunable(0.99, low=0.9, high=0.9999)  # of the teacher
        rare_classes: bool = switch(False, neutral=False)
        temperature: float = tunable(0.01, low=0.01, high=1.0, log=True)  # of rare-class sampling

    def setup(self) -> None:
        self.teacher = make_teacher(self.network)

    def sampling_weights(self, class_pixels: Tensor) -> Tensor | None:
        options = self.hyperparameters
        return rare_class_weights(class_pixels, options.temperature) if options.rare_classes else None

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        segmentation = self.learn(self.segmentation_loss(source))
        labels, share = self.teach(target)
        return {"segmentation": segmentation, "mixed": self.mixed_loss(source, target, labels, share)}

    @torch.no_grad()
    def teach(self, target: TargetBatch) -> tuple[Tensor, Tensor]:
        """Return the teacher's labels (N, H, W) int64 of a batch, and the () share of pixels it is sure of."""
        confidence, labels = confident_labels(self.teacher(target))
        return labels, confident_share(confidence, self.hyperparameters.confidence)

    def mixed_loss(self, source: SourceBatch, target: TargetBatch, labels: Tensor, share: Tensor) -> Tensor:
        """Return the loss on source pixels pasted over the target, by the labels and sure share of `teach`."""
        mask = class_mask(source.labels, draw_classes(source.labels, self.generator("classes")))
        mixed = paste(mask, source.images, target.images)
        images = strong_view(mixed, self.hyperparameters.strength, self.generator("view"), self.task.radiometric_bands)
        logits = self.network(replace(target, images=images))
        errors = F.cross_entropy(logits, paste(mask, source.labels, labels), reduction="none")
        return self.hyperparameters.weight * (errors * share.where(~mask, 1.0)).mean()

    def after_step(self, progress: Progress) -> None:
        follow(self.teacher, self.network, warm_decay(self.hyperparameters.decay, progress.step))


def rare_class_weights(class_pixels: Tensor, temperature: float) -> Tensor:
    """Return how often each patch is drawn, where a class is drawn first, the rarer the oftener.

    Args:
        class_pixels: (n, classes) int64, pixels of each class in each patch.
        temperature: the lower, the more the rarest classes are preferred.

    Returns:
        (n,) float64, of sum 1; for each patch, the sum over its classes c of P(c) over the number of patches with c.
    """
    pixels = class_pixels.sum(0).double()
    scores = (1 - pixels / pixels.sum()) / temperature
    preference = scores.masked_fill(pixels == 0, -torch.inf).softmax(0)
    holds = (class_pixels > 0).double()
    return holds @ (preference / holds.sum(0).clamp(min=1))
