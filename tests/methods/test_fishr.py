"""Held against facebookresearch/DomainBed's own penalty; per-pixel derivatives one by one; domains that are absent."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from methods.base import IGNORE, Progress, SourceBatch, Task
from methods.fishr import Fishr
from methods.parts.metadata import Metadata

NOW = Progress(9, 10)


class Head(nn.Module):
    """A linear classifier of the images themselves."""

    def __init__(self, weights, biases):
        super().__init__()
        self.model = nn.Module()
        self.model.segmentation_head = nn.Conv2d(weights.shape[1], weights.shape[0], 1)
        with torch.no_grad():
            self.model.segmentation_head.weight.copy_(weights[:, :, None, None])
            self.model.segmentation_head.bias.copy_(biases)

    def forward(self, batch):
        return self.model.segmentation_head(batch.images)


@pytest.fixture
def samples(fixture_values):
    """The fixture's rows as images of one pixel, and its values."""
    values = fixture_values("fishr")
    features, labels = ([torch.tensor(values[f"in_{kind}{k}"]) for k in range(3)] for kind in "fy")
    domains = torch.cat([torch.full((len(rows),), k) for k, rows in enumerate(features)])
    images, masks = torch.cat(features)[:, :, None, None], torch.cat(labels)[:, None, None]
    return SourceBatch(images, masks, domains, Metadata.unknown(len(images))), values


def _method(values, **settings):
    network = Head(torch.tensor(values["in_W"]), torch.tensor(values["in_b"]))
    task = Task(classes=tuple("abcde"), bands=tuple("abcdefgh"), domains=("0", "1", "2"))
    return Fishr(network, task, Fishr.Hyperparameters(weight=1.0, **settings))


def test_two_steps_equal_the_official_ones(samples, agrees):
    batch, values = samples
    method = _method(values)
    found = [method.step_losses(batch, None, NOW)["variances"] for _ in range(2)]
    expected = [float(values[f"out_penalty_step{step}"]) for step in (1, 2)]
    source = values.source("facebookresearch/DomainBed")
    agrees("fishr", "penalty of two steps", torch.stack(found), expected, source, rtol=1e-4)


def test_variances_of_a_head_with_a_window_are_those_of_pixels_one_by_one(network, task, source):
    head = network.model.segmentation_head = nn.Conv2d(6, 3, 3, padding=1)
    source = replace(source, images=source.images[:2, :, :8, :8], labels=source.labels[:2, :8, :8].clone())
    source.labels[0, :3] = IGNORE
    network.model.encoder["layer2"][0].stride = 1  # the outputs are as large as the labels
    method = Fishr(network, task)
    seen = []
    method.variances = lambda *given: seen.append(Fishr.variances(method, *given)) or seen[-1]
    method.step_losses(replace(source, domains=torch.zeros(2, dtype=torch.int64)), None, NOW)
    single, losses = [], F.cross_entropy(network(source), source.labels, ignore_index=IGNORE, reduction="none")
    for loss in losses[source.labels != IGNORE]:
        gradients = torch.autograd.grad(loss, list(head.parameters()), retain_graph=True)
        single.append(torch.cat([each.flatten() for each in gradients]))
    expected = torch.stack(single).var(0, correction=0)
    torch.testing.assert_close(seen[0], expected, rtol=1e-3, atol=1e-7)


def test_its_gradient_makes_the_variances_alike(network, task, source):
    source = replace(source, images=source.images * torch.tensor([1.0, 1.0, 0.3, 0.3])[:, None, None, None])
    network.eval()
    method = Fishr(network, task, Fishr.Hyperparameters(weight=1.0, decay=0.0))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    penalties = []
    for _ in range(20):
        optimizer.zero_grad()
        penalty = method.step_losses(source, None, NOW)["variances"]
        penalty.backward()
        optimizer.step()
        penalties.append(penalty.item())
    assert penalties[-1] < 0.5 * penalties[0]


def test_a_domain_that_is_absent_keeps_its_variance_and_is_not_compared(samples):
    batch, values = samples
    method = _method(values)
    first = method.step_losses(batch, None, NOW)["variances"]
    kept = method.sums[2].clone()
    rows = batch.domains < 2
    part = SourceBatch(batch.images[rows], batch.labels[rows], batch.domains[rows], Metadata.unknown(int(rows.sum())))
    method.step_losses(part, None, NOW)
    assert torch.equal(method.sums[2], kept) and method.steps.tolist() == pytest.approx([1.95, 1.95, 1.0])
    # The one that was away is scaled up to the others: with the same batch again, all are 1.95^2 + 1 over 1.95 times.
    third = method.step_losses(batch, None, NOW)["variances"]
    assert third.item() == pytest.approx(first.item() * (1 + 0.95 * 1.95) ** 2, rel=1e-3)


def test_the_weight_is_0_while_warming_up_and_one_domain_has_no_penalty(network, task, source):
    method = Fishr(network, task)
    assert method.step_losses(source, None, Progress(2, 10))["variances"] == 0
    assert method.step_losses(source, None, Progress(3, 10))["variances"] > 0
    single = replace(source, domains=torch.ones(4, dtype=torch.int64))
    assert Fishr(network, task).step_losses(single, None, NOW)["variances"] == 0


def test_one_image_without_labels_under_autocast(network, task, one_odd_image):
    with torch.autocast("cpu", torch.bfloat16):
        losses = Fishr(network, task).step_losses(one_odd_image[0], None, NOW)
    sum(losses.values()).backward()
    assert losses["variances"] == 0 and all(weights.grad.isfinite().all() for weights in network.parameters())
