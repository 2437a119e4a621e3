"""By hand: styles are moved by as much as they differ in the batch."""

from dataclasses import replace

import pytest
import torch

from methods.base import IGNORE, Progress
from methods.dsu import DSU, move_style
from methods.parts.feature_statistics import channel_statistics

ALWAYS = DSU.Hyperparameters(probability=1.0)


def test_moving_by_hand(agrees):
    # Two images, one channel, two pixels: (0, 2) has mean 1 and deviation sqrt 2, (2, 6) has 4 and 2 sqrt 2.
    # Over the batch, unbiased, the means 1 and 4 have deviation 3 / sqrt 2, the deviations have sqrt 2 / sqrt 2 = 1.
    # Normalised, both images are (-1, 1) / sqrt 2.
    features = torch.tensor([0.0, 2.0, 2.0, 6.0], dtype=torch.float64).view(2, 1, 1, 2)
    noise = torch.tensor([[1.0, 0.0], [0.5, -2.0]], dtype=torch.float64).view(2, 2, 1, 1, 1)
    moved = move_style(features, noise)
    root = 2**0.5
    first = [1 + 3 / root - (root + 0.5) / root, 1 + 3 / root + (root + 0.5) / root]
    second = [4 - (2 * root - 2) / root, 4 + (2 * root - 2) / root]
    expected = torch.tensor([first, second], dtype=torch.float64).view(2, 1, 1, 2)
    agrees("dsu", "features of moved style", moved, expected, rtol=0, atol=1e-5)  # within the epsilons


def test_gradients_go_through_the_statistics(agrees):
    # The new mean is m_i + e S: of an image alone it would have derivative 1 / pixels by each pixel of that image,
    # and none by the other image, whose mean enters by the spread S alone.
    features = torch.tensor([0.0, 2.0, 2.0, 6.0], dtype=torch.float64).view(2, 1, 1, 2).requires_grad_()
    noise = torch.zeros(2, 2, 1, 1, 1, dtype=torch.float64)
    noise[0, 0] = 1.0
    move_style(features, noise)[0].mean().backward()
    # S = |m_2 - m_1| / sqrt 2, so dS/dm_2 = 1 / sqrt 2, and half of that for each of the two pixels.
    pixel = 0.5 / 2**0.5
    expected = torch.tensor([0.5 - pixel, 0.5 - pixel, pixel, pixel], dtype=torch.float64)
    agrees("dsu", "gradient through the statistics", features.grad, expected, rtol=0, atol=1e-5)


def test_drawn_styles_spread_as_the_batch_does(network, task):
    method = DSU(network, task, ALWAYS)
    offsets = torch.tensor([-3.0, -1.0, 1.0, 3.0])[:, None, None, None]  # spread: sqrt(20 / 3) = 2.58
    features = torch.randn(4, 200, 8, 8, generator=torch.Generator().manual_seed(0)) * 1e-3 + offsets
    means = channel_statistics(method.change_features("stage1", features), 0.0)[0] - offsets
    # 800 draws: the standard error of their mean is 0.09, that of their deviation 0.065.
    assert abs(means.mean().item()) < 0.4
    assert abs(means.std().item() - (20 / 3) ** 0.5) < 0.3


def test_every_stage_is_changed_in_training_alone(network, task, source):
    method = DSU(network, task, ALWAYS)
    features = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second = (method.change_features(stage, features) for stage in network.stages)
    assert not torch.allclose(first, features) and not torch.allclose(first, second)
    torch.testing.assert_close(method.change_features("stage1", features), first, rtol=0, atol=0)
    method.step_losses(source, None, Progress(1, 2))
    assert not torch.allclose(method.change_features("stage1", features), first), "another step, another draw"
    assert method.eval().change_features("stage1", features) is features


def test_it_happens_as_often_as_asked(network, task, source):
    features = torch.rand(4, 3, 8, 8)
    for probability, least, most in ((0.0, 0, 0), (0.5, 30, 70), (1.0, 100, 100)):
        method = DSU(network, task, replace(ALWAYS, probability=probability))
        changed = 0
        for step in range(100):
            method.progress = Progress(step, 100)
            changed += method.change_features("stage1", features) is not features
        assert least <= changed <= most


@pytest.mark.parametrize("pixels", [1, 9])
def test_an_image_alone_is_hardly_changed_and_never_undefined(pixels):
    features = torch.randn(1, 3, 1, pixels, generator=torch.Generator().manual_seed(0)).requires_grad_()
    moved = move_style(features, torch.full((2, 1, 3, 1, 1), 2.0))
    # The epsilon leaves a spread of 0.001 of the mean, and of the deviation: 2 * 0.001 * (1 + 2.7), at 2.7 deviations.
    torch.testing.assert_close(moved, features, rtol=0, atol=0.01)
    moved.square().sum().backward()
    assert features.grad.isfinite().all()


def test_a_step_with_one_image_of_which_nothing_is_labelled(network, task, source):
    method = DSU(network, task, ALWAYS)
    network.perturbation = method.change_features
    single = replace(source, images=source.images[:1, :, :31, :29], labels=torch.full((1, 31, 29), IGNORE))
    loss = method.step_losses(single, None, Progress(0, 1))["segmentation"]
    loss.backward()
    assert loss.item() == 0
    assert all(weights.grad.isfinite().all() for weights in network.parameters())
