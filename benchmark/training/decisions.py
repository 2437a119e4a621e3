"""Decisions other than argmax, after any training: functions of logits (N, C, H, W) to scores whose argmax they are."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Decision = Callable[[Tensor], Tensor]
PRIOR, RANKSEG = "prior", "rankseg"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def adjust_by_prior(prior: NDArray[np.float64], strength: float) -> Decision:
    """Return the decision that takes class shares (C,), none 0, out of logits by a strength: rare classes gain."""

    def decide(logits: Tensor) -> Tensor:
        shares = torch.as_tensor(np.log(prior), dtype=logits.dtype, device=logits.device)
        return logits - strength * shares.view(1, -1, 1, 1)

    return decide


def rank_pixels(logits: Tensor) -> Tensor:
    """Return the logarithm of each probability over the one at which the class's set of pixels ends in that image.

    The set of the t likeliest pixels is expected to have the IoU sum of its p over (t + sum of all other p), numerator
    and denominator each by its mean; with many pixels that differs little from the mean of the ratio (the paper's
    blind approximation). The set with the highest is taken. Each class by itself, so that sets overlap and leave gaps:
    the ratio, not the paper's, decides between classes.
    """
    probabilities = logits.double().softmax(1).flatten(2)
    ranked = probabilities.sort(dim=2, descending=True).values
    within = ranked.cumsum(2)
    taken = torch.arange(1, ranked.shape[2] + 1, device=ranked.device)
    expected = within / (taken + within[..., -1:] - within)
    last = ranked.gather(2, expected.argmax(2, keepdim=True))
    return (probabilities / last.clamp(min=torch.finfo(last.dtype).tiny)).log().view_as(logits)
