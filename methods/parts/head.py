"""The classifier of a network: the last convolution of its segmentation head, and the features of pixels that enter it.

Everything between that convolution and the logits, such as an upsampling, is the network's own business.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import MethodError, SourceBatch, TargetBatch

Watch = Callable[[Tensor, Tensor], Tensor | None]
"""Takes what enters (N, D, h, w) and leaves (N, C, h, w) the classifier; gives other outputs, or None to keep them."""


def classifier(network: Any) -> nn.Conv2d:
    """Return the last convolution of the segmentation head, which has an output for each class.

    Raises:
        MethodError: there is none.
    """
    layers = [layer for layer in network.model.segmentation_head.modules() if isinstance(layer, nn.Conv2d)]
    if not layers:
        raise MethodError("the network's segmentation head has no convolution (nn.Conv2d) that classifies")
    return layers[-1]


@contextmanager
def watched(layer: nn.Conv2d, watch: Watch) -> Iterator[None]:
    """Show what passes the classifier to a function, for the length of a block."""
    hook = layer.register_forward_hook(lambda layer, inputs, outputs: watch(inputs[0], outputs))
    try:
        yield
    finally:
        hook.remove()


def pass_with_features(network: Any, batch: SourceBatch | TargetBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits of a batch (N, C, H, W), and what enters (N, D, h, w) and leaves (N, C, h, w) the classifier.

    Gradients pass through all three.
    """
    seen: list[tuple[Tensor, Tensor]] = []
    with watched(classifier(network), lambda features, outputs: seen.append((features, outputs))):
        logits: Tensor = network(batch)
    return logits, *seen[-1]


def padded(layer: nn.Conv2d, features: Tensor) -> Tensor:
    """Return features (N, D, h, w) with the border that a convolution adds to them."""
    if isinstance(layer.padding, str):
        raise MethodError(f"the network's classifier pads by {layer.padding!r}; give its padding as numbers")
    rows, columns = layer.padding
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(features, (columns, columns, rows, rows), mode=mode)


def neighbourhoods(layer: nn.Conv2d, features: Tensor, pixels: Tensor) -> Tensor:
    """Return what the classifier sees of single pixels: its window of features around each.

    Args:
        layer: classifier with stride 1.
        features: (N, D, h, w), what enters it.
        pixels: (P,) int64, indices of pixels in (N, h, w) order.

    Returns:
        (P, D * kernel rows * kernel columns) float32, in the order of the flattened weights of a class.
    """
    image, row, column = torch.unravel_index(pixels, (len(features), *features.shape[-2:]))
    wide = padded(layer, features).float()
    steps = [range(0, size * gap, gap) for size, gap in zip(layer.kernel_size, layer.dilation, strict=True)]
    seen = [wide[image, :, row + down, column + right] for down in steps[0] for right in steps[1]]
    return torch.stack(seen, 2).flatten(1)
