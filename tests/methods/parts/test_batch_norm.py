"""Other statistics for a while, and which weights stay trainable."""

import pytest
import torch
from torch import nn

from methods.base import TargetBatch
from methods.parts.batch_norm import (
    batch_norms,
    batch_statistics,
    following_statistics,
    mixed_statistics,
    train_only_affine,
)


@pytest.fixture
def layer():
    """A batch norm in eval mode that has seen the source: means 1 and 2, variances 4 and 9."""
    layer = nn.BatchNorm2d(2, eps=1e-12).eval()
    layer.running_mean.copy_(torch.tensor([1.0, 2.0]))
    layer.running_var.copy_(torch.tensor([4.0, 9.0]))
    return layer


# Channel 0 holds 0, 2, 4, 6: mean 3, biased variance 5, unbiased 20 / 3. Channel 1 is ten times that.
FEATURES = torch.tensor([[0.0, 2.0], [4.0, 6.0]]).view(2, 1, 1, 2) * torch.tensor([1.0, 10.0]).view(1, 2, 1, 1)


def test_the_batch_normalises_itself_with_its_biased_variance(layer):
    with batch_statistics(layer):
        normalized = layer(FEATURES)
    torch.testing.assert_close(normalized[:, 0].flatten(), torch.tensor([-3.0, -1.0, 1.0, 3.0]) / 5**0.5)
    torch.testing.assert_close(normalized[:, 1], normalized[:, 0])


def test_gradients_flow_through_the_statistics_of_the_batch(layer):
    features = FEATURES.clone().requires_grad_(True)
    with batch_statistics(layer):
        # Whatever is added to a channel or multiplied with it is taken out again, so their gradients vanish.
        (layer(features) * torch.tensor([0.0, 1.0, 0.0, 3.0]).view(2, 1, 1, 2)).sum().backward()
    assert features.grad.abs().max() > 1e-3
    torch.testing.assert_close(features.grad.sum((0, 2, 3)), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close((features.grad * FEATURES).sum((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("prior", [0.0, 1.0, 6.0])
def test_the_mix_counts_images_and_takes_the_unbiased_variance(layer, prior):
    share = prior / (prior + 2)  # two images
    mean, variance = share * 1 + (1 - share) * 3, share * 4 + (1 - share) * 20 / 3
    with mixed_statistics(layer, prior):
        normalized = layer(FEATURES)[:, 0].flatten()
    torch.testing.assert_close(normalized, (torch.tensor([0.0, 2.0, 4.0, 6.0]) - mean) / variance**0.5)


@pytest.mark.parametrize("context", [batch_statistics, lambda network: mixed_statistics(network, 4.0)])
def test_afterwards_everything_is_as_before(network, target, context):
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = network(target)
    with context(network):
        assert (network(target) - plain).abs().max() > 0.1
        assert not network.training
    with pytest.raises(RuntimeError), context(network):
        network(TargetBatch.of(target.images[:, :2]))
    torch.testing.assert_close(network(target), plain, atol=0, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.train()(target)
    assert not torch.equal(network.state_dict()["model.encoder.layer1.1.running_mean"], torch.zeros(4)), "it trains on"


@pytest.mark.parametrize("context", [batch_statistics, lambda network: mixed_statistics(network, 0.0)])
def test_a_single_value_has_no_variance_and_keeps_to_what_is_stored(layer, context):
    single = torch.tensor([5.0, 8.0]).view(1, 2, 1, 1)
    with context(layer):
        torch.testing.assert_close(layer(single).flatten(), torch.tensor([2.0, 2.0]))
        assert layer(FEATURES).mean().abs() < 1e-6, "and the next batch is again normalised with its own"


def test_statistics_of_bfloat16_features_are_summed_in_float32(layer):
    features = (1000 + torch.arange(4096.0) % 8).view(1, 1, 64, 64).repeat(1, 2, 1, 1).bfloat16()
    expected = features.double()
    with mixed_statistics(layer, 0.0):
        layer(features)
        torch.testing.assert_close(layer.running_mean.double(), expected.mean((0, 2, 3)), rtol=1e-6, atol=0)
        torch.testing.assert_close(layer.running_var.double(), expected.var((0, 2, 3)), rtol=1e-5, atol=0)


def test_only_scales_and_shifts_are_trained():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.BatchNorm2d(4, affine=False))
    network.append(nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 5)))
    network[1].act = nn.PReLU()  # timm's batch norms hold their activation
    trained = [name for name, parameter in network.named_parameters() if parameter in set(train_only_affine(network))]
    assert trained == ["1.weight", "1.bias", "2.weight", "2.bias", "4.0.weight", "4.0.bias"]
    assert trained == [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert batch_norms(network) == [network[1], network[3]]


def test_following_statistics_move_the_stored_ones_and_the_output_is_by_them(layer):
    before = layer(FEATURES)
    with following_statistics(nn.Sequential(layer), 0.25):
        found = layer(FEATURES)
    torch.testing.assert_close(layer.running_mean, torch.tensor([0.75 * 1 + 0.25 * 3, 0.75 * 2 + 0.25 * 30]))
    torch.testing.assert_close(layer.running_var, torch.tensor([0.75 * 4 + 0.25 * 5, 0.75 * 9 + 0.25 * 500]))
    torch.testing.assert_close(found, layer(FEATURES))
    assert not torch.allclose(found, before) and not layer._forward_pre_hooks


def test_following_the_batch_alone_has_its_gradients_and_a_single_value_moves_nothing(layer):
    gradients = []
    for block in (batch_statistics(layer), following_statistics(layer, 1.0)):
        features = FEATURES.clone().requires_grad_()
        with block:
            (layer(features) ** 3).sum().backward()
        gradients.append(features.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    stored = layer.running_mean.clone()
    with following_statistics(layer, 0.5):
        layer(torch.ones(1, 2, 1, 1))
    assert torch.equal(layer.running_mean, stored)
