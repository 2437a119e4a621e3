"""Attention over dates against values derived by hand, and a U-TAE that dates without validity cannot reach."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.models.temporal import LTAE, UTAE, ValidGroupNorm, average_dates, encode_days

SMALL = {"encoder_widths": (8, 8, 16), "decoder_widths": (8, 8), "heads": 4}
VALID = torch.tensor([[True, False, True, True], [False, False, True, False]])
DAYS = torch.tensor([[3.0, 40, 200, 301], [9, 60, 180, 310]])


def _utae(seed=0):
    torch.manual_seed(seed)
    return UTAE(3, **SMALL).eval()


def _series(size=(16, 16), dates=4):
    return torch.randn(2, dates, 3, *size, generator=torch.Generator().manual_seed(1))


def _set(parameter, values):
    parameter.data.copy_(torch.tensor(values).view_as(parameter))


def test_days_become_sines_and_cosines_of_two_wavelengths():
    # 1000 ** (0 / 4) = 1 and 1000 ** (2 / 4) = 31.6228: sin 100, cos 100, sin 3.16228, cos 3.16228.
    expected = torch.tensor([[0.0, 1, 0, 1], [-0.5063656, 0.8623189, -0.0206835, -0.9997861]])
    torch.testing.assert_close(encode_days(torch.tensor([0.0, 100]), 4), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(encode_days(torch.tensor([-100]), 4)[0, ::2], -expected[1, ::2], atol=1e-6, rtol=0)


def test_attention_of_two_dates_by_hand():
    """Two dates of one pixel, (1, -1) and (-1, 1): mean 0 and variance 1, which the normalisation leaves as it is.

    Days 0 and pi/2 add (sin, cos) = (0, 1) and (1, 0): the values are (1, 0) and (0, 1). Keys are ln 3 times the
    first channel, the query is 1: scores ln 3 and 0, attention 3/4 and 1/4, average (3/4, 1/4). The last normalisation,
    of mean 1/2 and deviation 1/4, gives (1, -1), times (2, 3) plus (10, 20): (12, 17).
    """
    attend = LTAE(channels=2, heads=1, width=2, key_width=1).eval()
    for layer in (attend.project, attend.merge[0]):
        _set(layer.weight, [[1.0, 0], [0, 1]])
        _set(layer.bias, [0.0, 0])
    _set(attend.keys.weight, [math.log(3), 0])
    _set(attend.keys.bias, [0.0])
    _set(attend.queries, [1.0])
    _set(attend.normalize_merged.weight, [2.0, 3])
    _set(attend.normalize_merged.bias, [10.0, 20])
    maps = torch.tensor([[1.0, -1], [-1, 1]]).view(1, 2, 2, 1, 1)
    found, attention = attend(maps, torch.tensor([[0, math.pi / 2]]), torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(attention.flatten(), torch.tensor([0.75, 0.25]), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.flatten(), torch.tensor([12.0, 17]), atol=1e-3, rtol=0)


def test_scores_are_divided_by_the_root_of_the_keys_width():
    attend = LTAE(channels=2, heads=1, width=2, key_width=4).eval()
    _set(attend.keys.weight, [[0.0, 0]] * 4)
    attend.keys.weight.data[:, 0, 0, 0] = math.log(3) / 2  # four of them, over root 4: ln 3 a unit of the first channel
    _set(attend.keys.bias, [0.0] * 4)
    _set(attend.queries, [1.0] * 4)
    _set(attend.project.weight, [[0.0, 0], [0, 0]])
    _set(attend.project.bias, [0.0, 0])
    _, attention = attend(torch.randn(1, 2, 2, 1, 1), torch.tensor([[0, math.pi / 2]]), torch.tensor([[True, True]]))
    torch.testing.assert_close(attention.flatten(), torch.tensor([0.25, 0.75]))


def test_normalisation_is_torchs_over_the_valid_dates():
    norm, maps = ValidGroupNorm(2, 6), torch.randn(2, 5, 6, 3, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    found = norm(maps, torch.tensor([[True] * 5, [True] * 3 + [False] * 2]))
    for sample, dates in ((0, 5), (1, 3)):
        pixels = maps[sample, :dates].permute(2, 3, 1, 0).flatten(0, 1)
        expected = F.group_norm(pixels, 2, norm.weight.flatten(), norm.bias.flatten())
        got = found[sample, :dates].permute(2, 3, 1, 0).flatten(0, 1)
        torch.testing.assert_close(got, expected)


def test_each_head_weighs_its_share_of_the_channels_at_every_resolution():
    maps = torch.arange(8.0).view(1, 2, 4, 1, 1).expand(1, 2, 4, 4, 4)
    attention = torch.tensor([[[1.0, 0], [0.25, 0.75]]]).view(1, 2, 2, 1, 1).expand(1, 2, 2, 2, 2)
    averages = average_dates(maps, attention)
    # Head one takes the first date's channels 0 and 1; head two .25 (2, 3) + .75 (6, 7).
    torch.testing.assert_close(averages[0, :, 1, 2], torch.tensor([0.0, 1, 5, 6]))
    assert averages.shape == (1, 4, 4, 4)


def test_attention_sums_to_one_over_the_valid_dates():
    attention = _utae()(_series(), DAYS, VALID).attention
    assert attention.shape == (2, 4, 4, 4, 4)
    torch.testing.assert_close(attention.sum(2), torch.ones(2, 4, 4, 4))
    assert not attention.transpose(1, 2)[~VALID].any() and bool((attention.transpose(1, 2)[VALID] > 0).all())


def test_the_order_of_dates_changes_nothing_and_their_days_do():
    network, series, order = _utae(), _series(), [2, 0, 3, 1]
    expected = network(series, DAYS, VALID).maps
    for found, wanted in zip(network(series[:, order], DAYS[:, order], VALID[:, order]).maps, expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(network(series, DAYS[:, order], VALID).maps[0], expected[0], atol=1e-3)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_dates_that_are_not_valid_change_nothing_to_the_bit(mode):
    series, days, found = _series(), DAYS.clone(), []
    for value in (0.0, 1e6, math.nan):
        network = getattr(_utae(), mode)()
        series[~VALID], days[~VALID] = value, value
        torch.manual_seed(5)
        maps = network(series, days, VALID).maps
        maps[0].square().sum().backward()
        found.append([*maps, *(parameter.grad for parameter in network.parameters())])
    assert all(torch.equal(one, other) for others in found[1:] for one, other in zip(found[0], others, strict=True))


def test_attention_does_not_read_maps_that_are_not_valid():
    attend, maps, found = LTAE(8, heads=2, width=8).eval(), torch.randn(2, 4, 8, 2, 2), []
    for value in (0.0, math.nan):
        maps[~VALID] = value
        found.append(attend(maps, DAYS, VALID))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_more_padded_dates_change_nothing():
    network, series = _utae(), _series()
    longer = [F.pad(series, (0,) * 7 + (3,)), F.pad(DAYS, (0, 3)), F.pad(VALID, (0, 3))]
    torch.testing.assert_close(network(*longer).maps[0], network(series, DAYS, VALID).maps[0])


@pytest.mark.parametrize("valid", [VALID & torch.tensor([[True], [False]]), torch.zeros_like(VALID)])
def test_samples_without_a_valid_date_are_reported_and_finite(valid):
    found = _utae()(_series(), DAYS, valid)
    assert found.empty.tolist() == (~valid.any(1)).tolist()
    assert all(bool(torch.isfinite(maps).all()) for maps in found.maps)
    assert not found.attention[found.empty].any()
    torch.testing.assert_close(found.maps[-1][1], found.maps[-1][1][:, :1, :1].expand(16, 4, 4))
    alone = _utae()(_series()[:1], DAYS[:1], valid[:1])
    torch.testing.assert_close(alone.maps[0], found.maps[0][:1])


@pytest.mark.parametrize(("size", "coarsest"), [((40, 40), (5, 5)), ((10, 10), (2, 2)), ((9, 21), (2, 3))])
def test_maps_have_the_size_of_the_series(size, coarsest):
    found = UTAE(10)(torch.rand(1, 3, 10, *size), torch.tensor([[0, 50, 100]]), torch.ones(1, 3, dtype=torch.bool))
    assert found.maps[0].shape == (1, 64, *size) and found.maps[-1].shape == (1, 128, *coarsest)
    assert [maps.shape[1] for maps in found.maps] == [64, 64, 128, 128]


def test_gradients_reach_all_parameters():
    network = _utae().train()
    network(_series(), DAYS, VALID).maps[0].square().sum().backward()
    # A bias before a normalisation over the same channel has a gradient of zero, but for rounding.
    assert [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_size_is_that_of_the_paper():
    """1,087 thousand parameters with the paper's widths on PASTIS, with its last two convolutions to 20 classes."""
    network = UTAE(10, (64, 64, 64, 128), (32, 32, 64))
    last = (32 * 32 * 9 + 32) + 2 * 32 + (32 * 20 * 9 + 20) + 2 * 20
    assert round((sum(value.numel() for value in network.parameters()) + last) / 1000) == 1087


def test_weights_depend_on_the_seed_alone():
    first, second, other = (_utae(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["attend.queries"], other["attend.queries"])
