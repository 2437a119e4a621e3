"""The size of features, found without a trace in the network."""

import pytest
import torch
from torch import nn

from methods.base import TargetBatch
from methods.parts.feature_size import feature_channels, residual_stages


def test_the_channels_are_those_of_the_features(network):
    _, features = network(TargetBatch.of(torch.zeros(2, 3, 32, 32)), return_features=True)
    assert feature_channels(network, 3) == features.shape[1] == 6


@pytest.mark.parametrize("bands", [1, 5])
def test_any_number_of_bands(network, bands):
    network.stages["stage1"][0] = nn.Conv2d(bands, 4, kernel_size=3, padding=1)
    assert feature_channels(network, bands) == 6


@pytest.mark.parametrize(
    ("strides", "expected"),
    [
        ((4, 2, 2), {"stage1": 3, "stage2": 4, "stage3": 5}),  # a ResNet of smp, or one without a stem of its own
        ((2, 2, 2), {"stage2": 4, "stage3": 5}),  # a ResNet of timm: the first is the stem
        ((2, 1, 2), {"stage3": 5}),
        ((2, 1, 1), {"stage1": 3, "stage2": 4, "stage3": 5}),  # too shallow to have one
    ],
)
def test_stages_before_a_quarter_of_the_side_are_no_residual_ones(network, strides, expected):
    widths = [3, 3, 4, 5]
    layers = [nn.Conv2d(*widths[n : n + 2], 3, stride=strides[n], padding=1) for n in range(3)]
    network.stages = {f"stage{n + 1}": layer for n, layer in enumerate(layers)}
    network.model.segmentation_head = nn.Conv2d(5, 3, kernel_size=1)
    assert residual_stages(network, 3) == expected
    assert not any(layer._forward_hooks for layer in layers)


def test_the_network_stays_as_it_was(network):
    network.train()
    network.model.encoder["layer1"].eval()  # as where a method freezes some layers
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    feature_channels(network, 3)
    residual_stages(network, 3)
    assert [module.training for module in network.modules()] == modes and len(set(modes)) == 2
    for name, value in network.state_dict().items():
        assert value.equal(state[name]), f"{name} learnt from a black image"
