"""The average against vikolss/DACS's teacher and its sum: weights, statistics, and that it is what predicts."""

import torch
from torch import nn

from methods.base import Progress, TargetBatch
from methods.ema import EMA
from methods.parts.metadata import Metadata


def _walk(method, steps):
    """Give the network other weights and statistics at each step, and return them."""
    weight, statistics = method.network.model.segmentation_head.weight, method.network.stages["stage1"][1].running_var
    path = []
    for step in range(steps):
        with torch.no_grad():
            weight.fill_(step + 1.0)
            statistics.fill_(10.0 * (step + 1))
        method.after_step(Progress(step, steps))
        path.append(step + 1.0)
    average = method.average
    return path, average.model.segmentation_head.weight[0, 0, 0, 0], average.stages["stage1"][1].running_var[0]


def test_the_average_of_the_weights_is_that_of_the_official_teacher(fixture_values, task, agrees):
    values = fixture_values("dacs_classmix")
    method = EMA(nn.Linear(3, 1, bias=False), task, EMA.Hyperparameters(decay=0.99))
    method.average.weight.fill_(0.0)
    path = []
    for step in range(6):
        with torch.no_grad():
            method.network.weight.copy_(torch.sin(0.9 * torch.arange(3) + step))
        method.after_step(Progress(step, 6))
        path.append(method.average.weight.clone())
    source, quantity = values.source("vikolss/DACS"), "average of the weights after each of six steps"
    agrees("ema", quantity, torch.stack(path), values["out_ema_traj"], source, rtol=1e-5, atol=1e-7)


def test_a_young_average_is_the_mean_of_all_steps(network, task, agrees):
    path, weight, variance = _walk(EMA(network, task, EMA.Hyperparameters(decay=0.9)), 10)
    # The statistics, ten times the weights, are of the same age.
    expected = [sum(path) / 10, sum(path)]
    agrees("ema", "weight and statistics after ten steps", torch.stack([weight, variance]), expected, rtol=1e-6)


def test_an_old_average_forgets_at_its_decay(network, task, agrees):
    path, weight, _ = _walk(EMA(network, task, EMA.Hyperparameters(decay=0.5)), 6)
    expected = path[0]  # decays of min(1 - 1 / (step + 1), 0.5): 0, then always 0.5
    for value in path[1:]:
        expected = 0.5 * expected + 0.5 * value
    agrees("ema", "weight after six steps at a decay of a half", weight, expected, rtol=1e-6)


def test_statistics_follow_the_first_layer_exactly(network, task, source):
    """The mean of features is linear in the weights of one layer: that of averaged weights is the averaged mean."""
    method = EMA(network, task, EMA.Hyperparameters(decay=0.9))
    layers = [part.stages["stage1"] for part in (network, method.average)]
    layers[0][1].momentum = 1.0  # so that its statistics are those of the batch
    for step in range(5):
        with torch.no_grad():
            layers[0][0].weight.add_(0.1 * torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(step)))
            network(source)
        method.after_step(Progress(step, 5))
    means = layers[1][0]((source.images - 128) / 64).mean((0, 2, 3))
    torch.testing.assert_close(layers[1][1].running_mean, means, rtol=1e-4, atol=1e-6)


def test_it_predicts_with_the_average_and_trains_the_network(network, task, source, target):
    method = EMA(network, task)
    method.step_losses(source, None, Progress(0, 1))["segmentation"].backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not any(parameter.requires_grad for parameter in method.average.parameters())
    method.after_step(Progress(0, 1))
    method.eval()
    before = method.predict(target)
    torch.testing.assert_close(before, network(target), msg="after one step both are the same")
    with torch.no_grad():
        network.model.segmentation_head.bias.add_(1)
    assert torch.equal(method.predict(target), before)


def test_without_decay_the_average_is_the_network(network, task):
    method = EMA(network, task, EMA.Hyperparameters(decay=0.0))
    _walk(method, 3)
    for mine, theirs in zip(method.average.parameters(), network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_average_of_weights_that_swing_is_nearer_to_the_best(network, task):
    """Gradient steps around the best of a loss: the average lies closer to it than the last weights do."""
    method = EMA(network, task, EMA.Hyperparameters(decay=0.99))
    weight = network.model.segmentation_head.weight
    random = torch.Generator().manual_seed(0)
    for step in range(200):
        with torch.no_grad():
            weight -= 0.5 * (weight - 1 + torch.randn(weight.shape, generator=random))  # the best is 1
        method.after_step(Progress(step, 200))
    average = method.average.model.segmentation_head.weight
    assert (average - 1).norm() < (weight - 1).norm() / 2


def test_the_average_survives_a_resume(network, task):
    method = EMA(network, task)
    _walk(method, 3)
    resumed = EMA(network, task)
    resumed.load_state_dict(method.state_dict())
    images = TargetBatch(torch.full((1, 3, 8, 8), 100.0), Metadata.unknown(1))
    assert torch.equal(resumed.eval().predict(images), method.eval().predict(images))
