"""The distance itself is held against DomainBed in parts/test_alignment.py; here, which domains it takes."""

from dataclasses import replace

import pytest
import torch

from methods.base import Needs, Progress
from methods.parts.alignment import moment_spread
from methods.source_coral import SourceCORAL


def test_nothing_of_the_target_is_asked_for():
    assert SourceCORAL.needs is Needs.SOURCE_LABELS


def test_the_groups_are_the_domains_of_the_batch(network, task, source):
    source = replace(source, domains=torch.tensor([5, 0, 5, 2]))  # of three domains, in any order
    losses = SourceCORAL(network, task, SourceCORAL.Hyperparameters(weight=3.0)).step_losses(
        source, None, Progress(0, 1)
    )
    pixels = network(source, return_features=True)[1].movedim(1, -1)
    groups = [pixels[rows].reshape(-1, 6) for rows in ([1], [3], [0, 2])]
    torch.testing.assert_close(losses["alignment"], 3 * moment_spread(groups), rtol=1e-4, atol=1e-8)


def test_domains_that_look_the_same_cost_nothing(network, task, source):
    method = SourceCORAL(network, task)
    same = replace(source, images=source.images[:2].repeat(2, 1, 1, 1))
    assert method.step_losses(same, None, Progress(0, 1))["alignment"].item() == pytest.approx(0, abs=1e-6)
    gain = torch.tensor([1.0, 1.0, 0.5, 0.5])[:, None, None, None]
    darker = replace(same, images=same.images * gain)
    assert method.step_losses(darker, None, Progress(0, 1))["alignment"] > 1e-3


def test_training_on_it_brings_the_domains_together(network, task, source, distances_in_training):
    gain = torch.tensor([1.0, 1.0, 0.5, 0.5])[:, None, None, None]
    source = replace(source, images=source.images * gain)
    distances = distances_in_training(SourceCORAL(network, task), source, None)
    assert distances[-1] < 0.5 * distances[0]
    assert network.model.segmentation_head.weight.grad is None, "features end before the head"


def test_without_weight_and_with_one_domain_the_gradient_is_that_of_the_segmentation(network, task, source):
    single = replace(source, domains=torch.ones(4, dtype=torch.int64))
    encoder = network.model.encoder["layer1"][0].weight
    for batch, weight in ((source, 0.0), (single, 1.0)):
        method = SourceCORAL(network, task, SourceCORAL.Hyperparameters(weight=weight))
        losses = method.step_losses(batch, None, Progress(0, 1))
        assert losses["alignment"] == 0 and losses["alignment"].requires_grad
        (total,) = torch.autograd.grad(sum(losses.values()), encoder, retain_graph=True)
        (segmentation,) = torch.autograd.grad(losses["segmentation"], encoder)
        assert torch.equal(total, segmentation)


def test_one_image_of_an_odd_size_without_labels_under_autocast(network, task, one_odd_image):
    with torch.autocast("cpu", torch.bfloat16):
        losses = SourceCORAL(network, task).step_losses(one_odd_image[0], None, Progress(0, 1))
    sum(losses.values()).backward()
    assert losses["segmentation"] == 0 and losses["alignment"] == 0
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
