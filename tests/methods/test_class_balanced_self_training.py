"""The schedule, the moving thresholds, who is trained on which pixels, and the batches where nothing is selected."""

import math
from dataclasses import replace

import torch
from torch.nn import functional as F

from methods.base import IGNORE, Progress
from methods.class_balanced_self_training import ClassBalancedSelfTraining

NAME = "class-balanced-self-training"
EAGER = ClassBalancedSelfTraining.Hyperparameters(warm_up=0.0, first_share=0.5, momentum=0.0)


def test_the_first_steps_see_the_source_alone(network, task, source, target):
    method = ClassBalancedSelfTraining(network, task)  # warm-up: a quarter
    assert set(method.step_losses(source, target, Progress(24, 100))) == {"segmentation"}
    assert set(method.step_losses(source, target, Progress(25, 100))) == {"segmentation", "pseudo_labels"}


def test_the_share_grows_after_the_warm_up(network, task):
    options = ClassBalancedSelfTraining.Hyperparameters(warm_up=0.5, first_share=0.2, last_share=0.6)
    method = ClassBalancedSelfTraining(network, task, options)
    shares = [method.share(Progress(step, 100)) for step in (50, 75, 100)]
    torch.testing.assert_close(shares, [0.2, 0.4, 0.6])


def test_the_loss_is_the_mean_over_selected_pixels(network, task, source, target, agrees):
    method = ClassBalancedSelfTraining(network, task, replace(EAGER, weight=3.0))
    labels = method.pseudo_labels(target, 0.5)
    selected = labels != IGNORE
    assert 0.2 < selected.float().mean() < 0.8
    errors = F.cross_entropy(network(target), labels.where(selected, 0), reduction="none")
    loss = method.step_losses(source, target, Progress(0, 100))["pseudo_labels"]
    agrees(NAME, "loss on the selected pixels", loss, 3 * errors[selected].mean(), rtol=1e-6)


def test_the_thresholds_move_and_those_of_absent_classes_stay(network, task, target, agrees):
    method = ClassBalancedSelfTraining(network, task, replace(EAGER, momentum=0.75))
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 1] = 2.0
    method.teacher.forward = lambda images: logits
    method.pseudo_labels(target, 0.5)
    # One class at one confidence c = e^2 / (e^2 + 2) = 0.7870: its threshold is 3/4 + c/4.
    expected = [1, 0.75 + 1 / (1 + 2 * math.exp(-2)) / 4, 1]
    agrees(NAME, "thresholds of the classes after a step", method.thresholds, expected, rtol=1e-6)
    assert "thresholds" in method.state_dict()


def test_only_the_network_learns_and_the_teacher_follows_it(network, task, source, target):
    method = ClassBalancedSelfTraining(network, task, replace(EAGER, decay=0.5))
    method.step_losses(source, target, Progress(9, 100))["pseudo_labels"].backward()
    assert network.model.segmentation_head.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    before = method.teacher.model.segmentation_head.weight.clone()
    with torch.no_grad():
        network.model.segmentation_head.weight.add_(1)
    method.after_step(Progress(9, 100))
    torch.testing.assert_close(method.teacher.model.segmentation_head.weight, before + 0.5)


def test_one_patch_of_odd_size_where_nothing_is_selected(network, task, source, target):
    method = ClassBalancedSelfTraining(network, task, replace(EAGER, first_share=0.0))
    nothing = replace(source, labels=torch.full_like(source.labels, IGNORE))
    losses = method.step_losses(nothing, replace(target, images=target.images[:1, :, :17, :23]), Progress(0, 100))
    assert losses["pseudo_labels"].item() == 0
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_the_teacher_labels_with_stored_statistics_which_follow_the_networks(network, task, target):
    method = ClassBalancedSelfTraining(network, task, replace(EAGER, decay=0.75)).train()
    mine, theirs = (model.model.encoder["layer1"][1].running_mean for model in (method.teacher, network))
    method.pseudo_labels(target, 0.5)
    assert (mine == 0).all()
    theirs.fill_(4.0)
    method.after_step(Progress(9, 100))
    torch.testing.assert_close(mine, torch.ones(4))
