"""Changes of light for images of any bands: brightness, contrast, gamma, blur, and the histogram of another image.

All are functions of raw pixel values, 0 to 255, with parameters for each image, and change the named bands only: leave
out those that hold no light. There is no hue or saturation, which only red, green and blue have; factors that differ
from band to band change colours instead, and are kept small where a band says what a class is.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

BRIGHTEST = 255.0
LEVELS = 256  # values of a pixel
SHARE_ERROR = 1e-6  # of a mean of shares in float32; less than a pixel of 512 x 512
BAND_SHARE = 0.2  # strength of the jitter of a single band over that of all bands, in a strong view


def jitter(
    images: Tensor,
    strength: float,
    band_strength: float,
    generator: torch.Generator,
    bands: list[int],
    centres: Tensor | None = None,
) -> Tensor:
    """Change brightness, then contrast, then gamma, each by a factor of the image times one of the image's band.

    Args:
        images: (N, C, H, W) float32.
        strength: an image's factors are uniform between ``1 - strength`` and ``1 + strength``; from 0 to 1.
        band_strength: likewise of those of each band.
        generator: generator on the CPU.
        bands: indices of the bands to change.
        centres: (N, C) raw values around which contrast is changed; None for the mean of each image and band.

    Returns:
        (N, C, H, W).
    """

    def draw() -> Tensor:
        common, own = (2 * torch.rand(len(images), count, generator=generator) - 1 for count in (1, len(bands)))
        return (1 + strength * common) * (1 + band_strength * own)

    brightness = draw()
    images = adjust_brightness(images, brightness, bands)
    if centres is not None:
        centres = (centres[:, bands] * brightness.to(centres)).clamp(0, BRIGHTEST)
    images = adjust_contrast(images, draw(), bands, centres)
    return adjust_gamma(images, draw(), bands)


def adjust_brightness(images: Tensor, factors: Tensor, bands: list[int]) -> Tensor:
    """Return pixel values (N, C, H, W) times factors (N, bands), cut to 0 to 255."""
    return _adjust(images, factors, bands, lambda values, factor: values * factor)


def adjust_contrast(images: Tensor, factors: Tensor, bands: list[int], centres: Tensor | None = None) -> Tensor:
    """Scale the distances of (N, C, H, W) from a centre for each image and band by factors (N, bands), cut to 0 to 255.

    Args:
        centres: (N, bands); None for the mean of each image and band.
    """

    def change(values: Tensor, factor: Tensor) -> Tensor:
        middle = values.mean((2, 3), keepdim=True) if centres is None else centres[:, :, None, None]
        return torch.lerp(middle, values, factor)

    return _adjust(images, factors, bands, change)


def adjust_gamma(images: Tensor, factors: Tensor, bands: list[int]) -> Tensor:
    """Return pixel values (N, C, H, W) as shares of 255, to the power of factors (N, bands)."""
    return _adjust(images, factors, bands, lambda values, factor: BRIGHTEST * (values / BRIGHTEST) ** factor)


def _adjust(images: Tensor, factors: Tensor, bands: list[int], change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    changed = images.clone()
    changed[:, bands] = change(images[:, bands], factors.to(images)[:, :, None, None]).clamp(0, BRIGHTEST)
    return changed


def blur(images: Tensor, sigmas: Tensor, bands: list[int]) -> Tensor:
    """Blur by a Gaussian, out to three of the largest standard deviations; edges are continued outwards.

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


def value_shares(images: Tensor) -> Tensor:
    """Return the share of an image's and band's pixels at or below each value: (N, C, H, W) -> (N, C, 256) float32.

    Values between whole numbers are rounded. The mean over images is that of all their pixels.
    """
    values = _rounded(images).flatten(2)
    rows = torch.arange(values.shape[0] * values.shape[1], device=values.device).view(*values.shape[:2], 1)
    counts = torch.bincount((rows * LEVELS + values).flatten(), minlength=rows.numel() * LEVELS)
    return counts.view(*values.shape[:2], LEVELS).cumsum(2) / values.shape[2]


def match_histograms(images: Tensor, shares: Tensor, references: Tensor, bands: list[int]) -> Tensor:
    """Move the values of each band from one distribution to another.

    A value goes to the smallest one of the reference whose share of pixels at or below it is no less; so equal pixels
    stay equal, and darker ones never become brighter than others.

    Args:
        images: (N, C, H, W) float32.
        shares: (N, C, 256), the distribution of the images, or of what they are a part of, as from `value_shares`.
        references: (N, C, 256), the distribution that it becomes.
        bands: indices of the bands to change.

    Returns:
        (N, C, H, W).
    """
    tables = torch.searchsorted(references + SHARE_ERROR, shares).clamp(max=LEVELS - 1)
    matched = tables.gather(2, _rounded(images).flatten(2)).view_as(images).to(images)
    changed = images.clone()
    changed[:, bands] = matched[:, bands]
    return changed


def _rounded(images: Tensor) -> Tensor:
    return images.round().clamp(0, BRIGHTEST).long()


def strong_view(images: Tensor, strength: float, generator: torch.Generator, bands: list[int]) -> Tensor:
    """Return images with other light in 0.8 of them, and a blur by 0.15 to 1.15 pixels in half of them, as in DACS.

    Brightness, contrast and gamma have one factor for all bands, as in the official code, and a small one a band in the
    place of hue and saturation.

    Args:
        images: (N, C, H, W) float32, raw pixel values.
        strength: strength of the change of light, as in `jitter`; that of a single band is `BAND_SHARE` of it.
        generator: generator on the CPU.
        bands: indices of the bands to change.

    Returns:
        (N, C, H, W).
    """

    def chosen(probability: float) -> Tensor:
        return (torch.rand(len(images), 1, 1, 1, generator=generator) < probability).to(images.device)

    images = jitter(images, strength, BAND_SHARE * strength, generator, bands).where(chosen(0.8), images)
    sigmas = torch.empty(len(images)).uniform_(0.15, 1.15, generator=generator)
    return blur(images, sigmas, bands).where(chosen(0.5), images)
