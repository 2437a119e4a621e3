"""Gradient reversal: one backward pass trains a judge, and trains what it judges against it."""

import math
from typing import Any

import torch
from torch import Tensor


def reverse_gradient(features: Tensor, strength: float) -> Tensor:
    """Return the same features, whose gradient comes back times ``-strength`` (Ganin et al., JMLR 2016)."""
    reversed_: Tensor = _Reversal.apply(features, strength)
    return reversed_


def reversal_strength(fraction: float, speed: float = 10.0) -> float:
    """Return ``2 / (1 + exp(-speed * fraction)) - 1``: from 0, while the judge knows nothing, to almost 1 (ibidem).

    Args:
        fraction: share of the training that is done, from 0 to 1.
        speed: 10 in the paper.
    """
    return 2 / (1 + math.exp(-speed * fraction)) - 1


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return features.view_as(features)  # a new tensor, so that autograd sees this function at all

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -context.strength * gradient, None
