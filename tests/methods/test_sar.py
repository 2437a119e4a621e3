"""Held against numbers of the official code (mr-eggplant/SAR, sar.py and sam.py), and the way back to the source."""

import math

import pytest
import torch

from methods.base import TargetBatch, Task
from methods.parts.entropy import entropy
from methods.parts.metadata import Metadata
from methods.sar import SAR
from methods.tent import TENT

FIVE = Task(classes=("a", "b", "c", "d", "e"), bands=("red", "green", "blue"))

# forward_and_adapt_sar on rows of pixels, margin 0.4 ln 5, SAM(SGD, lr 0.05, momentum 0.9), over the batches of the
# fixture "tent": the moving average, and scales and shifts of the batch norm after each. (At most 29 of 128 pixels.)
OFFICIAL = "mr-eggplant/SAR@20f6e24"
AVERAGES = [0.2761509120464325, 0.2731825217604637, 0.27248746797442436]
# fmt: off
WEIGHTS = [
    [1.2865030765533447, 1.1386439800262451, 0.9255610704421997, 0.7475943565368652,
     0.05467258766293526, -0.14902368187904358, -0.2826317846775055, -0.2833137512207031],
    [1.311547875404358, 1.157701849937439, 0.9295046925544739, 0.7346068620681763,
     0.0768297091126442, -0.1311076134443283, -0.2773829698562622, -0.2932007908821106],
    [1.345932960510254, 1.1848864555358887, 0.9364520907402039, 0.7182254791259766,
     0.10829134285449982, -0.10449478775262833, -0.2681353688240051, -0.3056677281856537],
]
# fmt: on


def sar(network, task, **values):
    return SAR(network, task, SAR.Hyperparameters(**values)).eval()


def affine(method):
    return torch.cat([weights.detach().flatten() for weights in method.affine])


def test_three_batches_equal_the_official_run(fixture_values, official_network, official_batches, agrees):
    method = sar(official_network(), FIVE, learning_rate=0.05)
    averages, weights = [], []
    for batch in official_batches(fixture_values("tent")):
        method.adapt(batch)
        averages.append(method.average.item())
        weights.append(affine(method))
    agrees("sar", "moving average of the loss after each of three batches", averages, AVERAGES, OFFICIAL, rtol=1e-5)
    quantity = "scales and shifts after each of three batches"
    agrees("sar", quantity, torch.stack(weights), WEIGHTS, OFFICIAL, rtol=1e-5, atol=1e-6)


def test_without_margin_and_radius_it_is_the_step_of_tent(network, task, target):
    method = sar(network, task, margin=1.1, radius=1e-9, collapse=0.0, learning_rate=0.1)
    start = affine(method)
    method.adapt(target)
    moved = affine(method) - start
    method._put(method.start)
    TENT(network, task, TENT.Hyperparameters(optimizer="sgd", learning_rate=0.1)).eval().adapt(target)
    torch.testing.assert_close(moved, affine(method) - start, rtol=1e-3, atol=1e-6)


def test_only_certain_pixels_count(network, task, target):
    method = sar(network, task, margin=0.95)
    uncertainty = entropy(method.predict(target))
    certain, loss = method._reliable(target, True)
    assert 0.1 < certain.float().mean() < 0.9
    torch.testing.assert_close(loss, uncertainty[uncertainty < 0.95 * math.log(3)].mean())
    none, _ = method._reliable(target, torch.zeros_like(certain))
    assert not none.any()


def test_where_no_pixel_is_certain_nothing_moves(network, task, target):
    method = sar(network, task, margin=0.0, learning_rate=1.0)
    before = affine(method)
    method.average.fill_(0.5)
    method.adapt(target)
    torch.testing.assert_close(affine(method), before, rtol=0, atol=0)
    assert method.average == 0.5
    assert method._reliable(target, True)[1] == 0


@pytest.mark.parametrize(("factor", "resets"), [(0.99, False), (1.01, True)])
def test_a_collapse_brings_the_source_back(network, task, target, factor, resets):
    probe = sar(network, task, margin=1.1, learning_rate=0.5, collapse=0.0)
    probe.adapt(target)
    probe._put(probe.start)
    collapse = factor * probe.average.item() / (math.log(3) / math.log(1000))
    method = sar(network, task, margin=1.1, learning_rate=0.5, collapse=collapse)
    method.adapt(target)
    assert torch.equal(affine(method), method.start) is resets
    assert method.average.isnan().item() is resets
    assert bool(method.updates.state) is not resets, "momentum is forgotten too"


def test_what_it_must_remember_is_saved_and_nothing_else_is_trained(network, task, target):
    method = sar(network, task)
    stored = {name: value.clone() for name, value in network.named_buffers()}
    method.adapt(target)
    assert {"start", "average"} < set(method.state_dict())
    assert all(("1.weight" in name or "1.bias" in name) for name, p in network.named_parameters() if p.requires_grad)
    assert all(torch.equal(value, stored[name]) for name, value in network.named_buffers())


def test_one_image_of_odd_size(network, task):
    images = torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255
    method = sar(network, task, margin=1.0)
    method.adapt(TargetBatch(images, Metadata.unknown(1)))
    assert method.predict(TargetBatch(images, Metadata.unknown(1))).isfinite().all()
