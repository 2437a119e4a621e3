"""Entropy in nats beside the normalised one."""

import math

import torch

from methods.parts.entropy import entropy, normalized_entropy


def test_the_entropy_is_in_nats():
    # Uniform over three classes; 1/2, 1/4, 1/4: ln 2 / 2 + 2 * (2 ln 2) / 4 = 3/2 ln 2; and a certain one.
    probabilities = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.25, 0.25], [1.0, 1e-30, 1e-30]], dtype=torch.float64)
    logits = probabilities.log().T.reshape(1, 3, 1, 3)
    expected = torch.tensor([math.log(3), 1.5 * math.log(2), 0.0], dtype=torch.float64).view(1, 1, 3)
    torch.testing.assert_close(entropy(logits), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(entropy(logits), normalized_entropy(logits) * math.log(3))
