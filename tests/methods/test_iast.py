"""The thresholds against NumPy's percentiles, the loss by hand, and that images of other light keep their labels."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from methods.base import IGNORE, Progress
from methods.iast import IAST, image_thresholds

EAGER = IAST.Hyperparameters(warm_up=0.0)


def teach(method, logits):
    method.teacher.forward = lambda batch: logits


def random_logits(scale=3.0):
    return scale * torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_thresholds_of_an_image_are_percentiles_with_the_old_ones_among_the_confidences(agrees):
    confidence, labels = random_logits()[0].softmax(0).max(0)
    labels[labels == 2] = 1  # a class that is not there
    old = torch.tensor([0.9, 0.7, 0.8])
    found = image_thresholds(confidence, labels, old, 0.2, 8.0)
    expected = []
    for label, before in enumerate(old.double().tolist()):
        values = np.append(confidence[labels == label].double().numpy(), before)
        expected.append(np.percentile(values, 100 * (1 - 0.2 * before**8)))
    agrees("iast", "thresholds of an image", found, expected, rtol=1e-5)
    assert found[2] == old[2]


def test_the_thresholds_pass_from_image_to_image_and_select_in_it(network, task, target, agrees):
    method, logits = IAST(network, task, replace(EAGER, momentum=0.5)), random_logits()
    teach(method, logits)
    found = method.pseudo_labels(target, 0.3)
    thresholds, kept = torch.full((3,), 0.9), []
    for confidence, labels in zip(*logits.softmax(1).max(1), strict=True):
        fresh = image_thresholds(confidence, labels, thresholds, 0.3, 8.0)
        thresholds = (0.5 * thresholds + 0.5 * fresh).clamp(max=0.999)
        kept.append(torch.where(confidence >= thresholds[labels], labels, IGNORE))
    agrees("iast", "thresholds after a batch", method.thresholds, thresholds, rtol=1e-6)
    assert torch.equal(found, torch.stack(kept)) and 0.05 < (found != IGNORE).float().mean() < 0.6


def test_the_loss_is_that_of_the_formula(network, task, source, target, agrees):
    method = IAST(network, task, replace(EAGER, weight=2.0))
    teach(method, random_logits())
    thresholds = method.thresholds.clone()
    loss = method.step_losses(source, target, Progress(0, 100))["pseudo_labels"]
    method.thresholds = thresholds
    labels, log_p = method.pseudo_labels(target, 0.2), network(target).log_softmax(1)
    chosen = labels != IGNORE
    errors = F.nll_loss(log_p, labels.where(chosen, 0), reduction="none") - 0.1 * log_p.mean(1)
    entropies = -(log_p.exp() * log_p).sum(1)
    expected = 2 * (errors[chosen].mean() + 3 * entropies[~chosen].mean())
    agrees("iast", "loss on the target", loss, expected, rtol=1e-5)


def test_an_image_of_which_less_is_sure_keeps_labels_where_one_threshold_for_all_takes_them(network, task, target):
    logits = random_logits()
    logits[2:] *= 0.5
    method = IAST(network, task, replace(EAGER, momentum=0.0))
    teach(method, logits)
    shares = [(labels != IGNORE).float().mean() for labels in method.pseudo_labels(target, 0.3)]
    assert min(shares[2:]) > 0.5 * min(shares[:2])
    one_for_all = logits.softmax(1).amax(1) >= 0.95
    assert one_for_all[2:].float().mean() < 0.3 * one_for_all[:2].float().mean()


def test_an_unsure_class_gives_fewer_labels():
    confidence = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(64).expand(64, 64) % 2
    thresholds = image_thresholds(confidence, labels, torch.tensor([0.95, 0.6]), 0.3, 8.0)
    sure, unsure = [(confidence[labels == index] >= thresholds[index]).float().mean() for index in range(2)]
    torch.testing.assert_close(torch.stack((sure, unsure)), 0.3 * torch.tensor([0.95, 0.6]) ** 8, rtol=0.1, atol=1e-3)


def test_the_first_steps_see_the_source_alone_and_the_share_grows(network, task, source, target):
    method = IAST(network, task)
    assert set(method.step_losses(source, target, Progress(24, 100))) == {"segmentation"}
    assert [round(method.share(Progress(step, 100)), 3) for step in (25, 100)] == [0.2, 0.3]


def test_where_all_or_nothing_is_selected(network, task, source, target):
    method = IAST(network, task, EAGER)
    for value in (0.0, 100.0):
        logits = torch.zeros(4, 3, 32, 32)
        logits[:, 1] = value
        teach(method, logits)
        network.zero_grad()
        losses = method.step_losses(source, target, Progress(0, 100))
        sum(losses.values()).backward()
        assert all(weights.grad.isfinite().all() for weights in network.parameters())
