"""Changes of light for images of any bands: brightness, contrast, gamma, blur, and the histogram of another image.

All are functions of raw pixel values, 0 to 255, with parameters for each image, and change the named bands only: leave
out those that hold no light. There is no hue or saturation, which only red, green and blue have; factors that differ
from band to band change colours instead.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

BRIGHTEST = 255.0


def jitter(images: Tensor, strength: float, generator: torch.Generator, bands: list[int]) -> Tensor:
    """Brightness, then contrast, then gamma, each by a factor of its own for each image and band.

    Args:
        images: (N, C, H, W) float32.
        strength: the factors are uniform between ``1 - strength`` and ``1 + strength``; from 0 to 1.
        generator: on the CPU.
        bands: indices of the bands to change.

    Returns:
        (N, C, H, W).
    """
    for adjust in (adjust_brightness, adjust_contrast, adjust_gamma):
        factors = 1 + strength * (2 * torch.rand(len(images), len(bands), generator=generator) - 1)
        images = adjust(images, factors, bands)
    return images


def adjust_brightness(images: Tensor, factors: Tensor, bands: list[int]) -> Tensor:
    """Pixel values (N, C, H, W) times factors (N, bands), cut to 0 to 255."""
    return _adjust(images, factors, bands, lambda values, factor: values * factor)


def adjust_contrast(images: Tensor, factors: Tensor, bands: list[int]) -> Tensor:
    """Distances of (N, C, H, W) from the mean of their image and band, times factors (N, bands), cut to 0 to 255."""
    return _adjust(
        images, factors, bands, lambda values, factor: torch.lerp(values.mean((2, 3), keepdim=True), values, factor)
    )


def adjust_gamma(images: Tensor, factors: Tensor, bands: list[int]) -> Tensor:
    """Pixel values (N, C, H, W) as shares of 255, to the power of factors (N, bands)."""
    return _adjust(images, factors, bands, lambda values, factor: BRIGHTEST * (values / BRIGHTEST) ** factor)


def _adjust(images: Tensor, factors: Tensor, bands: list[int], change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    changed = images.clone()
    changed[:, bands] = change(images[:, bands], factors.to(images)[:, :, None, None]).clamp(0, BRIGHTEST)
    return changed


def blur(images: Tensor, sigmas: Tensor, bands: list[int]) -> Tensor:
    """Weight neighbours by a Gaussian, out to three of the largest standard deviations; edges are continued outwards.

    Args:
        images: (N, C, H, W) float32.
        sigmas: (N,) standard deviations in pixels, above 0, on the CPU.
        bands: indices of the bands to change.

    Returns:
        (N, C, H, W).
    """
    radius = math.ceil(3 * max(sigmas.tolist(), default=0.0))
    kernels = (-((torch.arange(-radius, radius + 1) / sigmas[:, None]) ** 2) / 2).softmax(1).to(images)
    weights = kernels[:, :, None, None, None].unbind(1)
    blurred = F.pad(images[:, bands], [radius] * 4, mode="replicate")
    for axis in (2, 3):
        # A sum of shifted images instead of a convolution, which autocast would round to bfloat16.
        shifted = (w * blurred.narrow(axis, k, images.shape[axis]) for k, w in enumerate(weights))
        blurred = sum(shifted, start=images.new_zeros(()))
    changed = images.clone()
    changed[:, bands] = blurred
    return changed


def match_histograms(images: Tensor, references: Tensor, bands: list[int]) -> Tensor:
    """Give each band of an image the distribution of values that another image has in it.

    A value goes to the smallest one of the reference whose share of pixels at or below it is no less; so equal pixels
    stay equal, and darker ones never become brighter than others.

    Args:
        images, references: (N, C, H, W) float32.
        bands: indices of the bands to change.

    Returns:
        (N, C, H, W).
    """
    values = images[:, bands].flatten(2)
    at_or_below = torch.searchsorted(values.sort(2).values, values, right=True)
    matched = references[:, bands].flatten(2).sort(2).values.gather(2, at_or_below - 1)
    changed = images.clone()
    changed[:, bands] = matched.view(len(images), len(bands), *images.shape[2:])
    return changed


def strong_view(images: Tensor, strength: float, generator: torch.Generator, bands: list[int]) -> Tensor:
    """Other light in 0.8 of the images, and a blur by 0.15 to 1.15 pixels in half of them, as in DACS.

    Args:
        images: (N, C, H, W) float32, raw pixel values.
        strength: of the change of light, as in `jitter`.
        generator: on the CPU.
        bands: indices of the bands to change.

    Returns:
        (N, C, H, W).
    """

    def chosen(probability: float) -> Tensor:
        return (torch.rand(len(images), 1, 1, 1, generator=generator) < probability).to(images.device)

    images = jitter(images, strength, generator, bands).where(chosen(0.8), images)
    sigmas = torch.empty(len(images)).uniform_(0.15, 1.15, generator=generator)
    return blur(images, sigmas, bands).where(chosen(0.5), images)
