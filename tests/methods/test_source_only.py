"""The cross-entropy on which source-only, few-target-labels and oracle train, by hand."""

import math

import pytest
import torch
from torch import nn

from methods import registry
from methods.base import IGNORE, Progress, SourceBatch
from methods.parts.metadata import Metadata


@pytest.fixture
def batch():
    """Three pixels with the logits (ln 2, 0, 0), and so the probabilities 1/2, 1/4 and 1/4."""
    images = torch.tensor([math.log(2), 0, 0]).view(1, 3, 1, 1).repeat(1, 1, 1, 3).requires_grad_()
    return SourceBatch(images, torch.tensor([[[0, 1, IGNORE]]]), torch.zeros(1, dtype=torch.int64), Metadata.unknown(1))


class Images(nn.Module):
    """A network whose logits are the images."""

    def forward(self, batch):
        return batch.images


@pytest.mark.parametrize("name", ["source-only", "few-target-labels", "oracle"])
def test_loss_and_gradient_by_hand(name, task, batch, agrees):
    (loss,) = registry.find(name)(Images(), task).step_losses(batch, None, Progress(0, 1)).values()
    # -ln 1/2 and -ln 1/4 over the two pixels with a label.
    agrees(name, "loss of two labelled pixels", loss, 1.5 * math.log(2), rtol=1e-6)
    loss.backward()
    # The probabilities less 1 for the label, over two pixels.
    expected = torch.tensor([[-1 / 2, 1 / 2, 0], [1 / 4, -3 / 4, 0], [1 / 4, 1 / 4, 0]]) / 2
    agrees(name, "gradient of the logits", batch.images.grad, expected, rtol=1e-6)
