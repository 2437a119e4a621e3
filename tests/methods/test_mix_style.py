"""Held against KaiyangZhou/mixstyle-release's own numbers, and when and with whom styles are mixed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from methods.base import IGNORE, Progress
from methods.mix_style import MixStyle, mix_styles
from methods.parts.feature_statistics import channel_statistics

ALWAYS = MixStyle.Hyperparameters(probability=1.0)


@pytest.mark.parametrize(
    ("dtype", "suffix", "rtol", "atol"), [(torch.float32, "", 1e-5, 1e-6), (torch.float64, "64", 1e-9, 1e-12)]
)
def test_mixing_and_its_gradient_equal_the_official_ones(fixture_values, dtype, suffix, rtol, atol, agrees):
    values = fixture_values("mixstyle")
    features = torch.tensor(values["in_x"], dtype=dtype, requires_grad=True)
    shares = torch.tensor(values["in_lmda"], dtype=dtype).flatten()
    mixed = mix_styles(features, torch.tensor(values["in_perm"]), shares)
    (mixed * torch.tensor(values["in_gweight"], dtype=dtype)).sum().backward()
    ours = {"out_y" + suffix: mixed, "out_grad_x" + suffix: features.grad}
    found = torch.stack([values.kept(name, numbers) for name, numbers in ours.items()])
    expected = np.stack([values[name] for name in ours])
    quantity = f"features of mixed style and their gradient, in {str(dtype).removeprefix('torch.')}"
    source = values.source("KaiyangZhou/mixstyle-release")
    agrees("mix-style", quantity, found, expected, source, rtol=rtol, atol=atol)


def test_an_image_in_its_partner_s_style_looks_like_its_partner():
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pair = torch.cat([image, 2 * image + 5])  # the same ground under other light
    mixed = mix_styles(pair, torch.tensor([1, 0]), torch.zeros(2))
    torch.testing.assert_close(mixed, pair.flip(0), rtol=1e-4, atol=1e-4)


def test_styles_are_mixed_after_the_first_stages_only(network, task, source):
    for stages, changed in ((1, [True, False, False]), (2, [True, True, False])):
        method = MixStyle(network, task, replace(ALWAYS, stages=stages))
        method.step_losses(source, None, Progress(0, 1))
        features = torch.rand(4, 3, 8, 8)
        found = [method.change_features(name, features) is not features for name in ("stage1", "stage2", "stage3")]
        assert found == changed


def test_partners_come_from_other_domains_where_asked(network, task, source):
    method = MixStyle(network, task, replace(ALWAYS, partners="cross-domain"))
    features = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    features += torch.tensor([0.0, 0.0, 100.0, 100.0])[:, None, None, None]  # the domains' styles
    method.step_losses(source, None, Progress(0, 50))  # from here it knows the domains
    foreign = 0
    for step in range(50):
        method.progress = Progress(step, 50)
        means = channel_statistics(method.change_features("stage1", features), 0.0)[0].flatten()
        foreign += ((means - features.mean((1, 2, 3))).abs() > 50).sum().item()
    # Every image has a foreign partner, whose style is more than half of the mix in half of the draws: 100 of 200.
    # With partners of any domain it would be half as many. The standard deviation is 7.
    assert 75 < foreign < 125


def test_shares_are_those_of_the_step_and_the_stage(network, task, source, monkeypatch):
    drawn = []
    monkeypatch.setattr("methods.mix_style.mix_styles", lambda features, partners, shares: drawn.append(shares))
    method = MixStyle(network, task, ALWAYS)
    method.step_losses(replace(source, domains=torch.zeros(400, dtype=torch.int64)), None, Progress(0, 9))
    for step, stage in ((3, "stage1"), (3, "stage1"), (4, "stage1"), (3, "stage2")):
        method.progress = Progress(step, 9)
        method.change_features(stage, torch.zeros(400, 1, 1, 1))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[3])
    # Beta(0.1, 0.1) has mean 1/2 and variance 1 / (4 (2 * 0.1 + 1)) = 0.208: most shares are almost 0 or 1.
    shares = torch.cat(drawn[1:])
    assert abs(shares.mean().item() - 0.5) < 0.05 and abs(shares.var().item() - 0.208) < 0.02


def test_it_happens_in_training_and_as_often_as_asked(network, task, source):
    method = MixStyle(network, task)  # half of the times
    features = torch.rand(4, 3, 8, 8)
    method.step_losses(source, None, Progress(0, 100))
    changed = 0
    for step in range(100):
        method.progress = Progress(step, 100)
        changed += method.change_features("stage1", features) is not features
    assert 30 < changed < 70
    assert method.eval().change_features("stage1", features) is features
    never = MixStyle(network, task, replace(ALWAYS, probability=0.0))
    assert never.change_features("stage1", features) is features


@pytest.mark.parametrize("partners", ["random", "cross-domain"])
def test_one_image_of_which_nothing_is_labelled(network, task, source, partners):
    method = MixStyle(network, task, replace(ALWAYS, partners=partners))
    network.perturbation = method.change_features
    single = replace(
        source,
        images=source.images[:1, :, :31, :29],
        labels=torch.full((1, 31, 29), IGNORE),
        domains=source.domains[:1],
    )
    loss = method.step_losses(single, None, Progress(0, 1))["segmentation"]
    loss.backward()
    assert loss.item() == 0
    assert all(weights.grad.isfinite().all() for weights in network.parameters())
