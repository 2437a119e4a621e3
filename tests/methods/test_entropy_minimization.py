"""Held against valeoai/ADVENT's own numbers."""

import torch

from methods.base import Progress
from methods.entropy_minimization import EntropyMinimization
from methods.parts.entropy import normalized_entropy, self_information


def test_normalized_entropy_equals_the_official_loss_and_gradient(fixture_values, agrees):
    values = fixture_values("advent_minent")
    logits = torch.tensor(values["in_logits"], dtype=torch.float64, requires_grad=True)
    loss = normalized_entropy(logits).mean()
    loss.backward()
    method, source = "entropy-minimization", values.source("valeoai/ADVENT")
    agrees(method, "loss on the target", loss, values["out_entropy_loss64"], source, rtol=1e-10)
    gradient, official = values.kept("out_grad_logits64", logits.grad), values["out_grad_logits64"]
    agrees(method, "gradient of the logits", gradient, official, source, rtol=0, atol=1e-10)


def test_self_information_equals_the_official_maps(fixture_values):
    values = fixture_values("advent_minent")
    maps = self_information(torch.tensor(values["in_logits"], dtype=torch.float64))
    official = torch.tensor(values["out_prob_2_entropy64"])
    torch.testing.assert_close(values.kept("out_prob_2_entropy64", maps), official, rtol=0, atol=1e-10)


def test_entropy_is_one_for_no_idea_and_finite_for_certainty():
    assert torch.allclose(normalized_entropy(torch.zeros(1, 7, 2, 2)), torch.ones(1, 2, 2))
    certain = torch.tensor([1e4, 0.0, 0.0]).view(1, 3, 1, 1)
    assert normalized_entropy(certain).item() == 0


def test_the_weight_scales_the_target_term_only(network, task, source, target):
    def losses(weight):
        method = EntropyMinimization(network, task, EntropyMinimization.Hyperparameters(weight=weight))
        return method.step_losses(source, target, Progress(0, 1))

    light, heavy = losses(1e-3), losses(1e-2)
    torch.testing.assert_close(heavy["entropy"], 10 * light["entropy"])
    torch.testing.assert_close(heavy["segmentation"], light["segmentation"])
