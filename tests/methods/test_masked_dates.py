"""Which dates are hidden, what the network sees and is asked for; and a network that can do without one month."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from methods.base import Progress, SourceBatch, TargetBatch
from methods.masked_dates import MaskedDates, hide_dates, visible_dates
from methods.parts.metadata import Metadata
from methods.source_only import SourceOnly

STEP = Progress(3, 10)
DAYS = [-100.0, -10.0, 20.0, 80.0, 150.0, 210.0]  # from February to December


@pytest.fixture
def network(make_series_network):
    return make_series_network(6)


@pytest.fixture
def series(make_series):
    return make_series(torch.tensor([1000.0, 3000.0]).expand(4, 6, 2), DAYS, spread=100)


@pytest.fixture
def target(target, series):
    return replace(target, series=series)


def test_a_window_and_single_dates_are_hidden(make_series):
    series = make_series(torch.ones(3, 6, 2), DAYS)
    starts = torch.tensor([[-20.0], [15.0], [200.0]])  # the last one goes on in January
    draws = torch.tensor([[0.9, 0.9, 0.9, 0.9, 0.1, 0.9]]).expand(3, 6)
    found = visible_dates(series, starts, draws, 70.0, 0.5).int().tolist()
    assert found == [[1, 0, 0, 1, 0, 1], [1, 1, 0, 0, 0, 1], [0, 1, 1, 1, 0, 0]]
    assert visible_dates(series, starts, draws, 70.0, 0.0).int()[0].tolist() == [1, 0, 0, 1, 1, 1]
    assert visible_dates(series, starts, draws, 60.0, 0.5).int()[2].tolist() == [1, 1, 1, 1, 0, 0]


def test_one_valid_date_stays(make_series):
    series = make_series(torch.ones(2, 6, 2), DAYS).only(torch.tensor([[True] * 4 + [False] * 2, [False] * 6]))
    draws = torch.tensor([0.1, 0.2, 0.4, 0.3, 0.8, 0.9]).expand(2, 6)
    assert visible_dates(series, torch.zeros(2, 1), draws, 0.0, 1.0).nonzero().tolist() == [[0, 2]]


def test_the_share_that_is_hidden_is_that_of_the_window_and_of_the_ratio(make_series):
    days = torch.arange(-134.0, 231.0).tolist()
    hidden = hide_dates(make_series(torch.ones(400, 365, 2), days), 90.0, 0.3, torch.Generator().manual_seed(0))
    expected = (1 - 90 / 365.25) * 0.7
    assert abs(hidden.valid.float().mean() - expected) < 0.01
    assert hidden.valid.float().mean(0).std() < 0.05, "as often in each season"
    assert not hidden.values[~hidden.valid].any()


def test_the_teacher_sees_all_dates_and_the_network_some(network, task, source, target, series, agrees):
    method = MaskedDates(network, task, MaskedDates.Hyperparameters(weight=2.0))
    logits = torch.zeros(4, 3, 32, 32)
    logits[:, 1] = 1.0
    logits[0, 1] = 10.0  # sure of one patch in four
    shown, taught = [], []

    def teach(batch):
        taught.append(batch.series)
        return logits

    method.teacher.forward = teach
    with network.register_forward_pre_hook(lambda network, inputs: shown.append(inputs[0])):
        loss = method.step_losses(source, target, STEP)["masked"]
    assert taught == [series] and shown[1].images is target.images
    seen = shown[1].series
    assert 0 < seen.valid.sum() < series.valid.sum() and seen.valid.any(1).all()
    assert series.valid.all(), "the given one is shared"
    expected = 2 * 0.25 * F.cross_entropy(network(shown[1]), torch.ones(4, 32, 32, dtype=torch.int64))
    agrees("masked-dates", "loss without the hidden dates", loss, expected, rtol=1e-6)


def test_only_the_network_learns_and_the_teacher_follows_it(network, task, source, target):
    method = MaskedDates(network, task, MaskedDates.Hyperparameters(confidence=0.0, decay=0.5))
    method.step_losses(source, target, Progress(9, 10))["masked"].backward()
    assert network.of_series.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    before = method.teacher.of_series.weight.clone()
    with torch.no_grad():
        network.of_series.weight.add_(1)
    method.after_step(Progress(9, 10))
    torch.testing.assert_close(method.teacher.of_series.weight, before + 0.5)


def test_a_network_that_learns_so_can_do_without_one_month(make_series_network, task, make_series):
    """Both dates tell the class, the first one more loudly; at the test it is hidden."""

    def batch(random):
        kinds = torch.arange(8) % 2
        levels = torch.tensor([1000.0, 3000.0]).expand(8, 2, 2) + 20 * torch.randn(8, 2, 2, generator=random)
        levels = levels + (kinds[:, None] * torch.tensor([600.0, 200.0]))[..., None]
        labels = kinds[:, None, None].expand(8, 8, 8)
        series = make_series(levels, [0.0, 150.0])
        return torch.full((8, 3, 8, 8), 100.0), labels, series, Metadata.unknown(8)

    def trained(kind, **values):
        method, random = kind(make_series_network(2), task, kind.Hyperparameters(**values)), torch.Generator()
        random.manual_seed(0)
        optimizer = torch.optim.Adam(method.network.parameters(), 0.05)
        for step in range(150):
            (images, labels, series, unknown), (_, _, seen, _) = batch(random), batch(random)
            source = SourceBatch(images, labels, torch.zeros(8, dtype=torch.int64), unknown, series=series)
            target = TargetBatch(images, unknown, series=seen) if method.needs.trains_on_target else None
            losses = method.step_losses(source, target, Progress(step, 150))
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            method.after_step(Progress(step, 150))
        return method.eval()

    images, labels, series, unknown = batch(torch.Generator().manual_seed(1))
    without = TargetBatch(images, unknown, series=series.only(torch.tensor([False, True])))
    settings = {"window": 0.0, "ratio": 0.6, "confidence": 0.8}
    right = [
        (method.predict(without).argmax(1) == labels).float().mean()
        for method in (trained(MaskedDates, **settings), trained(SourceOnly))
    ]
    assert right[0] > 0.95 and right[1] < 0.8
