"""Held against the cumulative statistics of bethgelab/robustness; and what is trained, which is nothing."""

import torch

from methods.base import Progress, TargetBatch, Task
from methods.batch_norm_target import BatchNormTarget
from methods.parts.metadata import Metadata

FIVE = Task(classes=("a", "b", "c", "d", "e"), bands=("red", "green", "blue"))


def step(method, images, number=0):
    method.train()
    return method.step_losses(None, TargetBatch(images, Metadata.unknown(len(images))), Progress(number, 3))


def test_the_statistics_are_those_of_the_official_cumulative_average(fixture_values, official_network, agrees):
    values = fixture_values("bn_adapt_prior")
    method = BatchNormTarget(official_network(), FIVE)
    logits = []
    for number in range(3):
        images = torch.tensor(values[f"in_x{number}"])
        step(method, images, number)
        logits.append(method.eval().predict(TargetBatch(images, Metadata.unknown(2))))
    source, expected = values.source("bethgelab/robustness"), values["out_ema_logits_seq"]
    quantity = "logits with the statistics of one, two and three batches"
    agrees("batch-norm-target", quantity, torch.stack(logits), expected, source, rtol=1e-5, atol=1e-5)


def test_the_statistics_are_the_plain_average_over_the_batches(network, task, target):
    method = BatchNormTarget(network, task)
    seen = []
    first = network.model.encoder["layer1"]
    for number, row in enumerate(target.images.split(1)):
        step(method, row, number)
        seen.append(first[0]((row - 128) / 64))
    mean = torch.stack([features.mean((0, 2, 3)) for features in seen]).mean(0)
    variance = torch.stack([features.var((0, 2, 3)) for features in seen]).mean(0)
    torch.testing.assert_close(first[1].running_mean, mean)
    torch.testing.assert_close(first[1].running_var, variance)


def test_no_weight_is_trained(network, task, target):
    network(target)
    method = BatchNormTarget(network, task)
    weights = {name: value.clone() for name, value in network.named_parameters()}
    loss = step(method, target.images)["entropy"]
    assert not loss.requires_grad and 0 < loss < torch.tensor(3.0).log()
    assert not any(value.requires_grad for value in method.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())


def test_a_patch_is_predicted_by_itself(network, task, target):
    method = BatchNormTarget(network, task)
    step(method, target.images)
    method.eval()
    together = method.predict(target)
    alone = [method.predict(TargetBatch(row, Metadata.unknown(1))) for row in target.images.split(1)]
    torch.testing.assert_close(torch.cat(alone), together)


def test_another_contrast_of_the_target_is_undone(network, task, target):
    network(target)
    plain = network.eval()(target)
    duller = (target.images - 128) * 0.6 + 128  # TinyNetwork centres at 128
    method = BatchNormTarget(network, task)
    before = (network.eval()(TargetBatch.of(duller)) - plain).abs().mean()
    step(method, target.images)
    expected = method.eval().predict(target)
    method = BatchNormTarget(network, task)
    step(method, duller)
    after = (method.eval().predict(TargetBatch(duller, target.metadata)) - expected).abs().mean()
    assert after < before / 50
