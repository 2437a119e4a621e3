"""Held against JDAI-CV/FADA's own numbers: soft labels, losses, the adversary's size; who learns from what."""

import math
from dataclasses import replace

import pytest
import torch

from methods.base import Progress
from methods.fada import FADA, class_discriminator, class_domain_loss

FIRST = Progress(0, 1)


def test_soft_labels_and_losses_equal_the_official_ones(network, task, fixture_values, agrees):
    values = fixture_values("clan_fada_proda")
    source, judged = values.source("JDAI-CV/FADA"), torch.tensor(values["in_D_logits_2C"])
    labels = FADA(network, task).soft_labels(torch.tensor(values["in_tgt_logits"]))
    agrees("fada", "soft labels", labels, values["out_fada_soft_label"], source, rtol=1e-5, atol=1e-6)
    for is_target, name, quantity in ((False, "adv_tgt", "the network"), (True, "D_tgt", "the adversary")):
        loss = class_domain_loss(judged, labels, is_target)
        agrees("fada", f"loss of {quantity} on the target", loss, values[f"out_fada_{name}"], source, rtol=1e-5)


def test_soft_labels_are_clipped_without_giving_the_rest_to_others(network, task):
    labels = FADA(network, task).soft_labels(torch.tensor([9.0, 0.0, 0.0]).view(1, 3, 1, 1))
    others = 1 / (2 + math.exp(5))
    torch.testing.assert_close(labels.flatten(), torch.tensor([0.9, others, others]))


def test_the_adversary_has_the_published_size(fixture_values):
    size = sum(weights.numel() for weights in class_discriminator(512, 13, 512).parameters())
    assert size == int(fixture_values("clan_fada_proda")["out_fada_pixelD_params_in512_C13"])


def undecided(network, task, **hyperparameters):
    method = FADA(network, task, FADA.Hyperparameters(width=8, clip=1.0, **hyperparameters))
    torch.nn.init.zeros_(method.second_network[-1].weight)
    torch.nn.init.zeros_(method.second_network[-1].bias)
    return method


def test_against_an_undecided_adversary_each_loss_is_a_logarithm(network, task, source, target, agrees):
    method = undecided(network, task, weight=0.5)
    losses = method.step_losses(source, target, FIRST) | method.second_step_losses(FIRST)
    found = torch.stack([losses[name] for name in ("adversarial", "discriminator_source", "discriminator_target")])
    agrees("fada", "losses against an undecided adversary, weight 0.5", found, [0.5 * math.log(6)] * 3, rtol=1e-5)


def test_each_loss_names_its_own_domain(network, task, source, target):
    """An adversary that is e^4 times as sure of the target's three classes as of the source's."""
    method = undecided(network, task, weight=1.0)
    method.second_network[-1].bias.data[3:] = 4.0
    losses = method.step_losses(source, target, FIRST) | method.second_step_losses(FIRST)
    right = math.log(3) + math.log1p(math.exp(-4))
    assert losses["adversarial"].item() == pytest.approx(right + 4)
    assert losses["discriminator_source"].item() == pytest.approx((right + 4) / 2)
    assert losses["discriminator_target"].item() == pytest.approx(right / 2)


def test_the_network_learns_to_fool_and_the_adversary_to_tell(network, task, source, target):
    method = FADA(network, task, FADA.Hyperparameters(width=8))
    losses = method.step_losses(source, target, FIRST)
    encoder, head = network.model.encoder["layer2"][0].weight, network.model.segmentation_head.weight
    slopes = torch.autograd.grad(losses["adversarial"], (encoder, head), allow_unused=True)
    assert slopes[0].abs().sum() > 0 and slopes[1] is None, "features are aligned, and no label is learned"
    sum(method.second_step_losses(FIRST).values()).backward()
    assert encoder.grad is None and all(weights.grad is not None for weights in method.second_network.parameters())


def test_features_of_a_class_move_towards_the_source_s_of_the_same_class(network, task, source, target):
    """The adversary has learned that features of each class lie in a direction of their own, and where the target's
    are; a step of the network against it raises what it gives for the target's own class in the source."""
    method = undecided(network, task, weight=1.0)
    optimizer = torch.optim.Adam(method.second_network.parameters(), lr=1e-2)
    target = replace(target, images=target.images + 60)
    for _ in range(30):
        method.step_losses(source, target, FIRST)
        optimizer.zero_grad()
        sum(method.second_step_losses(FIRST).values()).backward()
        optimizer.step()
    losses = method.step_losses(source, target, FIRST)
    encoder = list(network.model.encoder.parameters())
    slopes = torch.autograd.grad(losses["adversarial"], encoder)
    with torch.no_grad():
        for weights, slope in zip(encoder, slopes, strict=True):
            weights -= 1e-2 * slope
    (_, labels), features = method._seen[1], network(target, return_features=True)[1]
    moved = class_domain_loss(method.second_network(features), labels, is_target=False)
    assert moved < losses["adversarial"]
