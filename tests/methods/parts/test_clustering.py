"""The lowest cluster of numbers: the best of all divisions, and of many numbers nearly so."""

from itertools import combinations

import pytest
import torch

from methods.parts.clustering import lowest_cluster


@pytest.mark.parametrize("clusters", [2, 3, 4])
def test_the_lowest_cluster_is_that_of_the_best_of_all_divisions(clusters):
    values = torch.rand(14, generator=torch.Generator().manual_seed(clusters)).double() ** 3
    ordered = values.sort().values

    def cost(cuts):
        parts = ordered.tensor_split(list(cuts))
        return sum(((part - part.mean()) ** 2).sum().item() for part in parts)

    best = min(combinations(range(1, 14), clusters - 1), key=cost)
    assert lowest_cluster(values, clusters) == best[0]


def test_many_values_are_clustered_in_runs():
    values = torch.cat([torch.linspace(0, 1, 3000), torch.linspace(10, 11, 2000), torch.linspace(30, 31, 1000)])
    assert lowest_cluster(values[torch.randperm(6000)], 3) == pytest.approx(3000, abs=12)
