"""Held against fiveai/LAME's own assignments; that alike places agree, and that pixels keep their edges."""

import pytest
import torch
from torch.nn import functional as F

from methods.base import TargetBatch
from methods.lame import LAME, LEAST, nearest_others, smoothed


@pytest.mark.parametrize("count", [1, 5])
def test_the_classes_are_the_official_ones(fixture_values, count, agrees):
    values = fixture_values("lame")
    rows = (torch.tensor(values["in_logits"]).softmax(1) + LEAST).log()
    near = nearest_others(F.normalize(torch.tensor(values["in_feats"]), dim=1), count)
    if count == 5:
        expected = torch.tensor(values["out_affinity_kNN5"])
        assert torch.equal(torch.zeros(20, 20).scatter(1, near, 1), expected)
    found, source = smoothed(rows, near, 1.0).exp(), values.source("fiveai/LAME")
    quantity, expected = f"probabilities with {count} neighbours", values[f"out_kNN{count}"]
    agrees("lame", quantity, found, expected, source, rtol=1e-4, atol=1e-6)


def _method(network, task, **values):
    return LAME(network, task, LAME.Hyperparameters(**values)).eval()


def test_weight_0_is_the_source_model(network, task, target):
    found = _method(network, task, weight=0.0).predict(target)
    torch.testing.assert_close(found.softmax(1), network(target).softmax(1), rtol=1e-5, atol=1e-5)


def test_a_cell_that_is_unsure_follows_those_that_look_like_it(network, task):
    """Two kinds of places; of one the classifier is often wrong."""
    random = torch.Generator().manual_seed(0)
    truth = torch.randint(2, (4, 16, 16), generator=random)
    features = torch.eye(6)[truth].movedim(-1, 1) + 0.1 * torch.randn(4, 6, 16, 16, generator=random)
    logits = torch.eye(3)[truth].movedim(-1, 1) + torch.randn(4, 3, 16, 16, generator=random)
    network.forward = lambda batch, return_features: (logits, features)
    found = _method(network, task).predict(TargetBatch.of(torch.zeros(4, 3, 16, 16)))
    before, after = ((each.argmax(1) == truth).float().mean().item() for each in (logits, found))
    assert before < 0.7 and after > before + 0.15


def test_a_pixel_gets_the_change_of_its_cell_and_keeps_its_edges(network, task):
    """The left half of each cell is of another class than the right one; their difference stays."""
    logits = torch.zeros(1, 3, 4, 32)
    logits[:, 0, :, ::2] = 4.0
    logits[:, 1, :, 1::2] = 1.0
    features = torch.rand(1, 6, 2, 2, generator=torch.Generator().manual_seed(0))
    network.forward = lambda batch, return_features: (logits, features)
    found = _method(network, task).predict(TargetBatch.of(torch.zeros(1, 3, 4, 32)))
    change = found - logits.log_softmax(1)
    torch.testing.assert_close(change, change[..., :1, :1].expand_as(change)), "all cells are alike"
    assert change[0, 0, 0, 0] > change[0, 1, 0, 0] > change[0, 2, 0, 0]


def test_large_maps_are_averaged_into_256_cells_of_an_image(network, task, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "methods.lame.nearest_others", lambda points, count: seen.append(points) or nearest_others(points, count)
    )
    _method(network, task).predict(TargetBatch.of(torch.rand(2, 3, 70, 50) * 255))
    assert seen[0].shape == (2 * 16 * 16, 6)


def test_one_cell_has_no_neighbour(network, task):
    batch = TargetBatch.of(torch.rand(1, 3, 2, 2) * 255)
    with torch.no_grad():
        found = _method(network, task).predict(batch)
    torch.testing.assert_close(found.softmax(1), network(batch).softmax(1), rtol=1e-4, atol=1e-4)


def test_nothing_is_learned(network, task, target):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method = _method(network, task)
    method.adapt(target)
    assert not any(weights.requires_grad for weights in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
