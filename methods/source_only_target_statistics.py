"""Source-only training that also passes target images through the network, the control of all that see them."""

import torch
from torch import Tensor

from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch


class SourceOnlyTargetStatistics(Method):
    """Source-only, with a pass of target images in training mode after that of the source, and no loss on them.

    Such a pass moves the stored statistics of batch normalisation halfway to the target, and these are what the network
    predicts with at test time. Every method that passes target images in training mode does this too, whatever it
    learns from them: what such a method gains over this control is the worth of its loss. The weights are
    source-only's, bit for bit, since training normalises with the statistics of the batch.
    """

    needs = Needs.TARGET_IMAGES
    is_target_control = True
    control_for = "target images in the batch-norm statistics alone"

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        segmentation = self.segmentation_loss(source)
        with torch.no_grad():
            self.network(target)
        return {"segmentation": segmentation}
