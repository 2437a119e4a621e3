"""Held against microsoft/ProDA's own numbers: weights and prototypes; the loss by hand, and that noise is corrected."""

import math
from dataclasses import replace

import pytest
import torch

from methods import proda
from methods.base import Progress
from methods.proda import ProDA, class_means, prototype_weights, symmetric_cross_entropy

LATE = Progress(5, 10)


def test_the_weights_equal_the_official_ones(fixture_values, agrees):
    values = fixture_values("clan_fada_proda")
    features, prototypes = torch.tensor(values["in_feat"]), torch.tensor(values["in_prototypes"])
    weights = prototype_weights(features, prototypes, 1.0, torch.ones(5, dtype=torch.bool))
    source = values.source("microsoft/ProDA")
    agrees("proda", "weights by the prototypes", weights, values["out_proda_weight"], source, rtol=1e-5, atol=1e-6)
    # The smallest distance is subtracted there, which a softmax does not see.
    gaps = weights.log() - weights.log()[:, :1]
    official = values["out_proda_dist"]
    torch.testing.assert_close(gaps, torch.tensor(official[:, :1] - official), rtol=1e-4, atol=1e-5)


def test_a_prototype_moves_as_officially(network, task, fixture_values, agrees):
    """The official one moves by 1e-4 of the way to a feature of ones."""
    values = fixture_values("clan_fada_proda")
    method = ProDA(network, task)
    first = torch.tensor(values["in_prototypes"])[2]
    method.prototypes, method.seen = first.repeat(3, 1), torch.full((3,), 100_000)
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 1] = 2.0
    method.teacher.forward = lambda batch, return_features: (logits, torch.ones(1, 8, 4, 4))
    method.denoised_labels(None)
    official, source = values["out_proda_proto2_after"], values.source("microsoft/ProDA")
    agrees("proda", "a prototype after a batch", method.prototypes[1], official, source, rtol=1e-5)
    assert torch.equal(method.prototypes[2], first), "a class that is not seen stays"


def test_a_prototype_is_the_mean_of_the_first_batches(network, task):
    method = ProDA(network, task)
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 1] = 2.0
    for value in (1.0, 2.0, 6.0):
        features = torch.full((1, 6, 4, 4), value)
        method.teacher.forward = lambda batch, return_features, features=features: (logits, features)
        method.denoised_labels(None)
    torch.testing.assert_close(method.prototypes, torch.tensor([0.0, 3.0, 0.0])[:, None].expand(3, 6))
    assert method.seen.tolist() == [0, 3, 0] and {"prototypes", "seen"} <= set(method.state_dict())


def test_the_means_of_classes():
    features = torch.tensor([[1.0, 3.0], [5.0, 9.0]]).view(1, 1, 2, 2)
    means, present = class_means(features, torch.tensor([[[0, 0], [2, 0]]]), 3)
    torch.testing.assert_close(means, torch.tensor([[13 / 3], [0.0], [5.0]]))
    assert present.tolist() == [True, False, True]


def test_the_loss_is_that_of_the_formula(agrees):
    logits = torch.tensor([0.7, 0.2, 0.1]).log().view(1, 3, 1, 1)
    # CE = -ln 0.2, and the reverse: -(0.7 + 0.1) ln 1e-4 - 0.2 ln 1.
    expected = -0.1 * math.log(0.2) - 0.8 * math.log(1e-4)
    found = symmetric_cross_entropy(logits, torch.ones(1, 1, 1, dtype=torch.int64), 0.1)
    agrees("proda", "symmetric cross-entropy of a pixel", found, expected, rtol=1e-5)


def test_a_confident_error_is_corrected_where_the_features_contradict_it(network, task):
    """Of the cells that look alike, one is taken for another class by the teacher, a little more than for its own."""
    method = ProDA(network, task, ProDA.Hyperparameters(sharpness=3.0))
    logits, features = torch.zeros(1, 3, 4, 4), torch.zeros(1, 6, 4, 4)
    logits[:, 0, :, :2], logits[:, 1, :, 2:] = 3.0, 3.0
    features[..., :2], features[..., 2:] = 1.0, -1.0
    clean = logits.argmax(1)
    logits[:, :, 0, 0] = torch.tensor([1.0, 2.0, 0.0])  # the error
    method.teacher.forward = lambda batch, return_features: (logits, features)
    assert logits.argmax(1)[0, 0, 0] == 1 and torch.equal(method.denoised_labels(None), clean)
    method.hyperparameters = replace(method.hyperparameters, sharpness=0.0)
    assert torch.equal(method.denoised_labels(None), logits.argmax(1)), "without prototypes it stays"


def test_the_first_steps_see_the_source_alone(network, task, source, target):
    method = ProDA(network, task)
    assert set(method.step_losses(source, target, Progress(2, 10))) == {"segmentation"} and not method.seen.any()
    assert set(method.step_losses(source, target, Progress(3, 10))) == {"segmentation", "denoised"}


def test_the_network_sees_a_strong_view_and_the_teacher_the_target(network, task, source, target, monkeypatch):
    monkeypatch.setattr(proda, "strong_view", lambda images, *arguments: images + 1)
    method, shown, taught = ProDA(network, task, ProDA.Hyperparameters(weight=2.0)), [], []
    with (
        network.register_forward_pre_hook(lambda network, inputs: shown.append(inputs[0].images)),
        method.teacher.register_forward_pre_hook(lambda teacher, inputs: taught.append(inputs[0].images)),
    ):
        loss = method.step_losses(source, target, LATE)["denoised"]
    assert taught == [target.images] and torch.equal(shown[1], target.images + 1)
    labels = method.denoised_labels(target)
    logits = network(replace(target, images=shown[1]))
    torch.testing.assert_close(loss, 2 * symmetric_cross_entropy(logits, labels, 0.1))


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_teacher_follows(network, task, decay):
    method = ProDA(network, task, ProDA.Hyperparameters(decay=decay))
    before = method.teacher.model.segmentation_head.weight.clone()
    with torch.no_grad():
        network.model.segmentation_head.weight.add_(1)
    method.after_step(Progress(99, 100))
    torch.testing.assert_close(method.teacher.model.segmentation_head.weight, before + (1 - decay))
