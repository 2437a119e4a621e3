"""Hiding square blocks of an image (Hoyer et al., CVPR 2023, "MIC")."""

import torch
from torch import Tensor
from torch.nn import functional as F


def grid_size(height: int, width: int, block: float) -> tuple[int, int]:
    """Return the number of blocks of this side (pixels) in an image; halves are rounded to even, as officially."""
    return round(height / block), round(width / block)


def visible_pixels(draws: Tensor, ratio: float, height: int, width: int) -> Tensor:
    """Return the pixels of the blocks whose draw is above the ratio.

    Args:
        draws: (N, 1, rows, columns) float32, uniform in [0, 1); one a block.
        ratio: the share that is hidden on average.

    Returns:
        (N, 1, height, width) bool.
    """
    return F.interpolate((draws > ratio).float(), (height, width), mode="nearest").bool()


def block_mask(images: Tensor, block: float, ratio: float, generator: torch.Generator) -> Tensor:
    """Return what stays visible of each image: (N, C, H, W) -> (N, 1, H, W) bool.

    Args:
        block: side of a block in pixels, less than twice the image's.
        ratio: see above.
    """
    height, width = images.shape[-2:]
    draws = torch.rand(len(images), 1, *grid_size(height, width, block), generator=generator)
    return visible_pixels(draws.to(images.device), ratio, height, width)


def hide_blocks(images: Tensor, filling: Tensor, block: int, ratio: float, generator: torch.Generator) -> Tensor:
    """Put a filling on random blocks of each image.

    Args:
        images: (N, C, H, W).
        filling: (1, C, 1, 1), what hidden pixels become.
        block: side of a block in pixels; in images less than four blocks wide, a quarter of their shorter side.
        ratio: the share that is hidden on average.
        generator: generator on the CPU.

    Returns:
        (N, C, H, W).
    """
    return torch.where(block_mask(images, min(block, min(images.shape[-2:]) / 4), ratio, generator), images, filling)
