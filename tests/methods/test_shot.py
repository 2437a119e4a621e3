"""Held against KevinMusgrave/pytorch-adapt's information maximisation; the frozen head; labels by centroids."""

import math

import pytest
import torch

from methods.base import IGNORE, Progress, TargetBatch
from methods.parts.centroids import class_centroids, directions, nearest
from methods.parts.entropy import entropy
from methods.parts.metadata import Metadata
from methods.shot import SHOT, entropy_of_mean


def test_both_terms_equal_the_official_ones(fixture_values, agrees):
    values = fixture_values("validators_pytorch_adapt")
    rows = torch.tensor(values["in_target_logits"]).double()  # (40, 6)
    logits = rows.view(2, 4, 5, 6).permute(0, 3, 1, 2)
    certainty, diversity = -entropy(logits).mean(), entropy_of_mean(logits)
    source = values.source("KevinMusgrave/pytorch-adapt")
    agrees("shot", "certainty, minus the mean entropy", certainty, values["out_entropy64"], source, rtol=1e-9)
    agrees("shot", "diversity, the entropy of the mean", diversity, values["out_diversity64"], source, rtol=1e-9)
    agrees("shot", "sum of certainty and diversity", certainty + diversity, values["out_im64"], source, rtol=1e-9)


def test_the_loss_through_the_contract_is_the_sum_of_both(network, task, target):
    losses = SHOT(network, task, SHOT.Hyperparameters(diversity=0.5)).step_losses(None, target, Progress(0, 1))
    probabilities = network(target).softmax(1)
    mean = probabilities.mean((0, 2, 3))
    expected = (-(probabilities * probabilities.log()).sum(1).mean(), 0.5 * (mean * mean.log()).sum())
    torch.testing.assert_close((losses["entropy"], losses["diversity"]), expected)


def test_the_head_stands_still_and_the_encoder_learns_slowly(network, task, target):
    method = SHOT(network, task)
    sum(method.step_losses(None, target, Progress(0, 1)).values()).backward()
    head = list(network.model.segmentation_head.parameters())
    assert all(weights.grad is None for weights in head)
    assert all(weights.grad.abs().sum() > 0 for weights in network.model.encoder.parameters())
    groups = method.optimizer().param_groups
    assert [group["lr"] for group in groups] == [1e-3, 1e-2]
    assert groups[0]["params"] == list(network.model.encoder.parameters()) and not groups[1]["params"]


def test_a_decoder_learns_at_the_full_rate(network, task):
    network.model.decoder = torch.nn.Conv2d(6, 6, 1)
    encoder, others = SHOT(network, task).optimizer().param_groups
    assert len(encoder["params"]) == 6 and others["params"] == list(network.model.decoder.parameters())


def test_it_gets_certain_without_giving_all_to_one_class(network, task, target):
    def train(diversity):
        state = {name: value.clone() for name, value in network.state_dict().items()}
        method = SHOT(network, task, SHOT.Hyperparameters(learning_rate=10.0, diversity=diversity, pseudo_labels=0.0))
        optimizer = method.optimizer()
        for step in range(16):
            optimizer.zero_grad()
            sum(method.step_losses(None, target, Progress(step, 16)).values()).backward()
            optimizer.step()
        logits = network(target).detach()
        network.load_state_dict(state)
        return entropy(logits).mean().item(), entropy_of_mean(logits).item()

    before = entropy(network(target)).mean().item()
    (certain, spread), (_, collapsed) = train(1.0), train(0.0)
    assert certain < 0.9 * before and spread > 0.9 * math.log(3) > 1.5 * collapsed


def test_logits_far_apart_give_finite_gradients():
    logits = torch.tensor([500.0, 0.0, -500.0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2).requires_grad_(True)
    loss = entropy(logits).mean() - entropy_of_mean(logits)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6) and logits.grad.isfinite().all()


def test_one_image_of_odd_size(network, task):
    images = torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255
    losses = SHOT(network, task).step_losses(None, TargetBatch(images, Metadata.unknown(1)), Progress(0, 1))
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())


