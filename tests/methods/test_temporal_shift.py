"""The score worked out by hand; planted days found through a network that knows what grows when, by construction."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from methods import temporal_shift
from methods.base import IGNORE, Progress, SeriesBatch, SourceBatch, TargetBatch
from methods.parts.metadata import Metadata
from methods.temporal_shift import BATCHES, TemporalShift, activation_score

AFTER = Progress(4, 5)  # warmed up, at the end of a round
PEAKS = torch.tensor([-70.0, 0.0, 60.0])  # the day on which each class is greenest
CLASSES = torch.tensor([0, 1, 2, 1])  # of the patches


def green(days, peak):
    return torch.exp(-(((days - peak) / 25) ** 2))


class Phenologist(nn.Module):
    """Says how well a series fits to what each class looks like on its days."""

    def __init__(self):
        super().__init__()
        self.trust = nn.Parameter(torch.tensor(60.0))

    def forward(self, batch):
        series = batch.series
        errors = series.values[:, :, 0, :1, :1] - green(series.days[:, :, None, None], PEAKS[:, None, None, None, None])
        errors = (errors.square() * series.valid[:, :, None, None]).sum(2) / series.valid.sum(1)[:, None, None]
        return (-self.trust * errors).movedim(0, 1).expand(-1, -1, *batch.images.shape[-2:])


def series_of(early):
    """Patches of known classes, whose season is early by some days."""
    days = torch.arange(-130.0, 130.0, 10).expand(4, -1)
    values = green(days + early, PEAKS[CLASSES][:, None])[..., None, None, None]
    return SeriesBatch(values, days, torch.ones_like(days, dtype=torch.bool))


def source_of(early=0.0):
    labels = CLASSES[:, None, None].expand(4, 8, 8).clone()
    domains, metadata = torch.tensor([0, 0, 1, 1]), Metadata.unknown(4)
    return SourceBatch(torch.zeros(4, 3, 8, 8), labels, domains, metadata, series=series_of(early))


def target_of(early):
    return TargetBatch(torch.zeros(4, 3, 8, 8), Metadata.unknown(4), series=series_of(early))


def made(task, **values):
    return TemporalShift(Phenologist(), task, TemporalShift.Hyperparameters(**values))


def test_the_score_is_that_of_the_formula(agrees):
    likely, unsure = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]), torch.tensor([0.3, 0.2])
    shares = torch.tensor([0.5, 0.5, 0.0])
    # 0.5 ln 2 and 0.5 ln 2 + 0.5 ln 2; a class without a share adds nothing.
    expected = [0.5 * math.log(2) + 0.3, math.log(2) + 0.2]
    quantity = "score of two candidates"
    agrees("temporal-shift", quantity, activation_score(likely, unsure, shares), expected, rtol=1e-6)


@pytest.mark.parametrize("early", [-40, -13, 0, 30, 46])
def test_planted_days_are_found_with_their_sign(early, task):
    method = made(task, weight=0.0)
    method.step_losses(source_of(), target_of(float(early)), AFTER)
    assert abs(method.days.item() - early) <= 2, "within the distance of two candidates"
    assert not method.likely.any() and not method.unsure.any(), "the next round starts from nothing"


def test_the_days_decide_what_is_predicted_of_the_target_and_not_of_the_source(task):
    method = made(task, weight=0.0).eval()
    late = target_of(-60.0)
    truth = CLASSES[:, None, None].expand(4, 8, 8)
    assert (method.predict(late).argmax(1) == truth).float().mean() < 0.8, "before, a season looks like another class"
    method.step_losses(source_of(), late, AFTER)
    assert torch.equal(method.predict(late).argmax(1), truth)
    own = target_of(0.0)
    assert torch.equal(method.predict_source(own), method.network(own))


def test_what_is_found_is_kept_with_the_weights(task):
    method, again = made(task, weight=0.0), made(task)
    method.step_losses(source_of(), target_of(30.0), AFTER)
    again.load_state_dict(method.state_dict())
    assert again.days.item() == 30 and torch.equal(again.class_pixels, torch.tensor([64, 128, 64]))


def test_it_is_estimated_anew_at_the_end_of_each_round_once_warmed_up(task, monkeypatch):
    monkeypatch.setattr(temporal_shift, "CANDIDATES", [0, -2, 2])
    method, calls = made(task, weight=0.0), []
    method.teacher.register_forward_pre_hook(lambda teacher, inputs: calls.append(method.progress.step))
    for step in range(100):
        method.step_losses(source_of(), target_of(0.0), Progress(step, 100))
    ends = range(40, 101, 20)  # two rounds of twenty steps are the warm-up
    expected = [step for end in ends for step in range(end - BATCHES, end)]
    assert sorted(set(calls)) == expected and calls.count(99) == 3, "a pass for each candidate"


def test_the_network_learns_what_the_teacher_is_sure_of_and_sees_some_of_the_dates(task, agrees):
    method, seen = made(task, weight=3.0, dates=0.5, confidence=0.9), []
    method.days.fill_(30.0)
    target = target_of(30.0)
    logits = torch.zeros(4, 3, 8, 8)
    logits[:2, 1], logits[2:, 2] = 10.0, 1.0  # sure of two patches
    method.teacher.forward = lambda batch: logits
    method.teacher.register_forward_pre_hook(lambda teacher, inputs: seen.append(inputs[0].series))
    method.network.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[0].series))
    loss = method.step_losses(source_of(), target, Progress(40, 100))["target"]
    own, taught, learned = seen
    assert torch.equal(own.days, source_of().series.days), "the source's dates stay"
    assert torch.equal(taught.days, target.series.days + 30) and taught.valid.all()
    assert torch.equal(learned.days, taught.days) and 0.3 < learned.valid.float().mean() < 0.7
    labels = torch.full((4, 8, 8), IGNORE)
    labels[:2] = 1
    expected = 3 * 0.5 * F.cross_entropy(method.network(replace(target, series=learned)), labels, ignore_index=IGNORE)
    agrees("temporal-shift", "loss on the target", loss, expected, rtol=1e-6)


def test_where_the_teacher_is_sure_of_nothing_there_is_nothing_to_learn(task):
    method = made(task, confidence=1.0)
    losses = method.step_losses(source_of(), target_of(0.0), Progress(40, 100))
    assert losses["target"] == 0
    losses["target"].backward()
    assert method.network.trust.grad == 0


@pytest.mark.parametrize(("weight", "step"), [(0.0, 50), (2.0, 39)])
def test_without_its_weight_and_before_it_is_warmed_up_the_network_sees_the_source_alone(weight, step, task):
    method, source, seen = made(task, weight=weight), source_of(), []
    method.network.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[0]))
    assert set(method.step_losses(source, target_of(0.0), Progress(step, 100))) == {"segmentation"}
    assert len(seen) == 1 and seen[0] is source


def test_a_batch_without_a_series_is_predicted_as_it_is(network, task, target):
    method = TemporalShift(network, task).eval()
    method.days.fill_(30.0)
    assert torch.equal(method.predict(target), network(target))
