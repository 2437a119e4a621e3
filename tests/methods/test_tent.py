"""Held against DequanWang/tent's own run: logits, entropies and weights over three batches."""

import json
import math

import pytest
import torch

from methods.base import TargetBatch, Task
from methods.parts.entropy import entropy
from methods.parts.metadata import Metadata
from methods.tent import TENT

FIVE = Task(classes=("a", "b", "c", "d", "e"), bands=("red", "green", "blue"))


def tent(network, task, **values):
    return TENT(network, task, TENT.Hyperparameters(**values)).eval()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("adam1e-3", {"optimizer": "adam", "learning_rate": 1e-3}),
        ("sgd2.5e-4", {"optimizer": "sgd", "learning_rate": 2.5e-4}),
    ],
)
def test_three_batches_equal_the_official_run(
    fixture_values, name, settings, official_network, official_batches, agrees
):
    values = fixture_values("tent")
    method = tent(official_network(), FIVE, **settings)
    layer, weights = method.network[1], []
    for index, batch in enumerate(official_batches(values)):
        with torch.no_grad():
            logits = method.predict(batch)
        rows = logits.permute(0, 2, 3, 1).reshape(-1, 5)
        expected = torch.tensor(values[f"out_tent_{name}_logits"][index])
        torch.testing.assert_close(rows, expected, rtol=1e-5, atol=2e-5, msg="logits before the step")
        mean = entropy(logits).mean().item()
        assert mean == pytest.approx(float(values[f"out_tent_{name}_entropy"][index]), rel=1e-5)
        method.adapt(batch)
        weights.append(torch.cat([layer.weight, layer.bias]).detach())
    quantity = "scales and shifts after each of three batches, {optimizer} at {learning_rate:g}".format(**settings)
    expected, source = values[f"out_tent_{name}_bn_after"], values.source("DequanWang/tent")
    agrees("tent", quantity, torch.stack(weights), expected, source, rtol=1e-6, atol=1e-6)


def test_the_gradient_and_the_trained_weights_are_the_official_ones(
    fixture_values, official_network, official_batches, agrees
):
    values = fixture_values("tent")
    method = tent(official_network(), FIVE)
    method.adapt(official_batches(values)[0])
    gradients = torch.cat([method.network[1].weight.grad, method.network[1].bias.grad])
    expected, source = values["out_tent_grad_bn_x0"], values.source("DequanWang/tent")
    quantity = "gradient of scales and shifts on the first batch"
    agrees("tent", quantity, gradients, expected, source, rtol=1e-5, atol=1e-6)
    trained = [name for name, weights in method.network.named_parameters() if weights.requires_grad]
    official = json.loads(str(values["out_tent_param_names"]))
    assert [name.replace("1.", "bn.") for name in trained] == official


def test_predictions_get_more_certain_and_the_source_statistics_stay(network, task, target):
    stored = {name: value.clone() for name, value in network.named_buffers()}
    method = tent(network, task, learning_rate=0.1)
    entropies = []
    for _ in range(5):
        entropies.append(entropy(method.predict(target)).mean().item())
        method.adapt(target)
    assert entropies == sorted(entropies, reverse=True) and entropies[-1] < 0.95 * entropies[0]
    assert all(torch.equal(value, stored[name]) for name, value in network.named_buffers())


def test_a_learning_rate_of_nothing_is_the_source_model(network, task, target):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method = tent(network, task, learning_rate=0.0)
    method.adapt(target)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_one_image_of_odd_size(network, task):
    images = torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255
    method = tent(network, task)
    method.adapt(TargetBatch(images, Metadata.unknown(1)))
    assert method.predict(TargetBatch(images, Metadata.unknown(1))).isfinite().all()
    assert entropy(torch.zeros(1, 3, 1, 1)).item() == pytest.approx(math.log(3))