def _official_labels(features, probabilities):
    """The two rounds of the paper (section 3.4), class by class."""
    classes = range(probabilities.shape[1])
    points = torch.cat([features, torch.ones(len(features), 1)], 1)
    points = points / points.norm(dim=1, keepdim=True)
    weights, predicted = probabilities, {int(label) for label in probabilities.argmax(1)}
    for _ in range(2):
        centroids = {k: (weights[:, k, None] * points).sum(0) / weights[:, k].sum() for k in classes if k in predicted}
        names = list(centroids)
        angles = torch.stack([points @ centroids[k] / centroids[k].norm() for k in names], 1)
        labels = torch.tensor([names[int(index)] for index in angles.argmax(1)])
        weights = torch.nn.functional.one_hot(labels, len(classes)).float()
        predicted = set(names) & set(labels.tolist())
    return torch.stack([centroids.get(k, torch.full((points.shape[1],), torch.nan)) for k in classes]), labels


def test_centroids_of_two_rounds_are_those_of_the_paper(agrees):
    random = torch.Generator().manual_seed(0)
    features = torch.randn(200, 5, generator=random) + 2 * torch.eye(5)[torch.arange(200) % 3]
    logits = 2 * features[:, :4] + torch.randn(200, 4, generator=random)
    logits[:, 3] -= 20  # a class that is nowhere predicted
    first, _ = _official_labels(features, logits.softmax(1))
    points = directions(features.T[None, :, None])[0, 0]
    found = class_centroids(points, logits.softmax(1))
    assert found[3].isnan().all() and not found[:3].isnan().any() and not (nearest(points, found) == 3).any()
    # The paper's last step labels by the centroids of the first round's labels, which are these.
    agrees("shot", "centroids of classes, of length 1 features", found[:3], first[:3], rtol=1e-5, atol=1e-6)


def test_there_is_no_label_where_there_is_no_centroid():
    assert (nearest(torch.rand(2, 3, 4), torch.full((5, 4), torch.nan)) == IGNORE).all()


def test_pseudo_labels_are_those_of_the_nearest_centroid_and_of_the_last_steps(network, task, target):
    method = SHOT(network, task)
    modes = [module.training for module in network.modules()]
    statistics = network.model.encoder["layer1"][1].running_mean.clone()
    labels = method.labels(target, Progress(0, 100))
    assert labels.shape == (4, 16, 16) and labels.max() < 3
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(network.model.encoder["layer1"][1].running_mean, statistics), "labels are made in eval mode"
    assert (method.probabilities.sum((1, 2)) > 0).sum() == 1 and (method.probabilities[0].sum(1) > 0).sum() == 512
    before = method.centroids.clone()
    other = TargetBatch(255 - target.images, target.metadata)
    for step in range(1, 7):
        method.labels(other, Progress(step, 100))
        torch.testing.assert_close(method.centroids, before, rtol=0, atol=0, equal_nan=True)
    method.labels(other, Progress(7, 100))  # the second of 15 intervals begins
    assert (method.centroids != before).any(1).sum() > (before != before).any(1).sum(), "NaN differs from itself"
    assert (method.probabilities.sum((1, 2)) > 0).sum() == 8


def test_centroids_undo_a_bias_of_the_classifier_that_entropy_makes_worse(network, task):
    """Two kinds of features, and a classifier that gives most of both to the first class."""
    random = torch.Generator().manual_seed(0)
    truth = torch.randint(2, (1, 16, 16), generator=random)
    features = torch.randn(1, 6, 16, 16, generator=random) + 4 * torch.eye(6)[truth].movedim(-1, 1)
    logits = 2 * features[:, :2] + torch.tensor([8.0, 0.0])[:, None, None]
    points = directions(features)
    centroids = class_centroids(points.flatten(0, 2), logits.softmax(1).movedim(1, -1).flatten(0, 2))
    assert (logits.argmax(1) == truth).float().mean() < 0.85
    assert (nearest(points, centroids) == truth).float().mean() > 0.95


def test_weight_0_is_information_maximisation_alone(network, task, target):
    method = SHOT(network, task, SHOT.Hyperparameters(pseudo_labels=0.0))
    assert set(method.step_losses(None, target, Progress(0, 1))) == {"entropy", "diversity"}
    assert not dict(method.named_buffers(recurse=False))
