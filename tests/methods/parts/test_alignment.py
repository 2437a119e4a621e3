"""Held against DomainBed, thuml/Transfer-Learning-Library and pytorch-adapt."""

import pytest
import torch

from methods.parts.alignment import (
    WIDTHS,
    covariance,
    covariance_distance,
    gaussian_mmd,
    moment_spread,
    sample_pixels,
)

RATES = [10.0**power for power in range(-3, 4)]  # DomainBed's kernels: exp(-rate * d^2)


@pytest.fixture
def values(fixture_values):
    return fixture_values("coral_mmd")


@pytest.fixture
def groups(values):
    return [torch.tensor(values[f"in_f{index}"], dtype=torch.float64) for index in range(3)]


@pytest.fixture
def equals(values, agrees):
    """`agrees` for official values of double precision."""

    def compare(method, quantity, actual, expected, repository="facebookresearch/DomainBed"):
        agrees(method, quantity, actual, expected, values.source(repository), rtol=1e-9, atol=1e-12)

    return compare


def test_the_covariance_distance_is_deep_corals(values, groups, equals):
    distance, expected = covariance_distance(*groups[:2]), values["out_deepcoral_paper_form64"]
    equals("deep-coral", "distance of the covariances", distance, expected, "KevinMusgrave/pytorch-adapt")
    single = covariance_distance(*[group.float() for group in groups[:2]])
    torch.testing.assert_close(single.item(), float(values["out_deepcoral_paper_form"]), rtol=1e-5, atol=0)


def test_the_moment_spread_of_two_is_domainbeds_and_tlls_coral(values, groups, equals):
    tlls = torch.tensor(values["out_tll_coral64"])
    torch.testing.assert_close(moment_spread([groups[0][:9], groups[1]]), tlls, rtol=1e-9, atol=1e-12)
    first = groups[0].requires_grad_()
    loss = moment_spread([first, groups[1]])
    loss.backward()
    equals("source-coral", "loss of two domains", loss, values["out_coral_0164"])
    equals("source-coral", "gradient of the loss of two domains", first.grad, values["out_coral_grad0_0164"])


def test_the_moment_spread_of_three_is_the_mean_over_the_pairs(values, groups, equals):
    equals("source-coral", "loss of three domains", moment_spread(groups), values["out_coral_mean364"])


def widths_of(rates, points):
    """The relative widths that undo the scale: exp(-d^2 / (width * mean d^2)) = exp(-rate * d^2)."""
    return [1 / (rate * torch.cdist(points, points).square().mean().item()) for rate in rates]


def test_the_discrepancy_is_domainbeds(values, groups, equals):
    pairs, found = [(0, 1), (0, 2), (1, 2), (0, 0)], []
    for first, second in ([groups[index] for index in pair] for pair in pairs):
        found.append(gaussian_mmd(first, second, widths_of(RATES, torch.cat((first, second)))))
    expected = [values["out_mmd_gauss_{}{}64".format(*pair)].item() for pair in pairs]
    equals("mmd", "discrepancy of four pairs of domains", torch.stack(found), expected)


def test_the_gradient_of_the_discrepancy_is_domainbeds(values, groups, equals):
    widths = widths_of(RATES, torch.cat(groups[:2]))
    first = groups[0].requires_grad_()
    gaussian_mmd(first, groups[1], widths).backward()
    equals("mmd", "gradient of the discrepancy", first.grad, values["out_mmd_gauss_grad0_0164"])


def test_the_kernels_are_tlls(values, groups, agrees):
    # TLL leaves the diagonal (1 a kernel) out of the means within a domain, and adds 2 / (n - 1):
    # n / (n - 1) (K11 + K22) - 2 k / (n - 1) - 2 K12 + 2 / (n - 1) = MMD^2 + (K11 + K22 - 2 k + 2) / (n - 1).
    # A point far from all others, alone in its domain, leaves K11 + k. The widths are kept at those of the pair.
    first, second = groups[0][:9], groups[1]
    n, kernels = 9, len(WIDTHS)
    pair = torch.cat((first, second))
    scale = torch.cdist(pair, pair).square().mean().item()
    far = torch.full((1, 8), 1e3, dtype=torch.float64)

    def within(points):
        rates = [1 / (width * scale) for width in WIDTHS]
        return gaussian_mmd(points, far, widths_of(rates, torch.cat((points, far)))) - kernels

    correction = (within(first) + within(second) - 2 * kernels + 2) / (n - 1)
    expected, source = values["out_tll_mkmmd_quadratic64"], values.source("thuml/Transfer-Learning-Library")
    # TLL's 1 / n^2 and the like are float32 in float64 too.
    actual = gaussian_mmd(first, second) + correction
    agrees("mmd", "discrepancy by the official code's estimate", actual, expected, source, rtol=1e-8)


def test_the_discrepancy_does_not_depend_on_the_scale_of_the_features(groups):
    first, second = groups[:2]
    torch.testing.assert_close(gaussian_mmd(1000 * first, 1000 * second), gaussian_mmd(first, second))


def test_the_further_apart_the_greater():
    points = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    for distance in (covariance_distance, gaussian_mmd, lambda first, second: moment_spread([first, second])):
        gaps = [distance(points, gain * points).item() for gain in (1.0, 1.5, 3.0)]
        assert gaps == sorted(gaps) and gaps[0] == pytest.approx(0, abs=1e-6) and gaps[1] > 1e-3


@pytest.mark.parametrize("distance", [covariance_distance, gaussian_mmd, lambda *groups: moment_spread(groups)])
def test_single_points_and_dead_features_have_a_finite_gradient(distance):
    for shape in ((1, 4), (5, 4)):
        first = torch.zeros(shape, requires_grad=True)
        loss = distance(first, torch.zeros(3, 4))
        loss.backward()
        assert loss.item() == pytest.approx(0, abs=1e-6) and first.grad.isfinite().all()


def test_one_group_has_no_spread_but_a_graph():
    points = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = moment_spread([points])
    loss.backward()
    assert loss == 0 and (points.grad == 0).all()


def test_autocast_does_not_cost_digits(groups):
    points = groups[0].float() + 100
    with torch.autocast("cpu", torch.bfloat16):
        inside = covariance(points), gaussian_mmd(points, groups[1].float())
    torch.testing.assert_close(inside, (covariance(points), gaussian_mmd(points, groups[1].float())))


def test_sampled_pixels_are_pixels_each_at_most_once():
    features = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5).bfloat16()
    pixels = {tuple(features[i, :, y, x].tolist()) for i in range(2) for y in range(4) for x in range(5)}
    few = sample_pixels(features, torch.Generator().manual_seed(0), limit=7)
    assert few.dtype == torch.float32 and len(few) == 7
    assert len({tuple(row) for row in few.tolist()} & pixels) == 7
    every = sample_pixels(features, torch.Generator().manual_seed(0))
    assert {tuple(row) for row in every.tolist()} == pixels and len(every) == 40


def test_the_address_decides_which_pixels():
    features = torch.arange(40.0).view(1, 1, 4, 10)
    draws = [sample_pixels(features, torch.Generator().manual_seed(seed), 5).flatten().tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
