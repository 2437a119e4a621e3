"""The refinement of features: by hand, over pixels and tokens, and where it is put."""

import math

import pytest
import torch
from torch import nn

from methods.base import MethodError
from methods.rein import Refinement, Rein, SharedLayers


@pytest.fixture
def refinement():
    """Two tokens for features of two channels, T = ((0, 0), (1, 1)) by factors of rank one."""
    refinement = Refinement(SharedLayers(2), tokens=2, rank=1, width=2)
    with torch.no_grad():
        refinement.left.copy_(torch.tensor([[0.0], [1.0]]))
        refinement.right.copy_(torch.tensor([[1.0, 1.0]]))
        for layer, weight, bias in (
            (refinement.change.of_tokens, [[2.0, 0.0], [0.0, 1.0]], [0.0, 3.0]),
            (refinement.change.of_features, [[1.0, 0.0], [0.0, 0.5]], [0.1, 0.0]),
        ):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
    return refinement


def test_features_are_refined_by_what_they_resemble(refinement, agrees):
    # f = (a, a) resembles T by (0, 2 a / sqrt 2), so that the second token has the share s = e^x / (1 + e^x) at x = 1
    # for a = 1 / sqrt 2. T' W + b = (2, 4). The change is (s (2, 4) + f) times (1, 0.5), plus (0.1, 0).
    a, share = 1 / math.sqrt(2), math.e / (1 + math.e)
    expected = [a + 2 * share + a + 0.1, a + 0.5 * (4 * share + a)]
    agrees("rein", "refined feature", refinement(torch.full((1, 1, 2), a)), expected, rtol=1e-6)


def test_pixels_of_a_map_are_refined_like_tokens_and_tokens_that_are_no_pixels_stay(refinement):
    features = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    pixels = features.permute(0, 2, 3, 1).reshape(2, 12, 2)
    refined = refinement(pixels)
    of_map = refinement.refine_output(None, None, features)
    torch.testing.assert_close(of_map.permute(0, 2, 3, 1).reshape(2, 12, 2), refined)
    refinement.prefix = 1
    with_class = refinement.refine_output(None, None, torch.cat([torch.ones(2, 1, 2), pixels], 1))
    assert torch.equal(with_class[:, 1:], refined) and torch.equal(with_class[:, 0], torch.ones(2, 2))


def test_every_stage_or_every_block_of_a_vit_is_refined(network, task, make_network):
    Rein(network, task)
    assert [each.left.shape for each in network.refinements] == [(100, 16)] * 2
    assert [each.right.shape[1] for each in network.refinements] == [4, 6]
    vit = make_network()
    vit.stages = {}
    with pytest.raises(MethodError, match="Rein needs a ViT, or an encoder whose stages are known"):
        Rein(vit, task)
    inner = vit.model.encoder.model = nn.Module()
    inner.blocks, inner.num_prefix_tokens, inner.embed_dim = nn.Sequential(nn.Identity(), nn.Identity()), 5, 8
    Rein(vit, task)
    first, second = vit.refinements
    assert first.change is second.change and first.left is not second.left and first.prefix == 5
    with torch.no_grad():
        first.change.of_features.bias.fill_(1.0)
    out = inner.blocks(torch.zeros(1, 7, 8))
    assert torch.equal(out[0, :, 0], torch.tensor([0.0] * 5 + [2.0] * 2)), "each of two blocks adds one to its pixels"
