"""The low-rank change of a frozen encoder: by hand, from where the network starts, and what of it is trained."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from methods.base import MethodError, Progress
from methods.lora import LoRA
from methods.parts.frozen_encoder import FrozenEncoder
from methods.parts.low_rank import LowRank, change_weight, matrix_of, mixing_layers, rank_for
from methods.rein import Rein
from methods.soma import SoMA


def _train(method, source, steps=4):
    method.train()
    optimizer = torch.optim.Adam([each for each in method.parameters() if each.requires_grad], 1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        method.step_losses(source, None, Progress(step, steps))["segmentation"].backward()
        optimizer.step()
    return method.eval()


def test_a_linear_layer_with_a_change_of_rank_one_by_hand(agrees):
    layer = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    change_weight(layer, LowRank(torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0], [0.0], [3.0]]), scale=0.5))
    # A x = 2 * 4 - 5 = 3; half of B A x = (1.5, 0, 4.5), beside W x = (4, 5, 9).
    agrees("lora", "output of a linear layer", layer(torch.tensor([4.0, 5.0])), [5.5, 5.0, 13.5], rtol=1e-6)


def test_the_change_of_a_convolution_is_one_to_fewer_channels_and_one_of_single_pixels(agrees):
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    down, up = torch.randn(2, 27, generator=random), torch.randn(5, 2, generator=random)
    images = torch.randn(2, 3, 9, 8, generator=random)
    fewer = F.conv2d(images, down.view(2, 3, 3, 3), stride=2, padding=1)
    expected = layer(images) + 0.7 * F.conv2d(fewer, up[..., None, None])
    change_weight(layer, LowRank(down, up, 0.7))
    agrees("lora", "output of a convolution", layer(images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [LoRA, Rein, SoMA])
def test_the_network_starts_as_it_is(kind, network, task, target):
    before = copy.deepcopy(network).eval()(target)
    method = kind(network, task).eval()
    torch.testing.assert_close(method.predict(target), before, rtol=0, atol=1e-5 if kind is SoMA else 0)


@pytest.mark.parametrize("kind", [LoRA, Rein, SoMA])
def test_the_encoder_stays_to_the_bit_and_what_is_added_is_trained(kind, network, task, source, target):
    method = kind(network, task)
    encoder = network.model.encoder
    own = {name: value for name, value in encoder.state_dict().items() if ".weight.0." not in name}
    assert any("running_mean" in name for name in own)
    before, predicted = copy.deepcopy(own), method.eval().predict(target)
    added = [each for each in method.parameters() if each.requires_grad and each.numel()]
    started = [each.detach().clone() for each in added]
    _train(method, source)
    for name, value in before.items():
        assert torch.equal(value, encoder.state_dict()[name]), name
    assert all(not torch.equal(old, new) for old, new in zip(started, added, strict=True))
    assert not torch.allclose(method.predict(target), predicted)
    assert not method.train().network.model.encoder.training and method.network.training


def test_what_is_learned_has_the_rank(network, task, source):
    method = _train(LoRA(network, task, LoRA.Hyperparameters(rank=2)), source)
    for layer in mixing_layers(method.network.model.encoder).values():
        changed, original = layer.weight.flatten(1), layer.parametrizations.weight.original.flatten(1)
        assert torch.linalg.matrix_rank(changed - original, rtol=1e-4) == 2
    assert rank_for(nn.Linear(5, 3), 8) == 3 and rank_for(nn.Linear(5, 3), 2) == 2


def test_layers_that_mix_channels_are_found_and_an_encoder_without_one_is_refused():
    depthwise, pointwise = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1)
    layers = mixing_layers(nn.Sequential(depthwise, nn.BatchNorm2d(4), pointwise, nn.Linear(8, 2)))
    assert list(layers) == ["2", "3"] and matrix_of(pointwise).shape == (8, 4)
    with pytest.raises(MethodError, match="no linear layer and no ungrouped convolution"):
        mixing_layers(depthwise)


def test_a_scale_that_closes_a_branch_is_trained(network, task):
    norms = [layer for layer in network.model.encoder.modules() if isinstance(layer, nn.BatchNorm2d)]
    nn.init.zeros_(norms[1].weight)
    assert issubclass(LoRA, FrozenEncoder) and LoRA(network, task)
    assert [layer.weight.requires_grad for layer in norms] == [False, True]
    assert not norms[1].bias.requires_grad
