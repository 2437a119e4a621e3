"""Held against transcribed official steps (BIT-DA/RoTTA): memory, normalisation, weights; one-sided streams."""

import math
from dataclasses import replace

import pytest
import torch

from methods.base import TargetBatch, Task
from methods.parts.batch_norm import following_statistics
from methods.parts.memory import BalancedMemory, Remembered, split_batch
from methods.parts.metadata import Metadata
from methods.rotta import RoTTA

OFFICIAL = "BIT-DA/RoTTA@df6feda, its steps transcribed"
ONE = TargetBatch(torch.zeros(1, 1, 1, 1), Metadata.unknown(1))

# CSTU with room for 8 of 3 classes over 60 instances k: class 0, from the 20th on class 1, from the 40th on k mod 3;
# uncertainty 0.9 ln 3 (0.5 + 0.5 sin 1.7 k). Which are kept, and how old they are, after 20, 30, 40 and 60.
TRACE = [
    [(14, 6), (17, 3), (18, 2)],
    [(14, 16), (17, 13), (18, 12), (21, 9), (25, 5), (29, 1)],
    [(14, 26), (17, 23), (18, 22), (32, 8), (36, 4), (39, 1)],
    [(36, 24), (47, 13), (50, 10), (51, 9), (54, 6), (55, 5), (58, 2), (59, 1)],
]
# RobustBN2d with momentum 0.3 in the network of the fixture "tent", twice on the first batch: sum of absolute outputs,
# stored means and variances, and of the gradient of the sum of cubes the sum of absolutes and every 97th value.
SUM, SLOPE_SUM = 486.63592529296875, 1664.039306640625
MEANS = [0.33815616369247437, 0.5232821702957153, 0.3828850984573364, 0.016602549701929092]
VARIANCES = [1.8314647674560547, 1.929081916809082, 1.8133203983306885, 1.6672546863555908]
SLOPES = [-1.2649860382080078, 4.2930474281311035, -0.04101046919822693, 6.619873046875, 0.18094104528427124]


def rotta(network, task, **values):
    return RoTTA(network, task, RoTTA.Hyperparameters(**values)).eval()


