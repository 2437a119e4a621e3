"""The state of the season by hand, and what a network can learn of it that the image does not tell."""

from dataclasses import replace

import pytest
import torch

from methods.base import IGNORE, Progress, SourceBatch, TargetBatch
from methods.parts.metadata import Metadata
from methods.season_conditioning import SeasonConditioning, days_of_flight, season_state

FIRST = Progress(0, 1)
DAYS = [0.0, 60.0]  # 15 May and 14 July
MEAN, DEVIATION = torch.tensor([1000.0, 3000.0]), torch.tensor([200.0, 500.0])


def flown(*dates):
    """Of patches that differ in their date only; (month, day)."""
    month, day = (torch.tensor(each, dtype=torch.float32) for each in zip(*dates, strict=True))
    return replace(Metadata.unknown(len(dates)), month=month, day=day)


@pytest.fixture
def network(make_series_network):
    network = make_series_network(2)
    with torch.no_grad():
        for weights in network.of_series.parameters():
            weights.requires_grad_(False).zero_()  # it sees the series through the method alone
    return network


def conditioned(network, task, **hyperparameters):
    method = SeasonConditioning(network, task, SeasonConditioning.Hyperparameters(**hyperparameters))
    network.perturbation = method.change_features
    return method


def test_the_days_of_a_flight_are_those_from_the_15th_of_may():
    days = days_of_flight(flown((5, 15), (5, 1), (7, 14), (1, 1), (12, 31)))
    assert days.tolist() == [0, -14, 60, -134, 230]
    assert days_of_flight(Metadata.unknown(2)).isnan().all()
    assert days_of_flight(flown((float("nan"), 3), (3, float("nan")))).isnan().all()


def test_the_state_is_what_was_seen_around_the_flight_and_how_it_differs_from_the_year(make_series, agrees):
    levels = [[[1000.0, 3000.0], [1400.0, 2000.0]]]
    state = season_state(make_series(levels, DAYS), torch.tensor([10.0]), MEAN, DEVIATION, 20.0)
    # Normalised: (0, 0) and (2, -2); weights e^(-10/20) and e^(-50/20): of the second date 1 / (1 + e^2).
    share = 1 / (1 + torch.tensor(2.0).exp())
    expected = torch.stack([2 * share, -2 * share, 2 * share - 1, 1 - 2 * share])
    agrees("season-conditioning", "state between two dates", state, expected, rtol=1e-6)


def test_a_date_far_away_counts_if_there_is_no_other_and_one_that_is_not_valid_never(make_series):
    series = make_series([[[1000.0, 3000.0], [1400.0, 2000.0]]] * 2, DAYS)
    series = series.only(torch.tensor([[False, True], [False, False]]))
    state = season_state(series, torch.tensor([-134.0, 0.0]), MEAN, DEVIATION, 0.1)
    torch.testing.assert_close(state, torch.tensor([[2.0, -2, 0, 0], [0, 0, 0, 0]]))


def test_where_the_date_is_unknown_the_state_is_zero(make_series):
    series = make_series([[[1400.0, 2000.0]] * 2], DAYS)
    assert not season_state(series, torch.tensor([torch.nan]), MEAN, DEVIATION, 10.0).any()


def test_features_are_scaled_and_shifted_alike_everywhere(network, task):
    method = conditioned(network, task, strength=0.5)
    features = torch.randn(2, 6, 3, 4)
    method._state = torch.randn(2, 4)
    assert method.change_features("stage2", features).equal(features), "at first it changes nothing"
    with torch.no_grad():
        method.films["stage2"].weight.normal_()
    film = method.films["stage2"](method.encode(method._state))[:, :, None, None]
    expected = features * (1 + 0.5 * film[:, :6]) + 0.5 * film[:, 6:]
    torch.testing.assert_close(method.change_features("stage2", features), expected)
    half = method.change_features("stage2", features.bfloat16())
    assert half.dtype == torch.bfloat16
    method._state = None
    assert method.change_features("stage2", features) is features


@pytest.mark.parametrize(("dropout", "known"), [(0.0, 8), (1.0, 0)])
def test_the_state_is_dropped_of_a_share_of_the_patches(network, task, source, make_series, dropout, known):
    method = conditioned(network, task, dropout=dropout)
    seen = []
    method.encode.register_forward_pre_hook(lambda encode, inputs: seen.append(inputs[0]))
    batch = replace(source, series=make_series([[[1400.0, 2000.0]] * 2] * 4, DAYS), metadata=flown(*[(5, 15)] * 4))
    method.step_losses(batch, None, FIRST)
    assert int((seen[0] != 0).sum()) == known, "two bands of four patches; none differs from the year's mean"
    assert method._state is None, "the state of the last batch is forgotten"


@pytest.fixture
def learn(network, task, make_series):
    """Trains on four images, of two lights, whose class hangs on how green the season is; gives a test of it."""

    def run(**hyperparameters):
        method = conditioned(network, task, dropout=0.0, **hyperparameters)
        images = torch.tensor([60.0, 200.0, 60.0, 200.0])[:, None, None, None].expand(4, 3, 8, 8)
        labels = torch.tensor([0, 0, 1, 1])[:, None, None].expand(4, 8, 8)
        levels = torch.tensor([[[1000.0, 3000.0], [1400.0, 2000.0]]]).repeat(4, 1, 1)
        levels[2:] = levels[2:].flip(1)  # of the second class, what is seen in May is the first one's July
        series, metadata = make_series(levels, DAYS), flown(*[(5, 15)] * 4)
        batch = SourceBatch(images, labels, torch.zeros(4, dtype=torch.int64), metadata, series=series)
        optimizer = torch.optim.Adam(method.parameters(), lr=0.02)
        for step in range(60):
            optimizer.zero_grad()
            sum(method.step_losses(batch, None, Progress(step, 60)).values()).backward()
            optimizer.step()
        method.eval()

        def right(series=series, metadata=metadata):
            predicted = method.predict(TargetBatch(images, metadata, series=series)).argmax(1)
            return (predicted == labels).float().mean().item()

        return right, series

    return run


def test_a_label_that_hangs_on_the_season_is_learnt_whatever_the_date(learn):
    right, series = learn()
    assert right() == 1
    assert right(series.moved(30.0), flown(*[(6, 14)] * 4)) == 1, "a late year, flown as late"
    assert right(metadata=flown(*[(7, 14)] * 4)) == 0, "in July it is the other way round"
    assert right(metadata=Metadata.unknown(4)) == 0.5


def test_at_strength_zero_it_is_not_learnt(learn):
    assert learn(strength=0.0)[0]() == 0.5


def test_without_series_metadata_or_labels_it_still_runs(network, task, source, target):
    method = conditioned(network, task)
    assert method.eval().predict(target).equal(network(target))
    losses = method.train().step_losses(replace(source, labels=torch.full_like(source.labels, IGNORE)), None, FIRST)
    assert losses["segmentation"].item() == 0
