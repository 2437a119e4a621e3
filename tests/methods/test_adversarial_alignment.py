"""Held against valeoai/ADVENT's own numbers: the discriminator, its loss, and who learns from what."""

import math

import pytest
import torch

from methods.adversarial_alignment import MAPS, AdversarialAlignment, domain_loss
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
    kept = values.kept("out_prob_2_entropy", maps)
    agrees(method, "maps of weighted self-information", kept, official_maps, official, rtol=1e-5, atol=1e-7)
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


def test_each_loss_names_its_own_domain(network, task, source, target):
    """A discriminator that gives 2 everywhere takes all for the target, of label 1: it is off by ln(1 + e^2) where the
    label is 0, and by ln(1 + e^-2) where it is 1. The network wants its target taken for the source."""
    method = AdversarialAlignment(network, task, AdversarialAlignment.Hyperparameters(weight=0.5))
    torch.nn.init.zeros_(method.second_network[-1].weight)
    torch.nn.init.constant_(method.second_network[-1].bias, 2.0)
    losses = method.step_losses(source, target, Progress(0, 1)) | method.second_step_losses(Progress(0, 1))
    wrong, right = math.log(1 + math.exp(2)), math.log(1 + math.exp(-2))
    assert losses["adversarial"].item() == pytest.approx(0.5 * wrong)
    assert losses["discriminator_source"].item() == pytest.approx(wrong / 2)
    assert losses["discriminator_target"].item() == pytest.approx(right / 2)


def test_a_step_of_each_moves_its_judgement_the_way_it_wants(network, task, source, target):
    """The discriminator's towards the truth, the network's towards "source", label 0."""
    method = AdversarialAlignment(network, task, AdversarialAlignment.Hyperparameters(width=8))
    losses = method.step_losses(source, target, Progress(0, 1))
    source_map, target_map = method._maps

    def judged(maps):
        return method.second_network(maps).mean()

    before = judged(target_map) - judged(source_map)
    head = network.model.segmentation_head
    for weights, slope in zip(
        head.parameters(), torch.autograd.grad(losses["adversarial"], list(head.parameters())), strict=True
    ):
        weights.data -= 1e3 * slope / method.hyperparameters.weight
    moved = MAPS[method.hyperparameters.maps](network(target).detach())
    assert judged(moved) < judged(target_map)
    optimizer = torch.optim.Adam(method.second_network.parameters(), lr=1e-3)
    for _ in range(5):
        optimizer.zero_grad()
        sum(method.second_step_losses(Progress(0, 1)).values()).backward()
        optimizer.step()
    assert judged(target_map) - judged(source_map) > before


def test_both_kinds_of_maps_are_offered(network, task, source, target):
    seen = set()
    for maps in ("softmax", "self-information"):
        torch.manual_seed(0)
        method = AdversarialAlignment(network, task, AdversarialAlignment.Hyperparameters(maps=maps, weight=1.0))
        seen.add(method.step_losses(source, target, Progress(0, 1))["adversarial"].item())
    assert len(seen) == 2
