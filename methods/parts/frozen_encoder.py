"""Common part of methods that train small additions to a frozen encoder."""

from abc import abstractmethod
from typing import Self

from torch import Tensor, nn

from methods.base import Method, Progress, SeriesUse, SourceBatch, TargetBatch
from methods.parts.batch_norm import NORMALIZATIONS


class FrozenEncoder(Method):
    """``L = CE(source)`` of the decoder, the head and what `add` adds to the encoder, whose own weights stay.

    Whether the config freezes the encoder or not makes no difference: no weight of it has a gradient (but see
    `freeze`), and it is always in eval mode, so that its batch-norm statistics stay.
    """

    series_use = SeriesUse.LEFT  # what it adds is in the encoder of images

    def setup(self) -> None:
        freeze(self.network.model.encoder)
        self.add()

    @abstractmethod
    def add(self) -> None:
        """Add what is trained to the frozen ``self.network.model.encoder``."""

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules but the encoder's."""
        super().train(mode)
        self.network.model.encoder.eval()
        return self

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        return {"segmentation": self.segmentation_loss(source)}


def freeze(encoder: nn.Module) -> None:
    """Let no weight of an encoder have a gradient, but scales of normalisation that are all 0.

    Residual networks without pretrained weights start with such scales. They close a branch, in which nothing that a
    method adds or trains could ever learn.
    """
    encoder.requires_grad_(False)
    for layer in encoder.modules():
        if isinstance(layer, NORMALIZATIONS) and layer.weight is not None and not layer.weight.any():
            layer.weight.requires_grad_(True)
