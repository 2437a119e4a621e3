"""Held against hehaodele/CIDA's own numbers: the errors; who learns what from them, and what is masked."""

import math
from dataclasses import replace

import pytest
import torch

from methods.base import IGNORE, Progress, SourceBatch, TargetBatch
from methods.continuous_domain_adversary import (
    ContinuousDomainAdversary,
    gaussian_errors,
    index_regressor,
    square_errors,
)
from methods.parts.metadata import Metadata, domain_index

FIRST = Progress(0, 1)
MIDDLE = (489353.59, 6587552.2)  # metres; x and y are 0 in the domain index


def played(network, task, **hyperparameters):
    torch.manual_seed(0)
    values = {"width": 32} | hyperparameters
    method = ContinuousDomainAdversary(network, task, ContinuousDomainAdversary.Hyperparameters(**values))
    network.perturbation = method.change_features
    return method


@pytest.fixture
def known():
    """Of four patches on the way east through the year, 1 being 500 km."""
    way = torch.linspace(-1, 1, 4)
    known = {"x": MIDDLE[0] + 5e5 * way, "y": torch.full((4,), MIDDLE[1]), "month": torch.tensor([1.0, 4.0, 7.0, 10.0])}
    return replace(Metadata.unknown(4), **known, day=torch.ones(4))


def test_the_errors_equal_the_official_ones(fixture_values, agrees):
    method, values = "continuous-domain-adversary", fixture_values("metadata_cida_flair_geomt")
    source = values.source("hehaodele/CIDA")
    judged, index = torch.tensor(values["in_cida_d"]), torch.tensor(values["in_cida_u"])
    gaussian, square = gaussian_errors(judged, index).mean(), square_errors(judged[:, :2], index).mean()
    agrees(method, "Gaussian error of the adversary", gaussian, values["out_pcida_nll"], source, rtol=1e-5)
    agrees(method, "mean square error of the adversary", square, values["out_cida_mse"], source, rtol=1e-5)


class Fixed(torch.nn.Module):
    """An adversary that says the same of whatever it sees."""

    def __init__(self, judged):
        super().__init__()
        self.judged = judged

    def forward(self, features):
        return self.judged + 0 * features.mean()


@pytest.mark.parametrize(("error", "of"), [("mse", float), ("gaussian", lambda square: (square / math.e + 1) / 2)])
def test_the_loss_is_minus_the_mean_error_of_both_domains(network, task, source, target, known, error, of):
    """The adversary says u + 2 with a log variance of 1 in the source, where all squares are 4. The target lies one
    unit further in one of the four numbers: its squares are 4, 4, 1 and 4, 3.25 in the mean."""
    method = played(network, task, error=error, weight=0.5)
    judged = domain_index(known) + 2
    method.second_network = Fixed(torch.cat((judged, torch.ones(4, 4)), 1) if error == "gaussian" else judged)
    further = replace(known, x=known.x + 5e5)
    losses = method.step_losses(replace(source, metadata=known), replace(target, metadata=further), FIRST)
    assert losses["adversarial"].item() == pytest.approx(-0.5 * (of(4) + of(3.25)) / 2, rel=1e-4)
    losses = method.second_step_losses(FIRST)
    assert [loss.item() for loss in losses.values()] == pytest.approx([of(4) / 2, of(3.25) / 2], rel=1e-4)


def test_what_is_unknown_counts_in_no_error(network, task, source, target, known):
    """The date of two patches, and the y of all, is unknown: 2 sines, 2 cosines and 4 x remain of 16 numbers."""
    part = replace(known, y=torch.full((4,), math.nan), month=torch.tensor([math.nan, math.nan, 7.0, 10.0]))
    method = played(network, task, weight=1.0, index_to_encoder=False)
    method.second_network = Fixed(torch.zeros(4, 4))
    losses = method.step_losses(replace(source, metadata=part), replace(target, metadata=part), FIRST)
    # July is half a turn, sin 0 and cos -1; October three quarters, sin -1 and cos 0; x is -1, -1/3, 1/3, 1.
    assert losses["adversarial"].item() == pytest.approx(-(1 + 1 + 2 + 2 / 9) / 8, rel=1e-4)


