"""Centroids of classes among features, and the labels that they give (Liang et al., ICML 2020, "SHOT")."""

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import IGNORE


def directions(features: Tensor) -> Tensor:
    """Return features (N, D, h, w) with a 1 appended, of length 1: (N, h, w, D + 1) float32."""
    return F.normalize(F.pad(features.float().movedim(1, -1), (0, 1), value=1.0), dim=-1)


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """Return the classes (...,) int64 of the centroids (C, D) nearest to points (..., D) by the angle between them.

    A centroid that is NaN is none; where all are, so is the class (`IGNORE`).
    """
    with torch.autocast(points.device.type, enabled=False):
        likeness, labels = (points @ F.normalize(centroids, dim=1).T).nan_to_num(-torch.inf).max(-1)
    return labels.masked_fill(likeness == -torch.inf, IGNORE)


def class_centroids(points: Tensor, probabilities: Tensor) -> Tensor:
    """Return the centroids (C, D) of points (n, D) with class probabilities (n, C); NaN of a class that is nowhere."""
    known = probabilities.sum(1) > 0
    points, probabilities = points[known], probabilities[known]
    classes = probabilities.shape[1]
    predicted = F.one_hot(probabilities.argmax(1), classes).any(0)
    with torch.autocast(points.device.type, enabled=False):
        soft = probabilities.T @ points / probabilities.sum(0)[:, None]
        members = F.one_hot(nearest(points, soft.where(predicted[:, None], torch.nan)), classes).float()
        return members.T @ points / members.sum(0)[:, None]
