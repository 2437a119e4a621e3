"""Counts by confidence against what single pixels give, and the temperature."""

import numpy as np
import pytest
import torch

from benchmark.data.classes import IGNORE
from benchmark.evaluation.confidence import calibration_error, selective_miou
from benchmark.training.confidence_sums import ConfidenceSums, TemperatureSums

CPU, CLASSES, SIDE = torch.device("cpu"), 4, 40
NEAR = 3e-4  # a pixel or two may be on the edge of two bins, in float32


@pytest.fixture(scope="module")
def predicted():
    """Logits of six patches that are twice as sharp as the truth is random, and truth with some pixels of no class."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, CLASSES, SIDE, SIDE, generator=draw) * 2
    flat = logits.softmax(1).movedim(1, -1).reshape(-1, CLASSES)
    truth = torch.multinomial(flat, 1, generator=draw).view(6, SIDE, SIDE)
    truth[:, :3] = IGNORE
    return logits * 2, truth


def count(logits, truth, temperature=float("nan"), size=6):
    sums = ConfidenceSums(CPU, 2, CLASSES, temperature)
    for chosen in torch.arange(6).split(size):
        sums.add(logits[chosen], logits[chosen].argmax(1), truth[chosen], (chosen.numpy() // 3).astype(np.int64))
    return sums.confidence()


def error_of_pixels(probabilities, truth):
    """The calibration error pixel by pixel, in float64."""
    confidence, predicted = probabilities.max(1)
    valid = truth != IGNORE
    confidence, right = confidence[valid].double().numpy(), (predicted == truth)[valid].numpy()
    bins = np.ceil(confidence * 15).astype(int)
    return sum(abs(right[bins == each].sum() - confidence[bins == each].sum()) for each in range(1, 16)) / len(right)


def test_the_error_is_that_of_the_single_pixels(predicted):
    logits, truth = predicted
    confidence = count(logits, truth, 2.0)
    assert calibration_error(confidence.pixels) == pytest.approx(error_of_pixels(logits.softmax(1), truth), abs=NEAR)
    calm = error_of_pixels((logits / 2).softmax(1), truth)
    assert calibration_error(confidence.calm) == pytest.approx(calm, abs=NEAR)
    assert calm < 0.03 < 0.1 < calibration_error(confidence.pixels), "twice as sharp as the truth"
    one = error_of_pixels(logits[3:].softmax(1), truth[3:])
    assert calibration_error(confidence.pixels[1]) == pytest.approx(one, abs=NEAR), "of one zone"


def test_the_counts_are_the_same_in_any_batches(predicted):
    whole, parts = (count(*predicted, 1.5, size) for size in (6, 1))
    for name in ("pixels", "confusions", "calm"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    valid = int((predicted[1] != IGNORE).sum())
    assert whole.confusions.sum() == whole.pixels[..., 0].sum() == valid
    assert np.trace(whole.confusions.sum(0)) == whole.pixels[..., 1].sum() == whole.calm[..., 1].sum()


def test_selective_miou_is_that_of_the_surest_single_pixels(predicted):
    logits, truth = predicted
    confidence, chosen = logits.softmax(1).max(1)
    valid = truth != IGNORE
    order = confidence[valid].argsort(descending=True)[: int(0.8 * valid.sum())]
    true, given = truth[valid][order].numpy(), chosen[valid][order].numpy()
    ious = [((true == c) & (given == c)).sum() / ((true == c) | (given == c)).sum() for c in range(CLASSES)]
    assert selective_miou(count(logits, truth).confusions) == pytest.approx(np.mean(ious), abs=2e-3)


def test_the_temperature_takes_back_how_much_too_sharp_the_logits_are(predicted):
    logits, truth = predicted
    sums = TemperatureSums(CPU)
    for chosen in torch.arange(6).split(4):
        sums.add(logits[chosen], logits[chosen].argmax(1), truth[chosen], np.zeros(len(chosen), np.int64))
    assert sums.temperature() == pytest.approx(2, rel=0.15)
    nothing = TemperatureSums(CPU)
    assert np.isnan(nothing.temperature())
    nothing.add(logits * float("nan"), truth, truth, np.zeros(6, np.int64))
    assert np.isnan(nothing.temperature())


def test_without_a_temperature_nothing_is_counted_with_one(predicted):
    confidence = count(*predicted)
    assert np.isnan(confidence.temperature) and not confidence.calm.any() and confidence.pixels.any()


def test_predictions_that_are_no_numbers_lose_no_run(predicted):
    logits, truth = predicted
    confidence = count(logits * float("nan"), truth)
    assert confidence.pixels[:, 0, 0].sum() == (truth != IGNORE).sum()
