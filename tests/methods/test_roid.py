"""Held against transcribed official steps (mariodoebler/test-time-adaptation, roid.py); weights and shares."""

from dataclasses import replace

import pytest
import torch

from methods.base import TargetBatch, Task
from methods.parts.metadata import Metadata
from methods.roid import ROID, likelihood_ratio, smoothed_shares, symmetric_cross_entropy

FIVE = Task(classes=("a", "b", "c", "d", "e"), bands=("red", "green", "blue"))

# forward_and_adapt on rows of pixels over the batches of the fixture "tent": SGD 0.05 with momentum 0.9, the one view
# x + 0.5 sin(0.9 k). After each batch scales and shifts, the moving average of probabilities, and the smoothed shares.
OFFICIAL = "mariodoebler/test-time-adaptation@376ef2a, its steps transcribed"
# fmt: off
WEIGHTS = [
    [1.5344318151474, 1.3267766237258911, 0.9539546966552734, 0.600219190120697,
     0.27209556102752686, 0.09771840274333954, -0.17061148583889008, -0.3674561679363251],
    [1.9390350580215454, 1.6410175561904907, 1.0135388374328613, 0.3425794541835785,
     0.7222052812576294, 0.5989916920661926, 0.06170639768242836, -0.5578041076660156],
    [2.372699499130249, 1.9785499572753906, 1.0935654640197754, 0.11341448873281479,
     1.3667349815368652, 1.3744248151779175, 0.4493425488471985, -0.7271347045898438],
]
AVERAGES = [
    [0.18740041553974152, 0.2186397910118103, 0.19219987094402313, 0.20073863863945007, 0.2010212540626526],
    [0.1757737547159195, 0.24221719801425934, 0.18430286645889282, 0.19797489047050476, 0.19973124563694],
    [0.16340968012809753, 0.2740713655948639, 0.17440125346183777, 0.19289901852607727, 0.19521862268447876],
]
SHARES = [
    [0.16488417983055115, 0.2519502639770508, 0.17826054990291595, 0.20205864310264587, 0.20284630358219147],
    [0.15973731875419617, 0.27948853373527527, 0.17288970947265625, 0.19159583747386932, 0.196288600564003],
    [0.14687345921993256, 0.32961568236351013, 0.1587851494550705, 0.18103548884391785, 0.18369024991989136],
]
# fmt: on


def roid(network, task, **values):
    return ROID(network, task, ROID.Hyperparameters(**values)).eval()


def affine(method):
    return torch.cat([weights.detach().flatten() for weights in method.affine])


def test_three_batches_equal_the_official_run(fixture_values, official_network, official_batches, agrees):
    method = roid(official_network(), FIVE, learning_rate=0.05)
    view = 0.5 * torch.sin(0.9 * torch.arange(384, dtype=torch.float64)).view(2, 3, 8, 8).float()
    method._view = lambda batch: replace(batch, images=batch.images + view)
    weights, averages, shares = [], [], []
    for batch in official_batches(fixture_values("tent")):
        with torch.no_grad():
            shares.append(smoothed_shares(method._logits(batch)))
            corrected = method._logits(batch) + shares[-1].log().view(1, 5, 1, 1)
            assert torch.equal(method.predict(batch), corrected)
        method.adapt(batch)
        weights.append(affine(method))
        averages.append(method.average.clone())
    for quantity, found, expected in (
        ("scales and shifts after each of three batches", weights, WEIGHTS),
        ("moving average of probabilities after each of three batches", averages, AVERAGES),
        ("smoothed class shares of each of three batches", shares, SHARES),
    ):
        agrees("roid", quantity, torch.stack(found), expected, OFFICIAL, rtol=2e-5, atol=1e-6)


def test_the_loss_still_teaches_where_entropy_has_no_slope_left():
    """At p = 0.97 against 0.03, the slope of the likelihood ratio is the larger one many times over."""
    logits = torch.tensor([3.5, 0.0]).view(1, 2, 1, 1).requires_grad_()
    probabilities = logits.softmax(1)
    hard = -(probabilities * probabilities.log()).sum(1)
    slopes = [torch.autograd.grad(loss.sum(), logits)[0].abs().max() for loss in (likelihood_ratio(logits), hard)]
    assert slopes[0] > 5 * slopes[1]
    p, q = 0.75, 0.25
    two = torch.tensor([p, q]).log().view(1, 2, 1, 1)
    expected = -(p * torch.tensor(p / q).log() + q * torch.tensor(q / p).log())
    torch.testing.assert_close(likelihood_ratio(two).item(), expected.item(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(symmetric_cross_entropy(two, two), -(two.exp() * two).sum(1))


def test_pixels_unlike_the_average_and_certain_ones_weigh_most(network, task):
    method = roid(network, task)
    method.average.copy_(torch.tensor([0.9, 0.05, 0.05]))
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 1, 0], [9, 0, 0]]).T.view(1, 3, 1, 4)
    usual, rare, unsure, again = method._weights(logits).flatten().tolist()
    assert usual == again == 0 and rare == pytest.approx(torch.tensor(3.0).exp().item(), rel=1e-3) and rare > unsure > 0
    torch.testing.assert_close(
        method.average, 0.9 * torch.tensor([0.9, 0.05, 0.05]) + 0.1 * logits.softmax(1).mean((0, 2, 3))
    )


def test_all_pixels_alike_are_no_division_by_zero(network, task):
    weights = roid(network, task)._weights(torch.ones(2, 3, 4, 4))
    assert weights.isfinite().all()


def test_the_weights_lean_on_the_source(make_network, task, target):
    """Without a learning rate, weights that were moved come back by a share at each step."""
    method = roid(make_network(), task, learning_rate=0.0, momentum=0.9)
    start = affine(method)
    with torch.no_grad():
        for weights in method.affine:
            weights.add_(1.0)
    for _ in range(2):
        method.adapt(target)
    torch.testing.assert_close(affine(method) - start, torch.full_like(start, 0.81), rtol=1e-4, atol=1e-5)


def test_the_correction_lifts_the_class_that_prevails(network, task, target):
    plain, corrected = (roid(network, task, prior_correction=on).predict(target) for on in (False, True))
    shares = plain.softmax(1).mean((0, 2, 3))
    gains = (corrected - plain).mean((0, 2, 3))
    assert gains.argsort().tolist() == shares.argsort().tolist() and (corrected.argmax(1) != plain.argmax(1)).any()
    torch.testing.assert_close(smoothed_shares(torch.zeros(1, 3, 4, 4)), torch.full((3,), 1 / 3))


def test_the_view_differs_in_light_and_not_in_height(network, task, target):
    view = roid(network, task)._view(target)
    assert torch.equal(view.images[:, 2], target.images[:, 2]) and not torch.equal(view.images, target.images)


def test_one_image_of_odd_size(network, task):
    batch = TargetBatch(torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255, Metadata.unknown(1))
    method = roid(network, task)
    method.adapt(batch)
    assert method.predict(batch).isfinite().all()