def test_the_memory_keeps_what_the_official_one_keeps(agrees):
    memory, trace = BalancedMemory(8, 3), []
    for k in range(60):
        uncertainty = 0.9 * math.log(3) * (0.5 + 0.5 * math.sin(1.7 * k))
        item = Remembered(replace(ONE, images=torch.full((1, 1, 1, 1), float(k))), [0, 1, k % 3][k // 20], uncertainty)
        memory.add(item)
        if k in (19, 29, 39, 59):
            trace.append(sorted((int(each.patch.images.item()), each.age) for each in memory.kept))
    quantity = "patches in memory and their ages after 20, 30, 40 and 60 of a one-sided stream"
    found, expected = ([float(number) for step in each for pair in step for number in pair] for each in (trace, TRACE))
    assert [len(step) for step in trace] == [len(step) for step in TRACE]
    agrees("rotta", quantity, found, expected, OFFICIAL, rtol=0)


def test_batch_normalisation_and_its_gradient_are_the_official_ones(
    fixture_values, official_network, official_batches, agrees
):
    network = official_network().eval()
    features = network[0](official_batches(fixture_values("tent"))[0].images).detach().requires_grad_()
    with following_statistics(network, 0.3):
        network[1](features)
        normalised = network[1](features)
    (slope,) = torch.autograd.grad((normalised**3).sum(), features)
    stored = torch.cat([network[1].running_mean, network[1].running_var])
    numbers = torch.cat([normalised.abs().sum()[None], stored, slope.abs().sum()[None], slope.flatten()[::97][:5]])
    quantity = "robust batch normalisation: outputs, statistics and gradients"
    reference = [SUM, *MEANS, *VARIANCES, SLOPE_SUM, *SLOPES]
    agrees("rotta", quantity, numbers, reference, OFFICIAL, rtol=2e-5, atol=1e-5)


def test_older_patches_weigh_less(agrees):
    memory = BalancedMemory(2, 2)
    memory.kept = [Remembered(ONE, 0, 0.0, age) for age in (0, 1, 4)]
    agrees("rotta", "weights at ages of 0, 1/2 and 2 memories", memory.batch()[1],
           [0.5, 0.3775406777858734, 0.11920291930437088], OFFICIAL, rtol=1e-6)  # fmt: skip


def test_learning_is_by_the_teacher_and_the_teacher_follows(make_network, task, target):
    method = rotta(network := make_network(), task, learning_rate=0.01, decay=0.75)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        method.predict(target)
    method.adapt(target)
    trained = {name for name, weights in network.named_parameters() if weights.requires_grad}
    teacher = method.teacher.state_dict()
    for name, value in network.state_dict().items():
        if "running" in name:
            assert not torch.equal(value, before[name]) and not torch.equal(teacher[name], before[name])
        elif name in trained:
            torch.testing.assert_close(teacher[name], 0.75 * before[name] + 0.25 * value)
            assert not torch.equal(value, before[name])
        else:
            assert torch.equal(value, before[name]) and torch.equal(teacher[name], before[name])


def test_the_first_loss_is_the_teachers_cross_entropy_weighted_by_age(network, task, target):
    """Without a change of light and of statistics, teacher and network agree: the slope is that of H(p) by p alone."""
    method = rotta(network, task, learning_rate=0.0, share=0.0, strength=0.0)
    method._view = lambda batch: batch
    losses = []
    real = torch.autograd.backward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "backward", lambda loss: (losses.append(loss.item()), real(loss)))
        with torch.no_grad():
            logits = method.predict(target)
        method.adapt(target)
    entropies = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean((1, 2))
    patches = [each.patch.images for each in method.memory.kept]
    order = [next(row for row in range(4) if torch.equal(target.images[row], one[0])) for one in patches]
    ages = torch.tensor([each.age for each in method.memory.kept]) / 16
    torch.testing.assert_close(losses[0], ((-ages).sigmoid() * entropies[order]).mean().item(), rtol=1e-4, atol=1e-5)


TWO = Task(classes=("dark", "bright"), bands=("red", "green"))


def one_sided(value, count=4, seed=0):
    noise = 10 * torch.randn(count, 2, 16, 16, generator=torch.Generator().manual_seed(seed))
    return TargetBatch(value + noise, Metadata.unknown(count))


def test_a_stream_of_one_class_after_the_other_keeps_both(make_network):
    """Dark images come first, then bright ones. The memory holds both, and its statistics stay between them.

    Statistics of the batch, in contrast, make a dark image and a bright one look the same.
    """
    network = make_network(classes=2, bands=2).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(replace(one_sided(0), images=torch.cat([one_sided(90).images, one_sided(170).images])))
    method = rotta(network.eval(), TWO, learning_rate=0.0, share=0.3)
    method.teacher.forward = lambda batch, real=method.teacher.forward: labelled(real(batch), batch)
    for step, value in enumerate([90] * 10 + [170] * 10):
        with torch.no_grad():
            method.predict(one_sided(value, seed=step))
        method.adapt(one_sided(value, seed=step))
    counts = [sum(each.label == label for each in method.memory.kept) for label in range(2)]
    assert counts == [8, 8], "the dark half is still there after forty bright patches"
    dark, bright = (method.network(one_sided(value)).mean((0, 2, 3)) for value in (90, 170))
    assert (dark - bright).abs().max() > 0.1


def labelled(logits, batch):
    """Logits by the brightness of the image, on top of a little of what the network says."""
    bright = (batch.images.mean((1, 2, 3)) > 130).float()
    return 1e-3 * logits + torch.stack([1 - bright, bright], 1)[:, :, None, None] * 5


def test_a_prediction_does_not_depend_on_its_batch(network, task, target):
    method = rotta(network, task)
    with torch.no_grad():
        method.predict(target)
    method.adapt(target)
    alone = torch.cat([method.predict(patch) for patch in split_batch(target)])
    torch.testing.assert_close(alone, method.predict(target))


def test_one_image_of_odd_size(network, task):
    batch = TargetBatch(torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255, Metadata.unknown(1))
    method = rotta(network, task)
    method.predict(batch)
    method.adapt(batch)
    assert method.predict(batch).isfinite().all()
