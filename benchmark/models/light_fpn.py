"""A small feature pyramid decoder, for networks that are trained on few processor cores."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

NAME = "light-fpn"
CHANNELS = 24


class LightFPN(nn.Module):
    """An encoder with a feature pyramid of one width (after Lin et al., CVPR 2017).

    Each stage of the encoder is brought to the same number of channels by a 1×1 convolution. From the deepest to the
    shallowest the maps are enlarged by two (nearest neighbour) and added, and one 3×3 convolution smooths the sum.
    The head is a 3×3 convolution at the resolution of the shallowest stage, and its logits are enlarged bilinearly.

    The last step costs most in an ordinary decoder: at full resolution one convolution takes longer than all the rest
    of a small network. Where labels are constant on blocks of 2×2 pixels, as in FLAIR, half the resolution loses
    nothing.

    Args:
        encoder: encoder of segmentation-models-pytorch: a list of features; the first, at full size, is not used.
        classes: number of outputs.
        channels: width of the pyramid.
    """

    def __init__(self, encoder: Any, classes: int, channels: int = CHANNELS) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = Pyramid(list(encoder.out_channels)[1:], channels)
        self.segmentation_head = nn.Conv2d(channels, classes, kernel_size=3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes, H, W) of images (N, bands, H, W) whose sides the deepest stage divides."""
        logits = self.segmentation_head(self.decoder(self.encoder(images)[1:]))
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


class Pyramid(nn.Module):
    """The top-down path: features of all stages, shallowest first -> one map (N, channels, h, w) of the shallowest.

    Args:
        widths: channels of each stage; a stage without channels is left out (some encoders have none at half size).
        channels: channels of the pyramid.
    """

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, kernel_size=1) for width in widths if width)
        self.smooth = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the merged map (N, channels, h, w) of the stages, shallowest first."""
        maps = [stage for stage in features if stage.shape[1]]
        merged: Tensor = self.lateral[-1](maps[-1])
        for lateral, finer in zip(reversed(self.lateral[:-1]), reversed(maps[:-1]), strict=True):
            merged = F.interpolate(merged, finer.shape[-2:], mode="nearest") + lateral(finer)
        smoothed: Tensor = self.smooth(merged)
        return smoothed
