"""The number of feature channels, found without a trace in the network."""

import pytest
import torch
from torch import nn

from methods.parts.feature_size import feature_channels


def test_the_channels_are_those_of_the_features(network):
    _, features = network(torch.zeros(2, 3, 32, 32), return_features=True)
    assert feature_channels(network, 3) == features.shape[1] == 6


@pytest.mark.parametrize("bands", [1, 5])
def test_any_number_of_bands(network, bands):
    network.stages["stage1"][0] = nn.Conv2d(bands, 4, kernel_size=3, padding=1)
    assert feature_channels(network, bands) == 6


def test_the_network_stays_as_it_was(network):
    network.train()
    network.model.encoder["layer1"].eval()  # as where a method freezes some layers
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    feature_channels(network, 3)
    assert [module.training for module in network.modules()] == modes and len(set(modes)) == 2
    for name, value in network.state_dict().items():
        assert value.equal(state[name]), f"{name} learnt from a black image"
