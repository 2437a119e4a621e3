"""By hand: content and style apart, and who learns from which loss."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from methods.base import IGNORE, Progress
from methods.parts.feature_statistics import channel_statistics
from methods.sag_net import EPSILON, SagNet, class_shares, norm_weights, randomize_content, randomize_style

NOW = Progress(0, 1)


def method_of(network, task, **values):
    torch.manual_seed(0)
    method = SagNet(network, task, SagNet.Hyperparameters(**{"width": 8} | values))
    network.perturbation = method.change_features
    return method


def test_random_style_by_hand(agrees):
    # Two images with one channel of two pixels: (0, 2) has mean 1 and variance 2, (2, 6) has 4 and 8.
    features = torch.tensor([0.0, 2.0, 2.0, 6.0], dtype=torch.float64).view(2, 1, 1, 2)
    # With three quarters of its own style, the first gets the mean 0.75 * 1 + 0.25 * 4 = 1.75 and the variance
    # 0.75 * 2 + 0.25 * 8 = 3.5; with none, the second gets the first's style. Normalised, both are (-1, 1)/sqrt 2.
    found = randomize_style(features, torch.tensor([1, 0]), torch.tensor([0.75, 0.0]))
    step = (3.5 / 2) ** 0.5
    expected = torch.tensor([1.75 - step, 1.75 + step, 0.0, 2.0], dtype=torch.float64)
    agrees("sag-net", "features of random style", found, expected, rtol=0, atol=1e-4)  # within epsilon


def test_random_content_teaches_through_the_style_alone(agrees):
    # Of y = c_1 s_0 + m_0, with the content c_1 = (x_1 - m_1) / s_1 of another image, and n pixels: dm_0/dx_0 = 1/n and
    # ds_0/dx_0 = c_0 / (n - 1). So the sum of w y has the gradient mean(w) + (w . c_1) c_0 / (n - 1) by x_0, and none
    # by x_1.
    random = torch.Generator().manual_seed(0)
    features = torch.randn(2, 1, 1, 5, generator=random, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, generator=random, dtype=torch.float64)
    (randomize_content(features, torch.tensor([1, 0]))[0].flatten() * weights).sum().backward()
    own, other = (image.flatten() for image in features.detach())
    content = (other - other.mean()) / other.std()
    expected = weights.mean() + (weights @ content) * (own - own.mean()) / own.std() / 4
    # Within epsilon.
    agrees("sag-net", "gradient through the style", features.grad[0], expected, rtol=0, atol=1e-4)
    assert (features.grad[1] == 0).all()


def test_the_content_is_the_partners():
    features = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 4).view(3, 1, 1, 1)
    partners = torch.tensor([2, 0, 1])
    found = randomize_content(features, partners)

    def normalized(values):
        mean, deviation = channel_statistics(values, 0.0)
        return (values - mean) / deviation

    torch.testing.assert_close(normalized(found), normalized(features)[partners], rtol=1e-4, atol=1e-4)
    for one, other in zip(channel_statistics(found, EPSILON), channel_statistics(features, EPSILON), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_shares_of_classes():
    labels = torch.tensor([[[0, 0, 2, IGNORE]], [[IGNORE] * 4]])
    torch.testing.assert_close(class_shares(labels, 3), torch.tensor([[2 / 3, 0, 1 / 3], [0, 0, 0]]))


@pytest.mark.parametrize("stage", [1, 2])
def test_the_adversarial_loss_reaches_the_norms_before_the_style_alone(network, task, source, stage):
    method = method_of(network, task, stage=stage, clip=1e6)
    loss = method.step_losses(source, None, NOW)["adversarial"]
    loss.backward()
    reached = {name for name, weights in network.named_parameters() if weights.grad is not None}
    expected = {f"model.encoder.layer{n}.1.{kind}" for n in range(1, stage + 1) for kind in ("weight", "bias")}
    assert reached == expected
    assert all(dict(network.named_parameters())[name].grad.abs().sum() > 0 for name in reached)
    assert all(weights.grad is None for weights in method.second_network.parameters())


def test_one_backward_pass_gives_each_weight_what_is_meant_for_it(network, task, source):
    # All gradients once more, each from a pass of its own.
    method = method_of(network, task, clip=1e-4, weight=1.0)
    sum(method.step_losses(source, None, NOW).values()).backward()
    found = {name: weights.grad.clone() for name, weights in network.named_parameters()}
    network.zero_grad()
    losses = method.step_losses(source, None, NOW)
    losses["adversarial"].backward(retain_graph=True)
    adversarial = {name: w.grad.clone() for name, w in network.named_parameters() if w.grad is not None}
    network.zero_grad()
    losses["segmentation"].backward()
    for name, weights in network.named_parameters():
        torch.testing.assert_close(found[name], weights.grad + adversarial.get(name, 0), rtol=1e-4, atol=1e-7)
    norm = torch.stack([gradient.norm() for gradient in adversarial.values()]).norm().item()
    torch.testing.assert_close(norm, 1e-4, rtol=1e-4, atol=0)


def test_descending_on_it_makes_the_style_head_unsure(network, task, source):
    method = method_of(network, task, weight=1.0, clip=1e6)
    trained = norm_weights(network)
    small = replace(source, images=source.images[:, :, :8, :8], labels=source.labels[:, :8, :8])
    nn.init.normal_(method.second_network[-1].weight, std=50.0)  # a head that is sure of itself
    excess = []
    for _ in range(6):
        loss = method.step_losses(small, None, NOW)["adversarial"]
        excess.append(loss.item() - math.log(3))  # over that of a head that is wholly unsure of three classes
        with torch.no_grad():
            for weights, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                weights -= 0.1 * gradient
    assert 0 <= excess[-1] < excess[0] / 2


def test_the_style_head_learns_alone(network, task, source):
    method = method_of(network, task)
    method.step_losses(source, None, NOW)
    losses = method.second_step_losses(NOW)
    sum(losses.values()).backward()
    assert all(weights.grad is None for weights in network.parameters())
    assert all(weights.grad.abs().sum() > 0 for weights in method.second_network.parameters())
    # A head that says nothing is off by ln 3, whatever the shares are.
    for weights in method.second_network.parameters():
        nn.init.zeros_(weights)
    torch.testing.assert_close(method.second_step_losses(NOW)["style"].item(), math.log(3))


def test_the_network_sees_random_style_in_training_after_one_stage(network, task):
    method = method_of(network, task, stage=1)
    features = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(method.change_features("stage1", features), features)
    assert method.change_features("stage2", features) is features
    assert method.eval().change_features("stage1", features) is features


def test_making_the_head_leaves_the_network_as_it_was(network, task):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method_of(network, task)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert network.training and not any(stage._forward_hooks for stage in network.stages.values())


@pytest.mark.parametrize("stage", [1, 2])
def test_one_image_of_which_nothing_is_labelled(network, task, source, stage):
    method = method_of(network, task, stage=stage)
    single = replace(source, images=source.images[:1, :, :31, :29], labels=torch.full((1, 31, 29), IGNORE))
    losses = method.step_losses(single, None, NOW)
    sum(losses.values()).backward()
    assert losses["segmentation"].item() == 0 and losses["adversarial"].isfinite()
    assert all(weights.grad.isfinite().all() for weights in network.parameters())
    style = method.second_step_losses(NOW)["style"]
    style.backward()
    assert style.item() == 0


def test_it_trains_in_mixed_precision(network, task, source):
    method = method_of(network, task)
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.step_losses(source, None, NOW)
    sum(losses.values()).backward()
    assert all(weights.grad.isfinite().all() for weights in network.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.second_step_losses(NOW)
    sum(losses.values()).backward()
    assert all(weights.grad.abs().sum() > 0 for weights in method.second_network.parameters())


@pytest.mark.parametrize(("stage", "place", "channels"), [(1, "stage1", 4), (2, "stage2", 6), (4, "stage2", 6)])
def test_where_the_encoder_has_fewer_stages_the_deepest_is_taken(network, task, stage, place, channels):
    method, features = method_of(network, task, stage=stage), torch.rand(4, channels, 8, 8)
    assert method.change_features(place, features) is not features
    assert method.second_network[0].in_channels == channels
