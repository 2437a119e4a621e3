"""The patch discriminator of output-space alignment."""

from itertools import pairwise

from torch import nn


def patch_discriminator(channels: int, width: int = 64) -> nn.Sequential:
    """Return five 4x4 convolutions of stride 2 with leaky ReLUs between them (Tsai et al., CVPR 2018, section 4).

    Args:
        channels: channels of the maps to judge; one a class.
        width: channels after the first convolution; they double three times. 64 in the paper, which gives
            1024 * channels + 2,761,665 parameters.

    Returns:
        a module from (N, channels, H, W) to logits (N, 1, H/32, W/32); H and W at least 32.
    """
    widths = [channels, width, 2 * width, 4 * width, 8 * width]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [
            nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, kernel_size=4, stride=2, padding=1))
