"""Worked out from the formula; and a haze of one season, which it takes away where source-only fails."""

from dataclasses import replace

import pytest
import torch

from methods.base import Progress, SourceBatch, TargetBatch
from methods.date_statistics import ROUNDING, DateStatistics, part_of_year, statistics_of
from methods.parts.metadata import Metadata
from methods.parts.series import SeriesBatch
from methods.source_only import SourceOnly

FIRST = Progress(0, 1)
MAY, JULY, OCTOBER = 0.0, 61.0, 153.0
OF_EACH_15TH = [-120, -89, -61, -30, 0, 31, 61, 92, 123, 153, 184, 214]  # January to December


def restyled(method, source, target):
    return method.augment(source, target, FIRST)[0].series


@pytest.fixture
def network(make_series_network):
    return make_series_network(2)


@pytest.fixture
def source(source, make_series):
    """Of two domains of two patches each; in the second one, all is brighter in July."""
    levels = torch.tensor([1000.0, 3000.0]).expand(4, 2, 2).clone()
    levels[2:, 1] += 400
    return replace(source, series=make_series(levels, [MAY, JULY], spread=100))


@pytest.fixture
def target(target, make_series):
    levels = torch.tensor([[1100.0, 2000.0], [1500.0, 2500.0]]).expand(4, 2, 2)
    return replace(target, series=make_series(levels, [MAY, JULY], spread=300, seed=1))


def test_a_month_has_a_part_of_the_year_of_its_own():
    days = torch.tensor(OF_EACH_15TH, dtype=torch.float32)
    assert part_of_year(days, 12).tolist() == [8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7]
    assert part_of_year(torch.tensor([-14.0, 14.0, 16.0, 365.0]), 12).tolist() == [0, 0, 1, 0]
    assert part_of_year(torch.tensor([0.0, 91.3, 182.6, -91.3]), 4).tolist() == [0, 1, 2, 3]


def test_values_get_the_targets_mean_and_deviation_of_their_month(network, task, source, target, agrees):
    series = restyled(DateStatistics(network, task), source, target).values
    expected = []
    for domain, date in ((0, 0), (0, 1), (1, 0), (1, 1)):
        own = source.series.values[2 * domain : 2 * domain + 2, date]  # (2, B, h, w)
        new = target.series.values[:, date]
        (variance, mean), (new_variance, new_mean) = (
            torch.var_mean(each, (0, 2, 3), correction=0, keepdim=True) for each in (own, new)
        )
        ratio = ((new_variance + ROUNDING) / (variance + ROUNDING)).sqrt()
        expected.append((own - mean) * ratio + new_mean)
    expected = torch.stack((torch.cat(expected[::2]), torch.cat(expected[1::2])), 1)
    agrees("date-statistics", "source series with the statistics of the target", series, expected, rtol=1e-4)
    # The domains had different Julys, and have the same one now.
    means = [series[rows, 1].mean((0, 2, 3)) for rows in (slice(2), slice(2, 4))]
    torch.testing.assert_close(means[0], means[1])
    assert (source.series.values[2:, 1].mean() - source.series.values[:2, 1].mean()) > 300, "the given one is shared"


def test_statistics_of_many_batches_are_those_of_all_their_valid_dates(network, task, source, target, make_series):
    method = DateStatistics(network, task)
    batches = [make_series(1000 * torch.rand(4, 2, 2), [MAY, JULY], 50, seed) for seed in range(3)]
    hidden = torch.tensor([[True, False], [True, True], [False, True], [True, True]])
    batches[1] = batches[1].only(hidden)
    for series in batches:
        method.augment(replace(source, series=series), target, FIRST)
    whole = SeriesBatch(*(torch.cat([getattr(each, name) for each in batches]) for name in ("values", "days", "valid")))
    slots = method._slots(whole, source.domains.repeat(3))
    expected = statistics_of(whole, slots, len(method.dates))
    sources = slice(0, 24)  # the third group is the target
    for ours, theirs in zip((method.dates, method.mean, method.variance), expected, strict=True):
        torch.testing.assert_close(ours[sources], theirs[sources], rtol=1e-4, atol=1e-2)
    assert method.dates[[0, 2, 12, 14], 0].tolist() == [6, 5, 5, 6]


def test_a_month_that_the_target_has_not_shown_stays(network, task, source, target, make_series):
    later = replace(target, series=make_series(torch.full((4, 2, 2), 500.0), [MAY, OCTOBER]))
    series = restyled(DateStatistics(network, task), source, later)
    assert series.values[:, 1].equal(source.series.values[:, 1])
    assert not series.values[:, 0].allclose(source.series.values[:, 0])


def test_dates_that_are_not_valid_stay_zero_and_teach_nothing(network, task, source, target):
    kept = torch.tensor([[True, False]] * 4)
    method = DateStatistics(network, task)
    series = restyled(method, replace(source, series=source.series.only(kept)), target)
    assert not series.values[:, 1].any() and not method.dates[[2, 14]].any()


def test_at_strength_zero_the_series_are_the_same_to_the_bit(network, task, source, target):
    method = DateStatistics(network, task, DateStatistics.Hyperparameters(strength=0.0))
    assert restyled(method, source, target).values.equal(source.series.values)


def test_a_band_that_is_the_same_everywhere_is_moved_and_stays_finite(network, task, source, target, make_series):
    flat = replace(source, series=make_series(torch.full((4, 2, 2), 1000.0), [MAY, JULY]))
    values = restyled(DateStatistics(network, task), flat, target).values
    torch.testing.assert_close(values[:, 0, 1], target.series.values[:, 0, 1].mean().expand(4, 4, 4), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("kind", "right"), [(DateStatistics, True), (SourceOnly, False)])
def test_another_haze_in_one_month_of_the_target_costs_it_nothing(kind, right, make_series_network, task, make_series):
    """Classes differ by 200 in July; in the target that month is 400 brighter."""
    random = torch.Generator().manual_seed(0)

    def batch(haze):
        kinds = torch.arange(8) % 2
        levels = torch.tensor([1000.0, 3000.0]).repeat(8, 2, 1) + 20 * torch.randn(8, 2, 2, generator=random)
        levels[:, 1] += 200 * kinds[:, None] + haze
        labels = kinds[:, None, None].expand(8, 8, 8)
        images = torch.full((8, 3, 8, 8), 100.0)
        return images, labels, make_series(levels, [MAY, JULY])

    method = kind(make_series_network(2), task)
    optimizer = torch.optim.Adam(method.parameters(), 0.05)
    unknown = Metadata.unknown(8)
    for step in range(60):
        (images, labels, series), (_, truth, seen) = batch(0), batch(400)
        source = SourceBatch(images, labels, torch.zeros(8, dtype=torch.int64), unknown, series=series)
        target = TargetBatch(images, unknown, series=seen)
        losses = method.step_losses(source, target if method.needs.trains_on_target else None, Progress(step, 60))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    predicted = method.eval().predict(target).argmax(1)
    assert ((predicted == truth).float().mean() > 0.95) == right
