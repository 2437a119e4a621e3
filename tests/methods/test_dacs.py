"""The mixture and its weights, worked out from the formula; rare-class sampling against draws in two stages."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from methods import dacs
from methods.base import IGNORE, Progress, TargetBatch
from methods.dacs import DACS, rare_class_weights

STEP = Progress(3, 10)


@pytest.fixture
def unchanged_light(monkeypatch):
    monkeypatch.setattr(dacs, "strong_view", lambda images, *arguments: images)


def mixed_by(method, source, target):
    """The mixed images that a step shows the network, and its losses."""
    seen = []
    with method.network.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[0].images)):
        losses = method.step_losses(source, target, STEP)
    shown, mixed = seen
    assert shown is source.images
    return mixed, losses


def half_sure(batch):
    """A teacher's logits: class 2 everywhere, and confident in the left half alone."""
    images = batch.images
    logits = torch.zeros(len(images), 3, *images.shape[-2:])
    logits[:, 2] = 1.0
    logits[:, 2, :, : images.shape[-1] // 2] = 10.0
    return logits


@pytest.mark.usefixtures("unchanged_light")
def test_the_loss_weighs_pasted_pixels_fully_and_the_others_by_the_confident_share(
    network, task, source, target, agrees
):
    method = DACS(network, task, DACS.Hyperparameters(weight=2.0))
    method.teacher.forward = half_sure
    mixed, losses = mixed_by(method, source, target)
    pasted = (mixed == source.images).all(1)
    assert ((mixed == target.images).all(1) == ~pasted).all(), "each pixel is of one of the two images"
    for mask, labels in zip(pasted, source.labels, strict=True):  # 2 of the 3 classes, wherever they are
        assert len(labels[mask].unique()) == 2 and not set(labels[mask].tolist()) & set(labels[~mask].tolist())
    labels = source.labels.where(pasted, 2)
    weights = torch.where(pasted, 1.0, 0.5)
    expected = 2 * (weights * F.cross_entropy(network(TargetBatch.of(mixed)), labels, reduction="none")).mean()
    agrees("dacs", "loss on the mixture", losses["mixed"], expected, rtol=1e-6)


def test_the_mixture_has_other_light_and_the_teacher_sees_the_target_as_it_is(network, task, source, target):
    method, taught = DACS(network, task), []
    method.teacher.register_forward_pre_hook(lambda teacher, inputs: taught.append(inputs[0].images))
    given = source.images.clone(), target.images.clone()
    mixed, _ = mixed_by(method, source, target)
    assert taught[0] is target.images
    assert torch.equal(source.images, given[0]) and torch.equal(target.images, given[1])
    of_one = (mixed == source.images) | (mixed == target.images)
    assert of_one[:, 2].all(), "a height has no light"
    assert not of_one[:, :2].all()


@pytest.mark.usefixtures("unchanged_light")
def test_nothing_is_pasted_where_nothing_is_labelled(network, task, source, target):
    nothing = replace(source, labels=torch.full_like(source.labels, IGNORE))
    mixed, losses = mixed_by(DACS(network, task), nothing, target)
    assert torch.equal(mixed, target.images)
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_one_patch_of_odd_size(network, task, source, target):
    small = replace(source, images=source.images[:1, :, :17, :23], labels=source.labels[:1, :17, :23])
    losses = DACS(network, task).step_losses(small, replace(target, images=target.images[:1, :, :17, :23]), STEP)
    assert all(loss.isfinite() for loss in losses.values())


def test_only_the_network_learns_and_the_teacher_follows_it(network, task, source, target):
    method = DACS(network, task, DACS.Hyperparameters(confidence=0.0, decay=0.5))
    method.step_losses(source, target, Progress(9, 10))["mixed"].backward()
    assert network.model.segmentation_head.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    before = method.teacher.model.segmentation_head.weight.clone()
    with torch.no_grad():
        network.model.segmentation_head.weight.add_(1)
    method.after_step(Progress(9, 10))
    torch.testing.assert_close(method.teacher.model.segmentation_head.weight, before + 0.5)


def test_the_weights_of_patches_are_those_of_drawing_a_class_and_then_a_patch():
    pixels = torch.tensor([[90, 0, 0, 0], [60, 30, 0, 0], [95, 5, 0, 0], [0, 0, 0, 0], [100, 0, 20, 0]])
    weights = rare_class_weights(pixels, 0.5)
    # Shares f: 345, 35 and 20 of 400, and a class that is nowhere. P(c) is proportional to exp((1 - f_c) / 0.5).
    p = [torch.tensor((1 - f / 400) / 0.5, dtype=torch.float64).exp() for f in (345, 35, 20)]
    water, forest, field = (value / sum(p) for value in p)
    expected = [water / 4, water / 4 + forest / 2, water / 4 + forest / 2, 0.0, water / 4 + field]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))


def test_the_colder_the_oftener_is_the_rare_class_drawn_and_it_is_an_option(network, task):
    pixels = torch.tensor([[1000, 0, 0]] * 9 + [[900, 0, 100]])
    often = [rare_class_weights(pixels, temperature)[-1] for temperature in (10.0, 0.1, 0.01)]
    assert 0.1 < often[0] < often[1] < often[2]
    chosen = DACS(network, task, DACS.Hyperparameters(rare_classes=True))
    torch.testing.assert_close(chosen.sampling_weights(pixels), rare_class_weights(pixels, 0.01))
    assert DACS(network, task).sampling_weights(pixels) is None, "the published method is without it"
