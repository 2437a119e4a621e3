"""Style as the amplitude of low spatial frequencies (Yang and Soatto, CVPR 2020, "FDA")."""

import math

import torch
from torch import Tensor


def swap_low_frequencies(images: Tensor, references: Tensor, share: float) -> Tensor:
    """Give images the low-frequency amplitudes of others; their phases, and so their structure, stay.

    The window is centred and holds the signed frequencies -b..b with ``b = floor(share * min(H, W))``, the mean
    included, as in the official NumPy code (the official torch code takes -b..b-1, and nothing at b = 0).

    Args:
        images, references: (N, C, H, W) raw pixel values, before any normalisation.
        share: the window's half-width over the shorter side, 0.01 to 0.09 in the paper.

    Returns:
        (N, C, H, W), not clipped to the range of pixel values.
    """
    height, width = images.shape[-2:]
    radius = math.floor(share * min(height, width))
    rows = torch.fft.fftfreq(height, 1 / height, device=images.device).abs() <= radius
    columns = torch.fft.fftfreq(width, 1 / width, device=images.device).abs() <= radius
    window = rows[:, None] & columns
    spectrum = torch.fft.fft2(images)
    amplitude = torch.where(window, torch.fft.fft2(references).abs(), spectrum.abs())
    return torch.fft.ifft2(torch.polar(amplitude, spectrum.angle())).real
