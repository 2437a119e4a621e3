"""Held against lhoyer/DAFormer's own numbers: classes of cells, the distance, rare-class sampling; and the warm-up."""

import json
from dataclasses import replace

import pytest
import torch

from methods.base import IGNORE, MethodError, Progress
from methods.dacs import DACS, rare_class_weights
from methods.daformer import DAFormer, cell_classes, indices_of, masked_distance

STEP = Progress(3, 10)


def test_the_classes_of_cells_and_the_distance_equal_the_official_ones(fixture_values, agrees):
    values = fixture_values("daformer_rcs_fd")
    source, labels = values.source("lhoyer/DAFormer"), torch.tensor(values["in_gt"][:, 0])
    features, pretrained = (torch.tensor(values[name]) for name in ("in_feat", "in_feat_imnet"))
    for share, name in ((0.75, "out_gt_down_r4_0p75"), (0.5, "out_gt_down_r4_0p5")):
        found = cell_classes(labels, 7, features.shape[-2:], share)
        official = values[name][:, 0].clip(max=7)  # 255 there is "none" here
        agrees("daformer", f"classes of cells, {share} of one class", found, official, source, rtol=0, atol=0.5)
    chosen = torch.isin(cell_classes(labels, 7, features.shape[-2:], 0.5), torch.tensor([1, 3, 5]))
    assert torch.equal(chosen, torch.tensor(values["out_fd_mask"][:, 0]))
    distance = masked_distance(features, pretrained, chosen)
    agrees("daformer", "feature distance of three classes", distance, values["out_fd_masked"], source, rtol=1e-5)
    distance = masked_distance(features, pretrained, torch.ones_like(chosen))
    agrees("daformer", "feature distance of all cells", distance, values["out_fd_all"], source, rtol=1e-5)


@pytest.mark.parametrize(("temperature", "name"), [(0.01, "T0p01"), (0.1, "T0p1")])
def test_rare_classes_are_drawn_as_officially(temperature, name, fixture_values, agrees):
    values = fixture_values("daformer_rcs_fd")
    images = json.loads(str(values["in_class_stats"]))
    pixels = torch.tensor([[image.get(str(label), 0) for label in range(6)] for image in images])
    chance = torch.zeros(6, dtype=torch.float64)
    chance[values[f"out_rcs_classes_{name}"]] = torch.tensor(values[f"out_rcs_probs_{name}"], dtype=torch.float64)
    holds = (pixels > 0).double()
    official = holds @ (chance / holds.sum(0))  # a class first, then any image that holds it
    found, quantity = rare_class_weights(pixels, temperature), f"how often each image is drawn, {temperature}"
    agrees("daformer", quantity, found, official, values.source("lhoyer/DAFormer"), rtol=1e-5)


def moved(network):
    with torch.no_grad():
        network.model.encoder["layer2"][1].bias += 0.5


def test_the_distance_is_that_of_now_to_the_first_weights_on_cells_of_things(network, task, source, target, agrees):
    method = DAFormer(network, task, DAFormer.Hyperparameters(distance_weight=2.0, things="forest"))
    stripes = torch.zeros(4, 32, 32, dtype=torch.int64)
    stripes[:, :, 4:9] = 1  # cells of 2 x 2 pixels: 2 and 3 are forest, and half of 4
    source = replace(source, labels=stripes)
    logits, first = network(source, return_features=True)
    assert method.distance(source, first) == 0
    moved(network)
    logits, now = network(source, return_features=True)
    expected = method.segmentation_loss(source, logits) + 2 * (now - first)[..., 2:4].norm(dim=1).mean()
    found = method.step_losses(source, target, STEP)["segmentation"]
    agrees("daformer", "loss on the source, with the distance to the first features", found, expected, rtol=1e-6)


def test_the_distance_holds_the_features_of_things_and_no_others(network, task, source):
    method = DAFormer(network, task, DAFormer.Hyperparameters(things="forest+water"))
    moved(network)
    for label, pulls in ((0, True), (1, True), (2, False), (IGNORE, False)):
        network.zero_grad()
        labelled = replace(source, labels=torch.full_like(source.labels, label))
        method.distance(labelled, network(source, return_features=True)[1]).backward()
        slope = network.model.encoder["layer2"][1].bias.grad
        assert (slope.sum() > 0) == pulls and slope.isfinite().all()
    assert all(weights.grad is None for weights in method.pretrained.parameters())


@pytest.mark.parametrize(("names", "indices"), [("", [0, 1, 2]), ("field+water", [2, 0]), ("forest", [1])])
def test_things_are_named(names, indices, task):
    assert indices_of(names, task.classes) == indices


def test_a_thing_that_is_no_class_is_refused(network, task):
    with pytest.raises(MethodError, match="no class 'pool'; it has water, forest, field"):
        DAFormer(network, task, DAFormer.Hyperparameters(things="water+pool"))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_the_steps_of_the_warm_up_are_those_of_a_smaller_rate(optimizer, make_network, task, source, target):
    ends = []
    for warm_up, rates in ((0.5, (0.1,) * 4), (0.0, (0.05, 0.1, 0.1, 0.1))):  # 2 of 4 steps
        network = make_network()
        method = DAFormer(network, task, DAFormer.Hyperparameters(warm_up=warm_up))
        trained = optimizer(network.parameters(), lr=0.1, weight_decay=0.1)
        for step, rate in enumerate(rates):
            trained.param_groups[0]["lr"] = rate
            trained.zero_grad()
            sum(method.step_losses(source, target, Progress(step, 4)).values()).backward()
            trained.step()
            method.after_step(Progress(step, 4))
        ends.append(network.model.segmentation_head.weight.detach())
    torch.testing.assert_close(*ends)


def test_the_mixture_is_that_of_dacs_and_rare_classes_are_drawn_often(network, task, source, target):
    dacs = DACS(network, task, DACS.Hyperparameters(strength=0.2, rare_classes=True))
    method = DAFormer(network, task)
    pixels = torch.tensor([[1000, 0, 0]] * 9 + [[900, 0, 100]])
    assert method.sampling_weights(pixels)[-1] > 0.9
    torch.testing.assert_close(method.sampling_weights(pixels), dacs.sampling_weights(pixels))
    labels, share = method.teach(target)
    dacs.generator = method.generator
    torch.testing.assert_close(
        method.mixed_loss(source, target, labels, share), dacs.mixed_loss(source, target, labels, share)
    )
