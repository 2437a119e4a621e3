"""Distances between the features of domains, as differentiable losses."""

from collections.abc import Sequence

import torch
from torch import Tensor

PIXELS = 1024  # of a domain that a distance is estimated from in one step
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels; Long et al.'s and TLL's, whose 2 sigma^2 is the width here


def sample_pixels(features: Tensor, generator: torch.Generator, limit: int = PIXELS) -> Tensor:
    """Return the features of random pixels of a batch, without repetition; of all pixels where there are no more.

    Args:
        features: (N, D, h, w) of any floating type.
        generator: generator on the CPU.

    Returns:
        (n, D) float32.
    """
    pixels = features.movedim(1, -1).flatten(0, -2)
    chosen = torch.randperm(len(pixels), generator=generator)[:limit]
    return pixels[chosen.to(features.device)].float()


def covariance(points: Tensor) -> Tensor:
    """Return the unbiased covariance: (n, D) -> (D, D). That of a single point is 0."""
    centred = points - points.mean(0)
    with torch.autocast(points.device.type, enabled=False):  # half precision would lose what separates two domains
        return centred.T @ centred / max(len(points) - 1, 1)


def covariance_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return ``||C1 - C2||_F^2 / (4 D^2)`` (Sun and Saenko, ECCV workshops 2016, eq. 1): (n, D), (m, D) -> scalar."""
    return (covariance(first) - covariance(second)).square().mean() / 4


def moment_spread(groups: Sequence[Tensor]) -> Tensor:
    """Return the distance between the means and covariances of groups, averaged over all pairs; 0 for one group.

    Of two groups it is ``mean((mu1 - mu2)^2) + mean((C1 - C2)^2)``, which DomainBed and TLL call CORAL. Over pairs,
    the mean of squared differences is twice the unbiased variance, so no pair is formed.

    Args:
        groups: (n_k, D) each.
    """
    return _mean_over_pairs([points.mean(0) for points in groups]) + _mean_over_pairs([covariance(p) for p in groups])


def _mean_over_pairs(moments: list[Tensor]) -> Tensor:
    stacked = torch.stack(moments).flatten(1)
    return 2 * (stacked - stacked.mean(0)).square().mean(1).sum() / max(len(moments) - 1, 1)


def gaussian_mmd(first: Tensor, second: Tensor, widths: Sequence[float] = WIDTHS) -> Tensor:
    """Return the squared maximum mean discrepancy under Gaussian kernels, ``mean K11 + mean K22 - 2 mean K12``.

    A kernel is ``exp(-|x - y|^2 / (width * s))``, where s is the mean squared distance between all given points and
    gets no gradient. This is the biased estimate: never negative, and there for single points and unequal numbers too.

    Args:
        first, second: (n, D) and (m, D) float32 or float64.
        widths: widths of the kernels, relative to s.
    """
    points = torch.cat((first, second))
    signs = torch.cat(
        (first.new_full((len(first),), 1 / len(first)), second.new_full((len(second),), -1 / len(second)))
    )
    distances = torch.cdist(points, points).square()
    scale = distances.detach().mean().clamp(min=1e-12)  # all points may be the same, as behind a dead ReLU
    kernel = torch.stack([torch.exp(-distances / (width * scale)) for width in widths]).sum(0)
    return (signs[:, None] * signs * kernel).sum()
