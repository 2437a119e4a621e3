"""Entropy of per-pixel class probabilities: normalised, so that it does not depend on their number, and in nats."""

import math

from torch import Tensor


def self_information(logits: Tensor) -> Tensor:
    """Return weighted self-information maps ``-p log p / log C`` (Vu et al., CVPR 2019, eq. 5), in [0, 1].

    Args:
        logits: (N, C, H, W).

    Returns:
        (N, C, H, W); the sum over the classes is the normalised entropy of a pixel.
    """
    log_probabilities = logits.log_softmax(1)
    return -log_probabilities.exp() * log_probabilities / math.log(logits.shape[1])


def normalized_entropy(logits: Tensor) -> Tensor:
    """Return each pixel's entropy over its largest value, ln C: (N, C, H, W) -> (N, H, W) (Vu et al., eq. 2)."""
    return self_information(logits).sum(1)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of each pixel in nats, from 0 to ln C: (N, C, H, W) -> (N, H, W)."""
    log_probabilities = logits.log_softmax(1)
    return -(log_probabilities.exp() * log_probabilities).sum(1)
