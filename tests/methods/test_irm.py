"""The penalty against its definition: derivatives by the scale of the logits, taken by autograd."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from methods.base import IGNORE, Progress, Task
from methods.irm import IRM, scale_penalties


def _derivative(logits, labels):
    """d/ds of the cross-entropy of s * logits at s = 1: rows of pixels (P, classes) and (P,)."""
    scale = torch.ones((), dtype=logits.dtype, requires_grad=True)
    return torch.autograd.grad(F.cross_entropy(logits * scale, labels), scale, create_graph=True)[0]


def _defined(logits, batch, domain):
    """DomainBed's penalty of a domain whose images each have an even number of valid pixels."""
    of_domain = batch.domains == domain
    labels = batch.labels[of_domain].flatten()
    pixels = logits[of_domain].movedim(1, 3).flatten(0, 2)[labels != IGNORE]
    labels = labels[labels != IGNORE]
    return _derivative(pixels[::2], labels[::2]) * _derivative(pixels[1::2], labels[1::2])


@pytest.fixture
def batch(source):
    labels = source.labels.clone()
    labels[0, 3, 1:4], labels[0, 7, 8] = IGNORE, IGNORE
    return replace(source, labels=labels, domains=torch.tensor([0, 2, 0, 2]))


@pytest.fixture
def logits():
    values = 3 * torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    return values.requires_grad_()


def test_the_penalty_is_the_product_of_the_derivatives_of_two_halves(logits, batch, agrees):
    penalties, present = scale_penalties(logits, batch, 3)
    assert present.tolist() == [True, False, True] and penalties[1] == 0
    defined = torch.stack([_defined(logits.double(), batch, domain) for domain in (0, 2)])
    agrees("irm", "penalties of two domains", penalties[[0, 2]], defined, rtol=1e-4, atol=1e-7)


def test_so_is_its_gradient(logits, batch, agrees):
    mine = torch.autograd.grad(scale_penalties(logits, batch, 3)[0].sum(), logits)[0]
    exact = logits.double()
    defined = torch.autograd.grad(_defined(exact, batch, 0) + _defined(exact, batch, 2), exact)[0]
    agrees("irm", "gradient of the penalties", mine, defined, rtol=1e-4, atol=1e-8)


def test_the_best_scale_has_no_penalty(batch):
    # With one of three classes right in a share t of each half and logits (a, 0, 0) for its first class, the loss
    # -t a + ln(e^a + 2) is least where e^a / (e^a + 2) = t: for t = 1/2 at a = ln 2.
    labels = torch.zeros(4, 32, 32, dtype=torch.int64)
    labels[:, 1::2] = 1  # every second line, so half of the pixels of both halves
    batch = replace(batch, labels=labels)
    logits = torch.zeros(4, 3, 32, 32)
    logits[:, 0] = torch.tensor(2.0).log()
    assert scale_penalties(logits, batch, 3)[0].abs().max() < 1e-12
    assert scale_penalties(2 * logits, batch, 3)[0][0] > 1e-3, "too sure of itself"


def test_the_penalty_is_a_mean_over_the_domains_present_and_weighted_after_the_warm_up(network, task, source):
    network.eval()
    penalties, _ = scale_penalties(network(source), source, 2)
    three = replace(task, domains=(*task.domains, "P3@2022"))
    method = IRM(network, three, IRM.Hyperparameters(weight=100.0, warm_up=0.3))
    for step, weight in ((0, 1), (2, 1), (3, 100)):
        losses = method.step_losses(source, None, Progress(step, 10))
        # Divided by the weight, where it is above 1: the loss then has the size of the penalty alone.
        torch.testing.assert_close(losses["invariance"], penalties.mean())
        torch.testing.assert_close(losses["segmentation"], method.segmentation_loss(source) / weight)
    half = IRM(network, three, IRM.Hyperparameters(weight=0.5, warm_up=0.0)).step_losses(source, None, Progress(9, 10))
    torch.testing.assert_close(half["invariance"], penalties.mean() / 2)
    torch.testing.assert_close(half["segmentation"], method.segmentation_loss(source))


@pytest.mark.parametrize("valid", [0, 1])
def test_a_batch_with_hardly_a_valid_pixel(network, source, valid):
    labels = torch.full_like(source.labels[:1], IGNORE)
    labels[0, 0, :valid] = 1
    batch = replace(source, images=source.images[:1], labels=labels, domains=source.domains[:1])
    task = Task(("water", "forest", "field"), ("red", "nir", "height"), ("P1@2020",))
    losses = IRM(network, task).step_losses(batch, None, Progress(9, 10))
    sum(losses.values()).backward()
    assert losses["invariance"] == 0
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_half_precision_is_widened_first(logits, batch):
    half = logits.detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalties, _ = scale_penalties(half, batch, 3)
    torch.testing.assert_close(penalties, scale_penalties(half.float(), batch, 3)[0], rtol=1e-5, atol=0)
