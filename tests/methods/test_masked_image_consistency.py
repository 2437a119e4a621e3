"""What the network sees and what it is asked for, worked out from the formula; the masks themselves are a part's."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from methods import masked_image_consistency
from methods.base import IGNORE, Progress, TargetBatch
from methods.masked_image_consistency import MaskedImageConsistency

STEP = Progress(3, 10)


@pytest.fixture
def unchanged_light(monkeypatch):
    monkeypatch.setattr(masked_image_consistency, "strong_view", lambda images, *arguments: images)


def masked_by(method, source, target):
    """The images with hidden blocks that a step shows the network, and its loss on them."""
    seen = []
    with method.network.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[0].images)):
        loss = method.step_losses(source, target, STEP)["masked"]
    shown, masked = seen
    assert shown is source.images
    return masked, loss


@pytest.mark.usefixtures("unchanged_light")
def test_hidden_blocks_hold_the_mean_of_the_source(network, task, source, target):
    network.mean = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1)
    images, _ = masked_by(MaskedImageConsistency(network, task), source, target)
    hidden = (images == network.mean).all(1)
    assert (images == target.images).all(1).equal(~hidden)
    # Blocks of a quarter of 32 pixels, not of 64: each is of one kind, and blocks twice as wide are not.
    for width, of_one_kind in ((8, True), (16, False)):
        blocks = hidden.unfold(1, width, width).unfold(2, width, width).flatten(3)
        assert (blocks.all(3) | ~blocks.any(3)).all().item() is of_one_kind


@pytest.mark.usefixtures("unchanged_light")
def test_the_loss_is_that_of_the_teachers_labels_times_the_confident_share(network, task, source, target, agrees):
    method = MaskedImageConsistency(network, task, MaskedImageConsistency.Hyperparameters(weight=2.0))
    logits = torch.zeros(4, 3, 32, 32)
    logits[:, 1] = 1.0
    logits[0, 1] = 10.0  # sure of one patch in four
    method.teacher.forward = lambda images: logits
    images, loss = masked_by(method, source, target)
    expected = 2 * 0.25 * F.cross_entropy(network(TargetBatch.of(images)), torch.ones(4, 32, 32, dtype=torch.int64))
    agrees("masked-image-consistency", "loss behind the mask", loss, expected, rtol=1e-6)


def test_the_teacher_sees_the_target_as_it_is(network, task, source, target):
    method = MaskedImageConsistency(network, task)
    seen, given = [], target.images.clone()
    method.teacher.register_forward_pre_hook(lambda teacher, inputs: seen.append(inputs[0].images))
    images, _ = masked_by(method, source, target)
    assert torch.equal(seen[0], given) and torch.equal(target.images, given)
    shown = (images != network.mean).all(1)
    changed = (images != target.images) & shown[:, None]
    assert changed[:, :2].any() and not changed[:, 2].any(), "light is changed, heights are not"


def test_only_the_network_learns_and_the_teacher_follows_it(network, task, source, target):
    method = MaskedImageConsistency(network, task, MaskedImageConsistency.Hyperparameters(confidence=0.0, decay=0.5))
    method.step_losses(source, target, Progress(9, 10))["masked"].backward()
    assert network.model.segmentation_head.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    before = method.teacher.model.segmentation_head.weight.clone()
    with torch.no_grad():
        network.model.segmentation_head.weight.add_(1)
    method.after_step(Progress(9, 10))
    torch.testing.assert_close(method.teacher.model.segmentation_head.weight, before + 0.5)


@pytest.mark.parametrize(("height", "width"), [(17, 23), (3, 32)])
def test_one_patch_of_odd_size_without_a_label(network, task, source, target, height, width):
    method = MaskedImageConsistency(network, task)
    labels = torch.full((1, height, width), IGNORE)
    small = replace(source, images=source.images[:1, :, :height, :width], labels=labels)
    losses = method.step_losses(small, replace(target, images=target.images[:1, :, :height, :width]), STEP)
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
