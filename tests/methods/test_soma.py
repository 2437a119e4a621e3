"""Minor singular components against a matrix whose decomposition is known."""

import math

import torch

from methods.parts.low_rank import mixing_layers
from methods.soma import SoMA, minor_components


def test_the_component_of_the_smallest_singular_value_by_hand(agrees):
    """W = R(30 degrees) diag(5, 2) R(-45 degrees): the minor part is 2 u v^T with the second columns of both turns."""
    turns = [_turn(30), _turn(45)]
    matrix = turns[0] @ torch.diag(torch.tensor([5.0, 2.0])) @ turns[1].T
    down, up = minor_components(matrix, 1)
    u, v = torch.tensor([-0.5, math.sqrt(0.75)]), torch.tensor([-math.sqrt(0.5), math.sqrt(0.5)])
    agrees("soma", "product of the trained factors", up @ down, 2 * torch.outer(u, v), rtol=1e-5, atol=1e-6)
    agrees("soma", "size of each factor", [up.norm(), down.norm()], [math.sqrt(2)] * 2, rtol=1e-5)


def _turn(degrees):
    angle = math.radians(degrees)
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def test_what_stays_is_of_the_largest_components_alone(network, task):
    before = [layer.weight.flatten(1).clone() for layer in mixing_layers(network.model.encoder).values()]
    SoMA(network, task, SoMA.Hyperparameters(rank=2, shallow=0.0))
    for old, layer in zip(before, mixing_layers(network.model.encoder).values(), strict=True):
        kept = torch.linalg.svdvals(layer.parametrizations.weight.original.flatten(1))
        largest = torch.linalg.svdvals(old)[:-2]
        torch.testing.assert_close(kept[: len(largest)], largest, rtol=1e-4, atol=1e-5)
        assert kept[len(largest) :].max() < 1e-5


def test_shallow_layers_stay_whole_and_one_at_least_is_trained(network, task):
    SoMA(network, task, SoMA.Hyperparameters(shallow=0.9))
    kinds = [hasattr(layer, "parametrizations") for layer in mixing_layers(network.model.encoder).values()]
    assert kinds == [False, True]
