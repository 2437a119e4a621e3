"""Decisions other than argmax, on probabilities made by hand."""

from itertools import product

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from benchmark.training.decisions import adjust_by_prior, rank_pixels
from benchmark.training.prediction import evaluate, evaluate_decisions, miou


def decided(decide, probabilities):
    """Classes (n,) of one image of n pixels with probabilities (n, C)."""
    logits = torch.tensor(probabilities, dtype=torch.float64).clamp(min=1e-12).log().T[None, :, :, None]
    return decide(logits).argmax(1).flatten().tolist()


def in_set(probabilities, one):
    logits = torch.tensor(probabilities, dtype=torch.float64).clamp(min=1e-12).log().T[None, :, :, None]
    return (rank_pixels(logits)[0, one, :, 0] >= -1e-9).tolist()


def expected_iou(chosen, probabilities):
    """The exact mean IoU of a set of pixels over all truths, of which each pixel is independently one."""
    total = 0.0
    for truth in product((0, 1), repeat=len(probabilities)):
        chance = np.prod([p if y else 1 - p for p, y in zip(probabilities, truth, strict=True)])
        both = sum(a and b for a, b in zip(chosen, truth, strict=True))
        either = sum(a or b for a, b in zip(chosen, truth, strict=True))
        total += chance * (both / either if either else 1.0)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_the_set_of_a_class_has_nearly_the_best_expected_iou_of_all_sets(seed):
    """Of all 1,024 sets of ten pixels; the set of those above one half is clearly worse in some of these draws."""
    values = np.random.default_rng(seed).beta(0.8, 1.2, size=10)
    best = max(expected_iou(chosen, values) for chosen in product((0, 1), repeat=10))
    chosen = in_set(np.stack((1 - values, values), 1), 1)
    assert expected_iou(chosen, values) >= best - 0.01 and 0 < sum(chosen) < 10


def test_an_unsure_class_takes_pixels_that_argmax_gives_to_another():
    """Water is nowhere above 0.45, and argmax never finds it. Its set ends at 0.3, that of the other class at 0.55."""
    probabilities = [[0.55, 0.45]] * 5 + [[0.7, 0.3]] * 5 + [[0.99, 0.01]] * 20
    assert decided(lambda logits: logits, probabilities) == [0] * 30
    assert in_set(probabilities, 1) == [True] * 10 + [False] * 20 and all(in_set(probabilities, 0))
    assert decided(rank_pixels, probabilities) == [1] * 5 + [0] * 25


def test_images_are_ranked_one_by_one():
    two = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rank_pixels(two)[1:], rank_pixels(two[1:]))


def test_the_prior_moves_the_decision_to_rare_classes_by_its_strength():
    prior, probabilities = np.array([0.9, 0.1]), [[0.8, 0.2], [0.6, 0.4], [0.95, 0.05]]
    assert decided(adjust_by_prior(prior, 0.0), probabilities) == [0, 0, 0]
    assert decided(adjust_by_prior(prior, 0.5), probabilities) == [0, 1, 0], "odds of 4, 1.5 and 19 against 3"
    assert decided(adjust_by_prior(prior, 1.0), probabilities) == [1, 1, 0], "against 9"


def test_decisions_are_counted_in_one_pass_as_if_each_were_predicted(data):
    fabric, calls = Fabric(accelerator="cpu", devices=1), []

    def predict(batch):
        calls.append(len(batch.images))
        generator = torch.Generator().manual_seed(len(calls))
        return torch.randn(len(batch.images), len(data.task.classes), *batch.images.shape[-2:], generator=generator)

    found = evaluate_decisions(fabric, predict, data, "target_test", {"same": lambda x: x, "opposite": torch.neg})
    passes = len(calls)
    calls.clear()
    plain = evaluate(fabric, predict, data, "target_test")
    assert len(calls) == passes and set(found["same"].confusions) == set(plain.confusions)
    assert np.array_equal(found["same"].total(), plain.total())
    calls.clear()
    opposite = evaluate(fabric, lambda batch: -predict(batch), data, "target_test")
    assert miou(found["opposite"].total()) == miou(opposite.total()) != miou(plain.total())
