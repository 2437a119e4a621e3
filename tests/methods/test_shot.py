"""Held against KevinMusgrave/pytorch-adapt's information maximisation; the frozen head; what the terms do."""

import math

import pytest
import torch

from methods.base import Progress, TargetBatch
from methods.parts.entropy import entropy
from methods.parts.metadata import Metadata
from methods.shot import SHOT, entropy_of_mean


def test_both_terms_equal_the_official_ones(fixture_values, agrees):
    values = fixture_values("validators_pytorch_adapt")
    rows = torch.tensor(values["in_target_logits"]).double()  # (40, 6)
    logits = rows.view(2, 4, 5, 6).permute(0, 3, 1, 2)
    certainty, diversity = -entropy(logits).mean(), entropy_of_mean(logits)
    source = values.source("KevinMusgrave/pytorch-adapt")
    agrees("shot", "certainty, minus the mean entropy", certainty, values["out_entropy64"], source, rtol=1e-9)
    agrees("shot", "diversity, the entropy of the mean", diversity, values["out_diversity64"], source, rtol=1e-9)
    agrees("shot", "sum of certainty and diversity", certainty + diversity, values["out_im64"], source, rtol=1e-9)


def test_the_loss_through_the_contract_is_the_sum_of_both(network, task, target):
    losses = SHOT(network, task, SHOT.Hyperparameters(diversity=0.5)).step_losses(None, target, Progress(0, 1))
    probabilities = network(target).softmax(1)
    mean = probabilities.mean((0, 2, 3))
    expected = (-(probabilities * probabilities.log()).sum(1).mean(), 0.5 * (mean * mean.log()).sum())
    torch.testing.assert_close((losses["entropy"], losses["diversity"]), expected)


def test_the_head_stands_still_and_the_encoder_learns_slowly(network, task, target):
    method = SHOT(network, task)
    sum(method.step_losses(None, target, Progress(0, 1)).values()).backward()
    head = list(network.model.segmentation_head.parameters())
    assert all(weights.grad is None for weights in head)
    assert all(weights.grad.abs().sum() > 0 for weights in network.model.encoder.parameters())
    groups = method.optimizer().param_groups
    assert [group["lr"] for group in groups] == [1e-3, 1e-2]
    assert groups[0]["params"] == list(network.model.encoder.parameters()) and not groups[1]["params"]


def test_a_decoder_learns_at_the_full_rate(network, task):
    network.model.decoder = torch.nn.Conv2d(6, 6, 1)
    encoder, others = SHOT(network, task).optimizer().param_groups
    assert len(encoder["params"]) == 6 and others["params"] == list(network.model.decoder.parameters())


def test_it_gets_certain_without_giving_all_to_one_class(network, task, target):
    def train(diversity):
        state = {name: value.clone() for name, value in network.state_dict().items()}
        method = SHOT(network, task, SHOT.Hyperparameters(learning_rate=10.0, diversity=diversity))
        optimizer = method.optimizer()
        for step in range(16):
            optimizer.zero_grad()
            sum(method.step_losses(None, target, Progress(step, 16)).values()).backward()
            optimizer.step()
        logits = network(target).detach()
        network.load_state_dict(state)
        return entropy(logits).mean().item(), entropy_of_mean(logits).item()

    before = entropy(network(target)).mean().item()
    (certain, spread), (_, collapsed) = train(1.0), train(0.0)
    assert certain < 0.9 * before and spread > 0.9 * math.log(3) > 1.5 * collapsed


def test_logits_far_apart_give_finite_gradients():
    logits = torch.tensor([500.0, 0.0, -500.0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2).requires_grad_(True)
    loss = entropy(logits).mean() - entropy_of_mean(logits)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6) and logits.grad.isfinite().all()


def test_one_image_of_odd_size(network, task):
    images = torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255
    losses = SHOT(network, task).step_losses(None, TargetBatch(images, Metadata.unknown(1)), Progress(0, 1))
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
