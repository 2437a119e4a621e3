"""The last convolution of a head: found, watched, and its window around single pixels."""

import pytest
import torch
from torch import nn

from methods.base import MethodError
from methods.parts.head import classifier, neighbourhoods, pass_with_features, watched


def test_the_last_convolution_is_found_and_its_absence_told(network):
    last = nn.Conv2d(5, 3, 1)
    network.model.segmentation_head = nn.Sequential(nn.Conv2d(6, 5, 1), nn.ReLU(), last, nn.Identity())
    assert classifier(network) is last
    network.model.segmentation_head = nn.Linear(6, 3)
    with pytest.raises(MethodError, match="no convolution"):
        classifier(network)


def test_what_enters_and_leaves_it_belongs_to_the_pass(network, target):
    logits, features, outputs = pass_with_features(network, target)
    torch.testing.assert_close(classifier(network)(features), outputs)
    assert torch.autograd.grad(logits.sum(), outputs)[0].abs().sum() > 0
    assert not classifier(network)._forward_hooks


def test_other_outputs_can_take_its_place(network, target):
    with watched(classifier(network), lambda features, outputs: torch.zeros_like(outputs)):
        assert not network(target).any()
    assert network(target).any()


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_a_window_of_features_times_the_weights_is_the_output(mode):
    layer = nn.Conv2d(4, 3, (3, 5), padding=(2, 2), dilation=(2, 1), padding_mode=mode)
    features = torch.randn(2, 4, 6, 7, generator=torch.Generator().manual_seed(0))
    pixels = torch.tensor([0, 5, 41, 42, 83])
    found = neighbourhoods(layer, features, pixels) @ layer.weight.flatten(1).T + layer.bias
    expected = layer(features).movedim(1, -1).flatten(0, 2)[pixels]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_padding_by_a_name_is_refused():
    with pytest.raises(MethodError, match="numbers"):
        neighbourhoods(nn.Conv2d(2, 2, 3, padding="same"), torch.zeros(1, 2, 4, 4), torch.tensor([0]))
