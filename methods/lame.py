"""Laplacian adjusted maximum likelihood of a test batch (LAME)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import Method, Needs, TargetBatch, tunable

SIDE = 16  # cells, of an image at most
ROUNDS = 100
LEAST = 1e-10  # probability


class LAME(Method):
    """Let places of a test batch that look alike have classes that are alike (Boudiaf et al., CVPR 2022).

    No weight is changed. Of the cells i of all images of the batch, with probabilities p_i and features f_i, the
    classes ``y_i = softmax(log p_i + weight * sum over the neighbours j of i of y_j)`` are found by repetition, which
    maximises the likelihood less a Laplacian term. The neighbours are the ``neighbours`` cells of the batch whose
    features, of length 1, are nearest. Nothing is kept from batch to batch.

    Departures: the paper has one node for an image. Here it is a cell of the encoder's deepest features, of which 16 by
    16 of an image at most are made by averaging; p_i is the mean over the pixels of a cell. A pixel gets the change
    that its cell got, ``log y_i - log p_i``, interpolated between the cells, on top of its own logarithms, so that
    edges stay where they were. There are always 100 rounds, where the official code stops when its energy does.
    """

    needs = Needs.TEST_STREAM
    depends_on_batch = True

    @dataclass(frozen=True)
    class Hyperparameters:
        neighbours: int = tunable(5, low=1, high=10)
        weight: float = tunable(1.0, low=0.1, high=2.0)

    def setup(self) -> None:
        self.network.requires_grad_(False)

    def predict(self, batch: TargetBatch) -> Tensor:
        logits, features = self.network(batch, return_features=True)
        size = (min(SIDE, features.shape[2]), min(SIDE, features.shape[3]))
        log_pixels = logits.float().log_softmax(1)
        cells = F.adaptive_avg_pool2d(log_pixels.exp(), size)
        points = F.normalize(F.adaptive_avg_pool2d(features.float(), size).movedim(1, -1).flatten(0, 2), dim=1)
        log_cells = (cells + LEAST).log()
        rows = log_cells.movedim(1, -1)
        near = nearest_others(points, self.hyperparameters.neighbours)
        found = smoothed(rows.flatten(0, 2), near, self.hyperparameters.weight).view_as(rows).movedim(-1, 1)
        change = F.interpolate(found - log_cells, size=logits.shape[-2:], mode="bilinear")
        return log_pixels + change


def nearest_others(points: Tensor, count: int) -> Tensor:
    """Return the indices (n, count) of the points nearest to each of (n, D); fewer where there are no more."""
    with torch.autocast(points.device.type, enabled=False):
        distances = torch.cdist(points, points).fill_diagonal_(torch.inf)
    return distances.topk(min(count, len(points) - 1), largest=False).indices


def smoothed(log_probabilities: Tensor, neighbours: Tensor, weight: float) -> Tensor:
    """Return logarithms of class probabilities (n, C) that agree with those of the neighbours (n, k)."""
    found = log_probabilities.log_softmax(1)
    for _ in range(ROUNDS):
        votes = found.exp()[neighbours].sum(1)
        found = (log_probabilities + weight * votes).log_softmax(1)
    return found
