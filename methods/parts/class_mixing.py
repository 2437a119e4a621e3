"""Mixing of two images along the outlines of classes (Olsson et al., WACV 2021, "ClassMix")."""

import torch
from torch import Tensor

from methods.base import IGNORE


def draw_classes(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return half of the classes that each label map holds, rounded up, at random.

    `IGNORE` is no class here. The official code of DACS counts it as one, and so pastes pixels that nothing can be
    learned from over target pixels that something can be learned from. Without it, a mixed label map has no hole.

    Args:
        labels: (N, H, W) int64.

    Returns:
        (N, 256) bool, whether a label value is drawn; none is where all pixels are ignored.
    """
    present = torch.zeros(len(labels), 256, dtype=torch.bool, device=labels.device)
    present.scatter_(1, labels.flatten(1), True)
    present[:, IGNORE] = False
    keys = torch.rand(present.shape, generator=generator).to(labels.device)
    ranks = keys.masked_fill(~present, 2.0).argsort(1).argsort(1)
    return present & (ranks < (present.sum(1, keepdim=True) + 1) // 2)


def class_mask(labels: Tensor, drawn: Tensor) -> Tensor:
    """Return where the label is one of those drawn: (N, H, W) int64 and (N, 256) bool -> (N, H, W) bool."""
    return drawn.gather(1, labels.flatten(1)).view_as(labels)


def paste(mask: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """Return one batch of images or label maps over another, where the mask is true.

    Args:
        mask: (N, H, W) bool.
        above, below: (N, C, H, W) or (N, H, W), of any one dtype.

    Returns:
        of the shape and dtype of the two.
    """
    return torch.where(mask[:, None] if above.dim() == 4 else mask, above, below)
