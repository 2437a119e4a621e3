"""The size of a network's features: of the deepest ones, and of those that leave each stage of its encoder."""

from typing import Any

import torch
from torch import Tensor, nn

from methods.parts.batches import TargetBatch

SIDE = 64  # pixels; twice the stride of the usual encoders, and no method's result depends on it


def feature_channels(network: nn.Module, bands: int) -> int:
    """Return channels D of the deepest features (N, D, h, w), for a head or a second network.

    A black image is passed through in eval mode, so that no moving average learns from it; after that every module is
    in the mode that it was in.

    Args:
        network: network as a method gets it.
        bands: number of bands of its images.
    """
    return _pass_black_image(network, bands).shape[1]


def residual_stages(network: nn.Module, bands: int) -> dict[str, int]:
    """Return the stages that correspond to a ResNet's residual stages, which papers count from 1, and their channels D.

    The first residual stage gives features of a quarter of the image's side. A stage with larger ones, as some encoders
    name their stem, comes before it and is left out. Where all have larger ones, these are all stages.

    Args:
        network: network as a method gets it.
        bands: number of bands of its images.
    """
    stages: Any = network.stages
    shapes: dict[str, torch.Size] = {}
    hooks = [
        stage.register_forward_hook(lambda module, inputs, features, name=name: shapes.update({name: features.shape}))
        for name, stage in stages.items()
    ]
    _pass_black_image(network, bands)
    for hook in hooks:
        hook.remove()
    small = {name: shape[1] for name, shape in shapes.items() if shape[-1] <= SIDE // 4}
    return small or {name: shape[1] for name, shape in shapes.items()}


@torch.no_grad()
def _pass_black_image(network: nn.Module, bands: int) -> Tensor:
    """Return the deepest features of a black image."""
    modes = {module: module.training for module in network.modules()}
    device = next(network.parameters()).device
    black = TargetBatch.of(torch.zeros(1, bands, SIDE, SIDE, device=device))
    features: Tensor = network.eval()(black, return_features=True)[1]
    for module, training in modes.items():
        module.training = training
    return features
