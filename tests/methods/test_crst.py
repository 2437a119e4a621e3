"""The two regularisers, worked out from the paper's costs; the selection is that of the method it builds on."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from methods.base import IGNORE, Progress
from methods.class_balanced_self_training import ClassBalancedSelfTraining
from methods.crst import CRST, hard_labels, regularized_loss, soft_labels
from methods.parts.pseudo_labels import balanced_labels

EAGER = CRST.Hyperparameters(warm_up=0.0, first_share=0.5, momentum=0.0)


@pytest.fixture
def probabilities():
    return (3 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))).softmax(1)


def test_the_divergence_is_that_from_the_uniform_distribution(probabilities, agrees):
    labels = probabilities.argmax(1)
    wanted, logits = F.one_hot(labels, 3).movedim(-1, 1).float(), probabilities.log()
    plain = regularized_loss(logits, wanted, 0.0)
    torch.testing.assert_close(plain, F.cross_entropy(logits, labels))
    divergence = F.kl_div(logits, torch.full_like(logits, 1 / 3), reduction="none").sum(1).mean()
    expected = plain + 0.1 * (divergence + math.log(3))  # the constant: the entropy of the uniform one
    agrees("crst", "loss with the divergence", regularized_loss(logits, wanted, 0.1), expected, rtol=1e-5)


def test_without_a_regulariser_it_is_class_balanced_self_training(make_network, task, source, target, agrees):
    found = [
        kind(make_network(), task, options).step_losses(source, target, Progress(0, 100))["pseudo_labels"]
        for kind, options in (
            (CRST, replace(EAGER, kld_weight=0.0, weight=2.0)),
            (ClassBalancedSelfTraining, ClassBalancedSelfTraining.Hyperparameters(2.0, 0.0, 0.5, momentum=0.0)),
        )
    ]
    agrees("crst", "loss of class-balanced self-training", *found, rtol=1e-5)


def test_soft_labels_are_those_of_the_paper_and_cost_least(probabilities, agrees):
    """Cost of a label y: ``-sum y log p + temperature sum y log y``; it is selected where that is less than
    ``-sum y log t``."""
    thresholds, temperature = torch.tensor([0.9, 0.6, 0.3]), 0.25
    p, t = probabilities.double(), thresholds.double().view(3, 1, 1)

    def gain(labels):
        cost = -labels * p.log() + temperature * labels * labels.clamp(min=1e-300).log()
        return (-labels * t.log() - cost).sum(1)

    powers = (p / t) ** (1 / temperature)
    expected = powers / powers.sum(1, keepdim=True)
    selected = gain(expected) > 0
    assert 0.1 < selected.float().mean() < 0.9
    for seed in range(20):
        other = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed), dtype=p.dtype).softmax(1)
        assert (gain(expected) >= gain(expected.lerp(other, 0.01))).all()
    found = soft_labels(probabilities, thresholds, temperature)
    agrees("crst", "soft labels", found, expected * selected[:, None], rtol=1e-4, atol=1e-6)


def test_cold_soft_labels_are_the_hard_ones(probabilities):
    thresholds = torch.tensor([0.9, 0.6, 0.3])
    hard = hard_labels(probabilities, thresholds)
    torch.testing.assert_close(soft_labels(probabilities, thresholds, 1e-3), hard, rtol=0, atol=1e-2)
    labels = balanced_labels(probabilities, thresholds)
    assert torch.equal(hard.sum(1) > 0, labels != IGNORE) and torch.equal(
        hard.argmax(1)[labels < 3], labels[labels < 3]
    )


@pytest.mark.parametrize("regularizer", ["mrkld", "lrent"])
def test_the_network_ends_less_sure(regularizer, make_network, task, source, target):
    sureness = []
    for options in (replace(EAGER, kld_weight=0.0), replace(EAGER, regularizer=regularizer, kld_weight=1.0)):
        network = make_network()
        method = CRST(network, task, replace(options, temperature=1.0))
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        for step in range(30):
            optimizer.zero_grad()
            method.step_losses(source, target, Progress(step, 100))["pseudo_labels"].backward()
            optimizer.step()
        sureness.append(network(target).softmax(1).amax(1).mean().item())
    assert sureness[1] < sureness[0] - 0.05


@pytest.mark.parametrize("regularizer", ["mrkld", "lrent"])
def test_where_nothing_is_selected(regularizer, network, task, source, target):
    method = CRST(network, task, replace(EAGER, regularizer=regularizer))
    method.judge = lambda target, share: torch.full((4, 3, 32, 32), 1 / 3)  # thresholds are 1, and 3 (1/3)^4 below 1
    losses = method.step_losses(source, target, Progress(0, 100))
    assert losses["pseudo_labels"] == 0
    sum(losses.values()).backward()
    assert all(weights.grad.isfinite().all() for weights in network.parameters())
