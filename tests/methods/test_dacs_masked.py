"""What it adds to DACS, worked out from the formula; the mixture and the masks have tests of their own."""

import pytest
import torch
from torch.nn import functional as F

from methods import dacs, dacs_masked
from methods.base import Progress, TargetBatch
from methods.dacs_masked import DACSMasked

STEP = Progress(3, 10)


@pytest.fixture
def unchanged_light(monkeypatch):
    for module in (dacs, dacs_masked):
        monkeypatch.setattr(module, "strong_view", lambda images, *arguments: images)


@pytest.mark.usefixtures("unchanged_light")
def test_both_losses_use_the_labels_and_the_share_of_one_pass_of_one_teacher(network, task, source, target, agrees):
    method, taught, shown = DACSMasked(network, task, DACSMasked.Hyperparameters(masked_weight=2.0)), [], []
    logits = torch.zeros(4, 3, 32, 32)
    logits[:, 1] = 1.0
    logits[0, 1] = 10.0  # sure of one patch in four
    method.teacher.forward = lambda images: taught.append(images) or logits
    with network.register_forward_pre_hook(lambda network, inputs: shown.append(inputs[0].images)):
        losses = method.step_losses(source, target, STEP)
    assert len(taught) == 1 and taught[0] is target
    first, mixed, masked = shown
    assert first is source.images
    hidden = (masked == network.mean).all(1)
    assert 0.3 < hidden.float().mean() < 0.95 and (masked == target.images).all(1).equal(~hidden)
    expected = 2 * 0.25 * F.cross_entropy(network(TargetBatch.of(masked)), torch.ones(4, 32, 32, dtype=torch.int64))
    agrees("dacs-masked", "loss behind the mask", losses["masked"], expected, rtol=1e-6)
    pasted = (mixed == source.images).all(1)
    errors = F.cross_entropy(network(TargetBatch.of(mixed)), source.labels.where(pasted, 1), reduction="none")
    expected = (errors * torch.where(pasted, 1.0, 0.25)).mean()
    agrees("dacs-masked", "loss on the mixture", losses["mixed"], expected, rtol=1e-6)


def test_the_mixture_and_the_masked_images_have_light_of_their_own(network, task, source, target, monkeypatch):
    drawn = []

    def view(images, strength, random, bands):
        drawn.append(random.initial_seed())
        return images

    for module in (dacs, dacs_masked):
        monkeypatch.setattr(module, "strong_view", view)
    DACSMasked(network, task).step_losses(source, target, STEP)
    assert len(drawn) == len(set(drawn)) == 2


def test_at_both_weights_zero_only_the_source_teaches(network, task, source, target):
    method = DACSMasked(network, task, DACSMasked.Hyperparameters(weight=0.0, masked_weight=0.0))
    losses = method.step_losses(source, target, STEP)
    assert losses["masked"] == losses["mixed"] == 0 < losses["segmentation"]