@pytest.mark.parametrize("error", ["mse", "gaussian"])
def test_nothing_known_of_one_patch(network, task, source, target, error):
    """No label, no place and no date: all losses are 0, and the weights stay."""
    method = played(network, task, error=error)
    one = SourceBatch(
        source.images[:1], torch.full_like(source.labels[:1], IGNORE), source.domains[:1], Metadata.unknown(1)
    )
    losses = method.step_losses(one, TargetBatch(target.images[:1], Metadata.unknown(1)), FIRST)
    losses |= method.second_step_losses(FIRST)
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0, 0, 0]
    assert not any(parameter.grad.any() for parameter in method.parameters() if parameter.grad is not None)


def test_network_and_adversary_learn_from_their_own_losses(network, task, source, target, known):
    method = played(network, task)
    losses = method.step_losses(replace(source, metadata=known), replace(target, metadata=known), FIRST)
    trained = [*network.model.encoder.parameters(), *method.index_encoder.parameters()]
    grown = torch.autograd.grad(losses["adversarial"], trained)
    assert all(gradient.isfinite().all() for gradient in grown) and grown[0].any() and grown[-1].any()
    sum(method.second_step_losses(FIRST).values()).backward()
    assert all(parameter.grad is None for parameter in trained), "the adversary's loss must not reach the network"
    assert all(parameter.grad is not None for parameter in method.second_network.parameters())


def test_the_adversary_finds_the_index_and_the_network_hides_it(network, task, source):
    """Images that get brighter eastward. An adversary that knows no image errs by the variance of x, 5/9 here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on tensors so small, several only wait for each other
    method = played(network, task, weight=1.0, index_to_encoder=False, learning_rate=3e-3)
    way = torch.linspace(-1, 1, 4)
    east = replace(Metadata.unknown(4), x=MIDDLE[0] + 5e5 * way)
    images = (128 + 100 * way)[:, None, None, None].expand(4, 3, 8, 8)
    batches = SourceBatch(images, source.labels[:, :8, :8], source.domains, east), TargetBatch(images, east)
    method.step_losses(*batches, FIRST)
    optimizer = method.second_optimizer(method.second_network.parameters())
    for _ in range(40):
        optimizer.zero_grad()
        found = sum(method.second_step_losses(FIRST).values())
        found.backward()
        optimizer.step()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        adversarial = method.step_losses(*batches, FIRST)["adversarial"]
        adversarial.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    assert found.item() < 0.1 and -adversarial.item() > 5 / 9


def test_the_encoder_is_told_the_index_of_its_batch(network, task, target, known):
    method = played(network, task).eval()
    images = target.images[:1].expand(4, -1, -1, -1)
    east = method.predict(TargetBatch(images, known))
    assert east.flip(0).allclose(method.predict(TargetBatch(images, known.take(torch.tensor([3, 2, 1, 0])))))
    assert not east[0].allclose(east[1])
    unknown = method.predict(TargetBatch(images, Metadata.unknown(4)))
    assert unknown.isfinite().all() and network(TargetBatch.of(images)).equal(unknown), "and forgets it afterwards"
    assert network(TargetBatch.of(images[:1])).shape == (1, 3, 32, 32)
    features = torch.zeros(1, 4, 2, 2)
    assert method.change_features("stage1", features) is features


def test_the_encoder_need_not_be_told(network, task, target, known):
    method = played(network, task, index_to_encoder=False).eval()
    plain = network(target)
    assert method.predict(replace(target, metadata=known)).equal(plain)
    assert not [name for name, _ in method.named_parameters() if name.startswith("index_encoder")]


def test_features_that_only_grow_do_not_win():
    """Without normalisation what the adversary says would grow with them, and its error without bound."""
    regressor = index_regressor(6, 4, 32)
    features = torch.rand(1, 6, 5, 3)
    torch.testing.assert_close(regressor(1e4 * features), regressor(1e6 * features), rtol=1e-2, atol=1e-3)


def test_the_settings_of_the_adversarys_adam_are_the_published_ones(network, task):
    method = played(network, task)
    settings = method.second_optimizer(method.second_network.parameters()).param_groups[0]
    assert (settings["lr"], settings["betas"], settings["weight_decay"]) == (2e-4, (0.9, 0.999), 5e-4)
