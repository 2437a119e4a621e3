"""By hand: what a random convolution does to images, and the consistency of the views."""

import math
from dataclasses import replace

import torch

from methods.base import IGNORE, Progress
from methods.rand_conv import SIDES, RandConv, jensen_shannon, mixed_convolution


def test_a_convolution_by_hand(agrees):
    # One band with the pixels 10, 20, 30: mean 20, biased variance 200 / 3. The kernel (0, 0, 1) takes each pixel's
    # right neighbour, and beyond the border the mean; so the convolution alone is 20, 30, 20, and half of it is below.
    images = torch.tensor([10.0, 20.0, 30.0]).view(1, 1, 1, 3)
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[0, 0, 1, 2] = 1.0
    mixed = torch.stack([mixed_convolution(images, kernel, share).flatten() for share in (1.0, 0.5, 0.0)])
    expected = torch.tensor([[20.0, 30.0, 20.0], [15.0, 25.0, 25.0], [10.0, 20.0, 30.0]])
    agrees("rand-conv", "pixels convolved in full, by half and not at all", mixed, expected, rtol=1e-6)


def test_bands_are_mixed_on_each_other_s_scale():
    # The second band is the first in another unit, so normalised they are the same, and swapping them changes nothing.
    band = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    images = torch.cat([band, 0.1 * band + 3], 1)
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).view(2, 2, 1, 1)
    torch.testing.assert_close(mixed_convolution(images, swap, 1.0), images, rtol=1e-4, atol=1e-3)


def test_the_divergence_by_hand(agrees):
    def logits(*probabilities):
        return torch.tensor(probabilities).clamp(min=1e-30).log().view(len(probabilities), 1, 2, 1, 1)

    torch.testing.assert_close(jensen_shannon(logits([1.0, 0.0], [0.0, 1.0])).item(), math.log(2))
    assert abs(jensen_shannon(logits([0.3, 0.7], [0.3, 0.7], [0.3, 0.7])).item()) < 1e-6
    # Of (0.5, 0.5) and (0.9, 0.1) the mixture is (0.7, 0.3); the divergence is H(mixture) - mean of the entropies.
    entropy = [-sum(p * math.log(p) for p in (q, 1 - q)) for q in (0.7, 0.5, 0.9)]
    expected = entropy[0] - (entropy[1] + entropy[2]) / 2
    divergence = jensen_shannon(logits([0.5, 0.5], [0.9, 0.1]))
    agrees("rand-conv", "divergence of two predictions", divergence, expected, rtol=1e-5)


def test_views_change_light_and_not_height(network, task, source):
    method = RandConv(network, task)
    before = source.images.clone()
    views = [method.view(source.images, number) for number in range(3)]
    torch.testing.assert_close(source.images, before, rtol=0, atol=0)
    for view in views:
        assert torch.equal(view[:, 2], before[:, 2]) and not torch.allclose(view[:, :2], before[:, :2])
    assert not torch.allclose(views[0], views[1])
    torch.testing.assert_close(method.view(source.images, 0), views[0], rtol=0, atol=0)


def test_height_has_no_say_in_the_light_of_a_view(network, task, source):
    method = RandConv(network, task)
    flat = source.images.clone()
    flat[:, 2] = 0
    torch.testing.assert_close(method.view(flat, 0)[:, :2], method.view(source.images, 0)[:, :2])


def test_kernels_have_the_published_sizes_and_variance(network, task, source, monkeypatch):
    kernels, shares = [], []
    monkeypatch.setattr(
        "methods.rand_conv.mixed_convolution",
        lambda images, kernel, share: kernels.append(kernel) or shares.append(share) or images,
    )
    method = RandConv(network, task)
    for number in range(400):
        method.view(source.images[:, :, :2, :2], number)
    assert {kernel.shape[-1] for kernel in kernels} == set(SIDES)
    for side in SIDES:
        weights = torch.cat([kernel.flatten() for kernel in kernels if kernel.shape[-1] == side])
        torch.testing.assert_close(weights.var().item(), 1 / (2 * side**2), rtol=0.2, atol=0)  # of two bands of light
    assert min(shares) < 0.05 and max(shares) > 0.95 and 0.4 < sum(shares) / len(shares) < 0.6


def test_shapes_stay_where_colours_do_not(network, task, source):
    # Two flat regions: within each, away from the border between them and of the image, a view is flat too.
    images = torch.full((1, 3, 32, 32), 60.0)
    images[:, :, :, 16:] = 180.0
    method = RandConv(network, task)
    for number in range(8):
        view = method.view(images, number)[:, :2]
        for columns in (slice(4, 12), slice(20, 28)):
            region = view[:, :, 4:28, columns]
            torch.testing.assert_close(region, region[:, :, :1, :1].expand_as(region), rtol=1e-3, atol=1e-2)


def test_the_loss_holds_the_views_together(network, task, source):
    method = RandConv(network, task)
    losses = method.step_losses(source, None, Progress(0, 1))
    assert losses["consistency"].item() > 0
    single = RandConv(network, task, RandConv.Hyperparameters(views=1, probability=1.0))
    assert single.step_losses(source, None, Progress(0, 1))["consistency"].item() == 0
    # The labels teach from the first view alone, which is the same in both.
    network.eval()
    three, one = (m.step_losses(source, None, Progress(0, 1))["segmentation"] for m in (method, single))
    torch.testing.assert_close(three, one, rtol=0, atol=0)


def test_at_the_neutral_values_the_gradient_is_that_of_source_only(network, task, source):
    neutral = RandConv.Hyperparameters(probability=0.0, views=1)
    method = RandConv(network, task, neutral)
    sum(method.step_losses(source, None, Progress(0, 1)).values()).backward()
    found = [weights.grad.clone() for weights in network.parameters()]
    network.zero_grad()
    method.segmentation_loss(source).backward()
    for weights, gradient in zip(network.parameters(), found, strict=True):
        torch.testing.assert_close(weights.grad, gradient, rtol=0, atol=0)


def test_one_flat_image_of_which_nothing_is_labelled(network, task, source):
    single = replace(source, images=torch.full((1, 3, 31, 29), 7.0), labels=torch.full((1, 31, 29), IGNORE))
    losses = RandConv(network, task).step_losses(single, None, Progress(0, 1))
    assert losses["segmentation"].item() == 0 and losses["consistency"].isfinite()
    sum(losses.values()).backward()
    assert all(weights.grad.isfinite().all() for weights in network.parameters())
