"""Clusters of numbers."""

import torch
from torch import Tensor
from torch.nn import functional as F

RUNS = 512  # into which sorted values are cut before they are clustered


def lowest_cluster(values: Tensor, clusters: int) -> int:
    """Return how many values, of any shape, are in the lowest cluster of optimal k-means in one dimension.

    Sorted, they are cut into at most `RUNS` runs, which are not divided.
    """
    ordered = values.flatten().cpu().double().sort().values
    edges = torch.linspace(0, len(ordered), min(len(ordered), RUNS) + 1).round().long()
    sums, squares = (F.pad(each.cumsum(0), (1, 0))[edges] for each in (ordered, ordered.square()))
    count, total, square = (each - each[:, None] for each in (edges, sums, squares))  # from one edge to a later one
    cost = torch.where(count > 0, square - total.square() / count.clamp(min=1), torch.inf)
    best, starts = cost[0], []
    for _ in range(clusters - 1):
        best, start = (best[:, None] + cost).min(0)
        starts.append(start)
    end = torch.tensor(len(edges) - 1)
    for start in reversed(starts):
        end = start[end]
    return int(edges[end])
