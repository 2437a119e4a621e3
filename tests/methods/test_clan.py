"""Held against RoyalVane/CLAN's own numbers; the two classifiers, who learns from what, and where it is aligned."""

import math

import pytest
import torch
from torch import nn

from methods.base import Progress
from methods.clan import CLAN, disagreement, weight_cosine, weighted_domain_loss

LATE = Progress(1, 4)


class Whole(nn.Module):
    """An encoder and a head in one module, as in the benchmark's networks."""

    def __init__(self, parts):
        super().__init__()
        self.encoder, self.segmentation_head = parts.encoder, parts.segmentation_head

    def forward(self, images):
        features = self.encoder["layer2"](self.encoder["layer1"](images))
        return nn.functional.interpolate(self.segmentation_head(features), images.shape[-2:], mode="bilinear")


class PaddedNetwork(nn.Module):
    """A network that pads its images below and to the right, and adds something to the logits."""

    def __init__(self, parts, padding):
        super().__init__()
        self.model, self.padding = Whole(parts), padding

    def forward(self, batch):
        images = nn.functional.pad((batch.images - 128) / 64, (0, self.padding, 0, self.padding), mode="replicate")
        rows, columns = batch.images.shape[-2:]
        return self.model(images)[..., :rows, :columns] + batch.images[:, :1] / 255


@pytest.fixture
def network(network):
    return PaddedNetwork(network.model, padding=4)


@pytest.fixture
def make(network, task):
    return lambda **values: CLAN(network, task, CLAN.Hyperparameters(**({"width": 8} | values)))


def test_the_disagreement_and_the_losses_equal_the_official_ones(fixture_values, agrees):
    values = fixture_values("clan_fada_proda")
    source = values.source("RoyalVane/CLAN")
    first, second, judged = (torch.tensor(values[f"in_{name}"]) for name in ("p1", "p2", "d_out"))
    found = disagreement(first.log(), second.log())
    agrees("clan", "disagreement of the classifiers", found, values["out_clan_weightmap"], source, rtol=1e-5, atol=1e-6)
    for domain, name in ((0.0, "src0"), (1.0, "trg1")):
        loss = weighted_domain_loss(judged, domain, 0.4 + 40 * found)
        quantity = f"weighted loss, domain {domain:.0f}"
        agrees("clan", quantity, loss, values[f"out_clan_wbce_{name}"], source, rtol=1e-5)


def test_both_classifiers_see_the_same_features_and_what_the_network_adds(network, make, target):
    method = make().eval()
    first, second = method.classify(target)
    torch.testing.assert_close(first, network(target))
    own, network.model.segmentation_head = network.model.segmentation_head, method.second_head
    torch.testing.assert_close(second, network(target))
    network.model.segmentation_head = own
    assert (first - second).abs().max() > 0.1
    torch.testing.assert_close(method.predict(target), (first + second) / 2)


def test_the_losses_are_those_of_the_formula(make, source, target, agrees):
    method = make(weight=0.5, discrepancy=0.25)
    nn.init.zeros_(method.second_network[-1].weight)
    nn.init.constant_(method.second_network[-1].bias, 2.0)  # it takes all for the target
    found = method.step_losses(source, target, LATE) | method.second_step_losses(LATE)
    weights = 0.4 + 40 * disagreement(*method.classify(target)).mean()
    wrong, right = math.log1p(math.exp(2)), math.log1p(math.exp(-2))
    cosine = weight_cosine(method.network.model.segmentation_head, method.second_head)
    expected = {
        "segmentation": sum(method.segmentation_loss(source, logits) for logits in method.classify(source)),
        "adversarial": 0.5 * 0.75 * weights * wrong,  # three quarters of the training are to come
        "discrepancy": 2 * 0.25 * 0.75 * (cosine + 1),
        "discriminator_source": torch.tensor(wrong),
        "discriminator_target": weights * right,
    }
    assert set(found) == set(expected)
    names = sorted(expected)
    ours, reference = (torch.stack([each[name] for name in names]) for each in (found, expected))
    agrees("clan", "losses of a step, against a constant discriminator", ours, reference, rtol=1e-5)


def test_in_the_warm_up_all_pixels_count_the_same(make, source, target):
    method = make(weight=1.0, warm_up=0.5)
    nn.init.zeros_(method.second_network[-1].weight)
    nn.init.zeros_(method.second_network[-1].bias)
    loss = method.step_losses(source, target, LATE)["adversarial"]
    assert loss.item() == pytest.approx(0.75 * math.log(2))


def test_the_network_learns_to_fool_and_the_discriminator_to_tell(network, make, source, target):
    method = make()
    losses = method.step_losses(source, target, LATE)
    encoder = network.model.encoder["layer2"][0].weight
    assert torch.autograd.grad(losses["adversarial"], encoder)[0].abs().sum() > 0
    sum(method.second_step_losses(LATE).values()).backward()
    assert encoder.grad is None and all(weights.grad is not None for weights in method.second_network.parameters())


def test_the_weights_of_the_classifiers_are_driven_apart(make, source, target):
    method = make(discrepancy=1.0)
    heads = method.network.model.segmentation_head, method.second_head
    method.second_head.load_state_dict(heads[0].state_dict())
    with torch.no_grad():
        method.second_head.weight += 0.01 * torch.randn(method.second_head.weight.shape)
    before = weight_cosine(*heads)
    optimizer = torch.optim.SGD([*heads[0].parameters(), *heads[1].parameters()], lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        method.step_losses(source, target, LATE)["discrepancy"].backward()
        optimizer.step()
    assert weight_cosine(*heads) < before - 0.1


def test_pixels_on_which_both_agree_are_aligned_least(make):
    logits = torch.zeros(1, 3, 1, 2)
    logits[0, 0, 0, :] = 4.0
    other = logits.clone()
    other[0, :, 0, 1] = torch.tensor([0.0, 4.0, 0.0])
    judged = torch.zeros(1, 1, 1, 2, requires_grad=True)
    weighted_domain_loss(judged, 0.0, 0.4 + 40 * disagreement(logits, other)).backward()
    agreed, disputed = judged.grad.flatten()
    assert disputed > 50 * agreed > 0
