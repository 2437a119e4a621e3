"""The variance of the domains' losses: by hand, and what it does to the weights."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from methods.base import IGNORE, Progress
from methods.v_rex import VREx


def _step(network, task, source, progress, **values):
    return VREx(network, task, VREx.Hyperparameters(**values)).step_losses(source, None, progress)


def _loss_of(network, task, source, rows):
    part = replace(source, images=source.images[rows], labels=source.labels[rows], domains=source.domains[rows])
    return VREx(network, task).segmentation_loss(part)


def test_the_penalty_is_the_variance_of_a_population(network, task, source, agrees):
    network.eval()  # so that a domain's loss does not hang on the other's images
    losses = _step(network, task, source, Progress(9, 10), weight=10.0)
    # In double precision, since the two losses are alike.
    exact, images = deepcopy(network).double(), source.images.double()
    rows = (slice(0, 2), slice(2, 4))
    first, second = (_loss_of(exact, task, replace(source, images=images), part) for part in rows)
    # Of two values a and b with mean m: ((a - m)^2 + (b - m)^2) / 2 = (a - b)^2 / 4.
    # Both terms are divided by the weight.
    agrees("v-rex", "variance of two domains' losses", losses["variance"], (first - second) ** 2 / 4, rtol=1e-3)
    agrees("v-rex", "segmentation loss at a weight of 10", losses["segmentation"], (first + second) / 20, rtol=1e-6)
    losses = _step(network, task, source, Progress(9, 10), weight=0.5)
    torch.testing.assert_close(losses["variance"].double(), 0.5 * (first - second) ** 2 / 4, rtol=1e-3, atol=0)
    torch.testing.assert_close(losses["segmentation"].double(), (first + second) / 2, rtol=1.3e-6, atol=1e-5)


def test_domains_that_are_absent_are_no_losses_of_zero(network, task, source):
    task = replace(task, domains=(*task.domains, "P3@2022"))
    two = _step(network, task, source, Progress(9, 10))["variance"]
    assert two == _step(network, replace(task, domains=task.domains[:2]), source, Progress(9, 10))["variance"]


def test_the_weight_is_1_while_warming_up(network, task, source):
    network.eval()
    values = [_step(network, task, source, Progress(step, 10), warm_up=0.2, weight=50.0) for step in (0, 1, 2, 9)]
    ratios = [(value["variance"] / value["segmentation"]).item() for value in values]
    ratios = [ratio / ratios[0] for ratio in ratios]
    assert ratios == pytest.approx([1, 1, 50, 50])


def test_the_gradient_pulls_the_losses_together(network, task, source):
    network.eval()

    def gap():
        losses = [_loss_of(network, task, source, rows) for rows in (slice(0, 2), slice(2, 4))]
        return (losses[0] - losses[1]).abs()

    before = gap().item()
    _step(network, task, source, Progress(9, 10))["variance"].backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= parameter.grad
    assert gap() < before


@pytest.mark.parametrize("rows", [[0], [0, 1]])
def test_one_domain_has_no_variance(network, task, source, rows):
    source = replace(source, images=source.images[rows], labels=source.labels[rows], domains=source.domains[rows])
    losses = _step(network, task, source, Progress(9, 10))
    sum(losses.values()).backward()
    assert losses["variance"] == 0 and all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_a_batch_of_ignored_pixels(network, task, source):
    losses = _step(network, task, replace(source, labels=torch.full_like(source.labels, IGNORE)), Progress(9, 10))
    sum(losses.values()).backward()
    assert losses["variance"] == losses["segmentation"] == 0
    assert not any(parameter.grad.any() for parameter in network.parameters())
