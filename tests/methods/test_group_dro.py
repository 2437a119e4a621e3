"""Held against kohpangwei/group_DRO's and DomainBed's own numbers: the weights, and the loss formed with them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from methods.base import IGNORE, Progress, SourceBatch, Task
from methods.group_dro import GroupDRO
from methods.parts.metadata import Metadata

CLASSES = tuple("abcde")
TASK = Task(classes=CLASSES, bands=CLASSES, domains=("0", "1", "2"))


class Identity(nn.Module):
    def forward(self, batch):
        return batch.images


@pytest.fixture
def samples(fixture_values):
    """The fixture's rows as images of one pixel, and its values."""
    values = fixture_values("groupdro")
    logits = [torch.tensor(values[f"in_logits{domain}"]) for domain in range(3)]
    labels = torch.cat([torch.tensor(values[f"in_labels{domain}"]) for domain in range(3)])
    domains = torch.cat([torch.full((len(rows),), domain) for domain, rows in enumerate(logits)])
    return SourceBatch(
        torch.cat(logits)[:, :, None, None], labels[:, None, None], domains, Metadata.unknown(24)
    ), values


def _method(step_size=0.01, task=TASK):
    return GroupDRO(Identity(), task, GroupDRO.Hyperparameters(step_size))


@pytest.mark.parametrize(
    ("repository", "code"), [("facebookresearch/DomainBed", "domainbed"), ("kohpangwei/group_DRO", "official_plain")]
)
def test_three_steps_equal_the_official_ones(samples, repository, code, agrees):
    batch, values = samples
    method, losses = _method(), []
    for step in range(3):
        losses.append(method.step_losses(batch, None, Progress(step, 3))["robust"].item())
        torch.testing.assert_close(method.log_weights.exp(), torch.tensor(values[f"out_{code}_q_steps"][step]))
    quantity, expected = f"loss of three steps ({repository.split('/')[1]})", values[f"out_{code}_loss_steps"]
    agrees("group-dro", quantity, losses, expected, values.source(repository), rtol=1e-6)


def test_a_long_step_equals_the_official_one(samples, agrees):
    batch, values = samples
    method = _method(step_size=1.0)
    loss = method.step_losses(batch, None, Progress(0, 1))["robust"]
    assert loss.item() == pytest.approx(float(values["out_domainbed_eta1_loss"]), rel=1e-6)
    weights, expected = method.log_weights.exp(), torch.tensor(values["out_domainbed_eta1_q"])
    torch.testing.assert_close(weights, expected)
    quantity, source = "weight of the hardest domain after a long step", values.source("facebookresearch/DomainBed")
    agrees("group-dro", quantity, weights.max(), expected.max(), source, rtol=1e-6)


def test_a_domain_that_is_absent_counts_as_loss_0_in_the_weights(samples):
    batch, values = samples
    rows = slice(0, 14)
    batch = SourceBatch(batch.images[rows], batch.labels[rows], batch.domains[rows], batch.metadata.take(rows))
    method = _method()
    method.step_losses(batch, None, Progress(0, 1))
    torch.testing.assert_close(method.log_weights.exp(), torch.tensor(values["out_official_missing_group_q"]))


def test_half_of_the_domains_stand_for_all(network, task, source):
    # Of two domains only the second is there: 2 * q_2 * L_2, where q_2 = e^L_2 / (1 + e^L_2) after a step of size 1.
    source = replace(source, domains=torch.ones(4, dtype=torch.int64))
    plain = GroupDRO(network, task).segmentation_loss(source)
    loss = GroupDRO(network, task, GroupDRO.Hyperparameters(1.0)).step_losses(source, None, Progress(0, 1))["robust"]
    torch.testing.assert_close(loss, 2 * plain.sigmoid() * plain)


def test_the_domain_that_does_badly_gets_the_weight(network, task, source):
    labels = source.labels.clone()
    with torch.no_grad():
        labels[:2] = network(source)[:2].argmax(1)  # the first domain is easy
    method = GroupDRO(network, task, GroupDRO.Hyperparameters(1.0))
    for step in range(10):
        method.step_losses(replace(source, labels=labels), None, Progress(step, 10))
    assert method.log_weights.exp()[1] > 0.9
    saved = GroupDRO(network, task)
    saved.load_state_dict(method.state_dict())
    assert torch.equal(saved.log_weights, method.log_weights), "the weights survive a resume"


def test_a_weight_that_became_tiny_can_come_back():
    method = _method()
    method.log_weights.copy_(torch.tensor([0.0, -200.0, -200.0]).log_softmax(0))
    images = torch.zeros(3, 5, 1, 1)
    images[1] = torch.tensor([-1000.0, 0, 0, 0, 0])[
        :, None, None
    ]  # so its loss is 1000 + ln 4, and ln q rises by 10 a step
    batch = SourceBatch(images, torch.zeros(3, 1, 1, dtype=torch.int64), torch.arange(3), Metadata.unknown(3))
    for step in range(25):
        method.step_losses(batch, None, Progress(step, 25))
    assert method.log_weights.exp()[1] > 0.99


def test_with_one_domain_it_is_plain_training(network, source):
    task = Task(classes=("water", "forest", "field"), bands=("red", "nir", "height"), domains=("P1@2020",))
    source = replace(source, domains=torch.zeros(4, dtype=torch.int64))
    method = GroupDRO(network, task)
    torch.testing.assert_close(
        method.step_losses(source, None, Progress(0, 1))["robust"], method.segmentation_loss(source)
    )


def test_a_batch_of_ignored_pixels_changes_nothing(network, task, source):
    method = GroupDRO(network, task)
    before = method.log_weights.clone()
    ignored = replace(source, labels=torch.full_like(source.labels, IGNORE))
    loss = method.step_losses(ignored, None, Progress(0, 1))["robust"]
    loss.backward()
    assert loss == 0 and not any(parameter.grad.any() for parameter in network.parameters())
    torch.testing.assert_close(method.log_weights, before)
