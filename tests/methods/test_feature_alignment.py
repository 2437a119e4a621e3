"""The distance itself is held against official code in parts/test_alignment.py; here, who learns what from it."""

from dataclasses import replace

import pytest
import torch

from methods.base import Progress
from methods.deep_coral import DeepCORAL
from methods.mmd import MMD
from methods.parts.alignment import covariance_distance, gaussian_mmd


@pytest.fixture(params=[(DeepCORAL, covariance_distance), (MMD, gaussian_mmd)], ids=["deep-coral", "mmd"])
def aligning(request):
    """A method, and the distance that it makes small."""
    return request.param


@pytest.fixture
def kind(aligning):
    return aligning[0]


@pytest.fixture
def source(source):
    return replace(source, images=source.images[..., :16, :16], labels=source.labels[:, :16, :16])


@pytest.fixture
def target(target):
    return replace(target, images=target.images[..., :16, :16])


def test_the_loss_is_the_distance_between_all_pixels(aligning, kind, network, task, source, target):
    method = kind(network, task, kind.Hyperparameters(weight=3.0))
    losses = method.step_losses(source, target, Progress(0, 1))
    features = [network(batch, return_features=True)[1] for batch in (source, target)]
    pixels = [maps.movedim(1, -1).reshape(-1, 6) for maps in features]  # 256 a domain: none is left out
    torch.testing.assert_close(losses["alignment"], 3 * aligning[1](*pixels), rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(losses["segmentation"], method.segmentation_loss(source), rtol=1e-4, atol=0)


def test_a_target_like_the_source_costs_nothing(kind, network, task, source, target):
    method = kind(network, task)
    same = method.step_losses(source, replace(target, images=source.images), Progress(0, 1))
    assert same["alignment"].item() == pytest.approx(0, abs=1e-6)
    assert method.step_losses(source, target, Progress(0, 1))["alignment"] > 1e-6


def test_training_on_it_brings_the_domains_together(kind, network, task, source, target, distances_in_training):
    target = replace(target, images=source.images * 0.5)
    method = kind(network, task)
    network.eval()  # batch statistics would hide the gain
    distances = distances_in_training(method, source, target)
    assert distances[-1] < 0.5 * distances[0]
    assert network.model.segmentation_head.weight.grad is None, "features end before the head"


def test_without_weight_the_gradient_is_that_of_the_segmentation(kind, network, task, source, target):
    method = kind(network, task, kind.Hyperparameters(weight=0.0))
    losses = method.step_losses(source, target, Progress(0, 1))
    weight = network.model.encoder["layer1"][0].weight
    (total,) = torch.autograd.grad(sum(losses.values()), weight, retain_graph=True)
    (segmentation,) = torch.autograd.grad(losses["segmentation"], weight)
    assert torch.equal(total, segmentation)


def test_which_pixels_are_drawn_depends_on_the_step(kind, network, task, source, target):
    method = kind(network, task)
    large = [replace(batch, images=batch.images.repeat(1, 1, 3, 3)) for batch in (source, target)]
    large[0] = replace(large[0], labels=source.labels.repeat(1, 3, 3))
    losses = [method.step_losses(*large, Progress(step, 9))["alignment"].item() for step in (0, 0, 1)]
    assert losses[0] == losses[1]
    assert losses[2] != pytest.approx(losses[0], rel=1e-3), "other pixels, and not another order of them"


def test_one_image_of_an_odd_size_without_labels_under_autocast(kind, network, task, one_odd_image):
    method = kind(network, task)
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.step_losses(*one_odd_image, Progress(0, 1))
    sum(losses.values()).backward()
    assert losses["segmentation"] == 0 and losses["alignment"].isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
