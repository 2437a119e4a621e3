"""Held against YanchaoYang/FDA's own numbers: what the source images become, and what their target term is worth."""

import math
from dataclasses import replace

import numpy as np
import torch

from methods.base import IGNORE, Progress, SourceBatch, TargetBatch, Task
from methods.fourier_adaptation import FourierAdaptation, robust_norm
from methods.parts.metadata import Metadata


def test_the_images_are_those_of_the_official_numpy_code(network, fixture_values, agrees):
    values = fixture_values("fda")
    images, references = (torch.tensor(values[name], dtype=torch.float64) for name in ("in_src", "in_trg"))
    task = Task(classes=("a", "b", "c"), bands=("red", "green", "blue"))
    labels = torch.zeros(1, 48, 40, dtype=torch.int64)
    source = SourceBatch(images, labels, torch.zeros(1, dtype=torch.int64), Metadata.unknown(1))
    target = TargetBatch(references, Metadata.unknown(1))

    def restyled(window):
        method = FourierAdaptation(network, task, FourierAdaptation.Hyperparameters(window=window))
        return method.augment(source, target, Progress(0, 1))[0].images[0]

    names = [f"out_np_{key}" for key in ("0p01", "0p05", "0p09", "0p1")]
    windows = dict(zip(names, (0.01, 0.05, 0.09, 0.1), strict=True))
    found = torch.stack([values.kept(name, restyled(window)) for name, window in windows.items()])
    expected = np.stack([values[name] for name in names])
    official, quantity = values.source("YanchaoYang/FDA"), "restyled images with four widths of the window"
    agrees("fourier-adaptation", quantity, found, expected, official, rtol=0, atol=1e-8)


def test_an_image_taken_in_other_light_becomes_the_target_image(network, task, source, target):
    # The target shows the same ground in another light, a gain and an offset per band. Amplitudes of low frequencies
    # carry the offset and most of the gain of a smooth image.
    rows = torch.linspace(0, 2 * math.pi, 33)[:32]
    smooth = (100 + 40 * torch.cos(rows)[:, None] + 20 * torch.cos(rows)).expand(4, 3, 32, 32)
    gain, offset = torch.tensor([0.5, 1.5, 1.0])[:, None, None], torch.tensor([30.0, -20.0, 50.0])[:, None, None]
    source, target = replace(source, images=smooth), replace(target, images=smooth * gain + offset)
    method = FourierAdaptation(network, task, FourierAdaptation.Hyperparameters(window=0.05))
    images = method.augment(source, target, Progress(0, 1))[0].images
    torch.testing.assert_close(images[:, :2], target.images[:, :2], rtol=0, atol=1e-3)
    assert torch.equal(images[:, 2], smooth[:, 2]), "a height has no light"


def test_only_the_source_images_are_changed_and_the_given_batch_stays(network, task, source, target):
    before = source.images.clone()
    changed, same = FourierAdaptation(network, task).augment(source, target, Progress(0, 1))
    assert torch.equal(source.images, before) and same is target and torch.equal(changed.labels, source.labels)
    torch.testing.assert_close(changed.images[:, :2].mean((2, 3)), target.images[:, :2].mean((2, 3)))
    assert torch.equal(changed.images[:, 2], before[:, 2])


def test_fewer_target_images_are_taken_in_turn(network, task, source, target):
    target = replace(target, images=target.images[:3])
    changed, _ = FourierAdaptation(network, task).augment(source, target, Progress(0, 1))
    torch.testing.assert_close(changed.images[3, :2].mean((1, 2)), target.images[0, :2].mean((1, 2)))


def test_unsure_pixels_count_more(agrees):
    # (x^2 + 1e-8)^2 by hand: 1.00000002, 0.0625 (1 + 8e-8), 1e-16; its slope grows from 0, where that of x is constant.
    entropy = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    penalties = robust_norm(entropy, 2.0)
    penalties.sum().backward()
    expected = torch.tensor([(1 + 1e-8) ** 2, (0.25 + 1e-8) ** 2, 1e-16], dtype=torch.float64)
    agrees("fourier-adaptation", "penalties of three entropies", penalties, expected, rtol=1e-12)
    slopes = torch.tensor([4.0, 0.5, 0.0], dtype=torch.float64)  # 4 x^3, but for the 1e-8
    torch.testing.assert_close(entropy.grad, slopes, rtol=1e-6, atol=0)
    flat = torch.zeros(1, requires_grad=True)
    robust_norm(flat, 0.5).sum().backward()
    assert flat.grad == 0, "finite where the square root's is not"


def test_the_losses_of_a_step(network, task, source, target):
    method = FourierAdaptation(network, task)
    losses = method.step_losses(source, target, Progress(0, 1))
    restyled = method.augment(source, target, Progress(0, 1))[0]
    torch.testing.assert_close(losses["segmentation"], method.segmentation_loss(restyled), rtol=1e-4, atol=0)
    # h = H(p) / ln 3 with the network's three classes.
    probabilities = network(target).softmax(1)
    entropy = -(probabilities * probabilities.log()).sum(1) / math.log(3)
    torch.testing.assert_close(losses["entropy"], 0.005 * entropy.pow(4).mean(), rtol=1e-4, atol=0)
    sum(losses.values()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_one_image_of_an_odd_size_without_labels_under_autocast(network, task, source, target):
    labels = torch.full((1, 31, 29), IGNORE)
    source = replace(source, images=source.images[:1, :, :31, :29], labels=labels, domains=source.domains[:1])
    target = replace(target, images=target.images[:1, :, :31, :29])
    with torch.autocast("cpu", torch.bfloat16):
        losses = FourierAdaptation(network, task).step_losses(source, target, Progress(0, 1))
    sum(losses.values()).backward()
    assert losses["segmentation"] == 0
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
