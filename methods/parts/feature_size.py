"""How many channels the deepest features of a network have."""

import torch
from torch import nn

SIDE = 64  # pixels; twice the stride of the usual encoders, and no method's result depends on it


@torch.no_grad()
def feature_channels(network: nn.Module, bands: int) -> int:
    """Channels D of the deepest features (N, D, h, w), for a head or an adversary that is made in ``setup()``.

    A black image is passed through in eval mode, so that no moving average learns from it; after that every module is
    in the mode that it was in.

    Args:
        network: as a method gets it.
        bands: of its images.
    """
    modes = {module: module.training for module in network.modules()}
    device = next(network.parameters()).device
    _, features = network.eval()(torch.zeros(1, bands, SIDE, SIDE, device=device), return_features=True)
    for module, training in modes.items():
        module.training = training
    return int(features.shape[1])
