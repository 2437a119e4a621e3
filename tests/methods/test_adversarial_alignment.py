"""Held against valeoai/ADVENT's own numbers: the discriminator, its loss, and who learns from what."""

import math

import pytest
import torch

from methods.adversarial_alignment import AdversarialAlignment, domain_loss
from methods.base import Progress
from methods.parts.discriminator import patch_discriminator
from methods.parts.entropy import self_information


def test_the_discriminator_equals_the_official_one(fixture_values, agrees):
    method, values = "adversarial-alignment", fixture_values("advent_minent")
    official = values.source("valeoai/ADVENT")
    discriminator = patch_discriminator(13)
    with torch.no_grad():  # the fixture's closed form: the i-th tensor is 0.02 sin(0.7 k + i)
        for index, parameter in enumerate(discriminator.parameters()):
            k = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_((0.02 * torch.sin(0.7 * k + index)).view_as(parameter))
    maps = self_information(torch.tensor(values["in_logits"]))
    # The official maps are of information in bits over log2(classes), which is ours in nats over ln(classes).
    official_maps = values["out_prob_2_entropy"]
    agrees(method, "maps of weighted self-information", maps, official_maps, official, rtol=1e-5, atol=1e-7)
    judged = discriminator(maps)
    agrees(method, "output of the discriminator", judged, values["out_D_out"], official, rtol=1e-5, atol=1e-7)
    source, target = domain_loss(judged, 0.0), domain_loss(judged, 1.0)
    agrees(method, "loss of the discriminator on the source", source, values["out_bce_src0"], official, rtol=1e-5)
    agrees(method, "loss of the discriminator on the target", target, values["out_bce_trg1"], official, rtol=1e-5)


def test_the_discriminator_has_the_published_size(fixture_values):
    values = fixture_values("advent_minent")
    for classes in (12, 13, 19):
        size = sum(parameter.numel() for parameter in patch_discriminator(classes).parameters())
        assert size == int(values[f"out_n_params_D_C{classes}"])


def test_the_network_learns_to_fool_and_the_discriminator_to_tell(network, task, source, target):
    method = AdversarialAlignment(network, task)
    losses = method.step_losses(source, target, Progress(0, 1))
    grown = torch.autograd.grad(losses["adversarial"], network.model.segmentation_head.weight, retain_graph=True)[0]
    assert grown.abs().sum() > 0
    network.zero_grad()
    sum(method.second_step_losses(Progress(0, 1)).values()).backward()
    assert network.model.segmentation_head.weight.grad is None, "the discriminator's loss must not reach the network"
    assert all(parameter.grad is not None for parameter in method.second_network.parameters())


@pytest.mark.parametrize("maps", ["softmax", "self-information"])
def test_the_losses_equal_those_worked_out_by_hand(maps, network, task, source, target, agrees):
    # A discriminator that gives 0 everywhere is undecided: each of its cross-entropies is ln 2.
    method = AdversarialAlignment(network, task, AdversarialAlignment.Hyperparameters(maps=maps, weight=0.5))
    torch.nn.init.zeros_(method.second_network[-1].weight)
    torch.nn.init.zeros_(method.second_network[-1].bias)
    losses = method.step_losses(source, target, Progress(0, 1)) | method.second_step_losses(Progress(0, 1))
    found = torch.stack([losses[name] for name in ("adversarial", "discriminator_source", "discriminator_target")])
    by_hand = [0.5 * math.log(2)] * 3
    quantity = f"losses against an undecided discriminator, {maps} maps, weight 0.5"
    agrees("adversarial-alignment", quantity, found, by_hand, rtol=1e-6)


def test_both_kinds_of_maps_are_offered(network, task, source, target):
    seen = set()
    for maps in ("softmax", "self-information"):
        torch.manual_seed(0)
        method = AdversarialAlignment(network, task, AdversarialAlignment.Hyperparameters(maps=maps, weight=1.0))
        seen.add(method.step_losses(source, target, Progress(0, 1))["adversarial"].item())
    assert len(seen) == 2
