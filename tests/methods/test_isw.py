"""Held against shachoi/RobustNet's own numbers: covariances, their clusters and the loss; and what it takes away."""

from dataclasses import replace

import pytest
import torch

from methods.base import Progress
from methods.isw import ISW, covariances, standardize, whitening_loss
from methods.source_only import SourceOnly


@pytest.fixture
def official(fixture_values):
    values = fixture_values("isw_robustnet")
    return values, values.source("shachoi/RobustNet")


def test_the_loss_on_sensitive_covariances_is_the_official_one(official, agrees):
    values, source = official
    first, second = (standardize(torch.tensor(values[name])) for name in ("in_f1", "in_f2"))
    torch.testing.assert_close(values.kept("out_whitened", first), torch.tensor(values["out_whitened"]))
    found = covariances(first) + 1e-5 * torch.eye(6)
    agrees("isw", "covariances of standardised features", found, values["out_cov"], source, rtol=1e-5, atol=1e-6)
    pair = [covariances(features).triu(1) for features in (first, second)]
    variances = (pair[0] - pair[1]).square().mean(0) / 2
    expected, quantity = values["out_var_cov_mean"], "variances of covariances over pairs"
    agrees("isw", quantity, variances, expected, source, rtol=1e-5, atol=1e-6)
    chosen = torch.tensor(values["out_mask"])
    loss, expected = whitening_loss(first, chosen), values["out_isw_loss"]
    agrees("isw", "loss on the chosen covariances", loss, expected, source, rtol=1e-5)
    every = whitening_loss(first, torch.ones(6, 6).triu(1))
    agrees("isw", "loss on all covariances", every, values["out_irw_loss_allpairs"], source, rtol=1e-5)


def test_the_chosen_covariances_are_the_official_ones(official, network, task):
    values, _ = official
    method = ISW(network, task, ISW.Hyperparameters(stages=2))
    method.variances_stage2.copy_(torch.tensor(values["out_var_cov_mean"]))
    method.choose()
    assert torch.equal(method.chosen_stage2, torch.tensor(values["out_mask"]))


def test_light_alone_leaves_no_trace_in_standardised_features(network, task, source):
    method = ISW(network, task, ISW.Hyperparameters(stages=1))
    features = torch.rand(2, 4, 16, 16)
    dark, bright = method.fuse("stage1", features), method.fuse("stage1", 3 * features + 10)
    torch.testing.assert_close(dark, bright, rtol=1e-3, atol=1e-3)
    assert dark.min() == 0 and torch.equal(method.fuse("stage2", features), features)


def _trained(network, task, source, steps=20, **values):
    method = ISW(network, task, ISW.Hyperparameters(stages=2, warm_up=0.5, **values))
    network.perturbation = method.change_features
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    found = []
    for step in range(steps):
        optimizer.zero_grad()
        method.progress = Progress(step, steps)
        losses = method.step_losses(source, None, method.progress)
        sum(losses.values()).backward()
        optimizer.step()
        found.append(losses["whitening"].item())
    return method, found


def test_after_the_warm_up_what_varies_with_light_becomes_small(network, task, source):
    method, found = _trained(network, task, source, weight=10.0)
    assert not any(found[:10]) and 0 < found[-1] < 0.8 * found[10]
    assert 0 < method.chosen_stage1.sum() < 6 and not method.chosen_stage1.tril().any()


def test_it_measures_in_eval_mode_and_in_the_second_half_of_the_warm_up(network, task, source, monkeypatch):
    steps = []
    monkeypatch.setattr(ISW, "measure", lambda self, batch: steps.append(self.progress.step))
    _trained(network, task, source)
    assert steps == [5, 6, 7, 8, 9, 10]
    monkeypatch.undo()
    method = ISW(network, task)
    network.perturbation = method.change_features
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method.measure(source)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training and method.variances_stage1.sum() > 0


def test_without_stages_it_is_source_only(network, task, source):
    network.eval()
    losses = ISW(network, task, ISW.Hyperparameters(stages=0)).step_losses(source, None, Progress(9, 10))
    assert losses == SourceOnly(network, task).step_losses(source, None, Progress(9, 10))


def test_one_image_of_an_odd_size_without_labels_under_autocast(network, task, one_odd_image):
    single = replace(one_odd_image[0], images=torch.rand(1, 3, 15, 13) * 255)
    method = ISW(network, task, ISW.Hyperparameters(warm_up=0.0))
    network.perturbation = method.change_features
    with torch.autocast("cpu", torch.bfloat16):
        losses = method.step_losses(single, None, Progress(0, 1))
    sum(losses.values()).backward()
    assert losses["whitening"] > 0 and all(weights.grad.isfinite().all() for weights in network.parameters())
