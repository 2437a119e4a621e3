"""Calibration error and selective mean IoU of counts made by hand."""

import numpy as np
import pytest

from benchmark.evaluation.confidence import (
    BINS,
    ECE_BINS,
    EDGES,
    UNIT,
    Confidence,
    calibration_error,
    confidence_metrics,
    selective_miou,
)


def counts(*pixels):
    """Pixels as (confidence, right)."""
    table = np.zeros((1, BINS, 3), np.int64)
    for confidence, right in pixels:
        table[0, np.searchsorted(EDGES, confidence)] += 1, right, round(confidence * UNIT)
    return table


def test_the_bins_are_fifteen_equal_ones_of_which_the_last_is_divided():
    assert len(EDGES) + 1 == BINS and np.all(np.diff(EDGES) > 0)
    assert EDGES[: ECE_BINS - 1] == pytest.approx(np.arange(1, 15) / 15) and EDGES[-1] < 1


def test_the_calibration_error_weighs_bins_by_pixels():
    """Of three pixels at 0.9 two are right, a gap of 0.7 pixels; that at 0.55 is right, a gap of 0.45."""
    some = counts((0.9, True), (0.9, True), (0.9, False), (0.55, True))
    assert calibration_error(some) == pytest.approx((0.7 + 0.45) / 4, abs=1e-6)
    assert calibration_error(np.concatenate((some, some))) == pytest.approx(calibration_error(some))
    assert np.isnan(calibration_error(some * 0))


def test_parts_of_the_last_bin_are_one_bin_of_the_calibration_error():
    """At 0.95 all are right and at 0.9999 half are: apart the gaps would add up, together they cancel."""
    pixels = [(0.95, True)] * 10 + [(0.9999, True)] * 9 + [(0.9999, False)]
    assert calibration_error(counts(*pixels)) == pytest.approx(abs(19 - 9.5 - 9.999) / 20, abs=1e-6)


def _two_bins():
    """Sure: 6 right of class 0, 2 of class 1. Unsure: 1 right of class 0, 1 of class 1 predicted as 0."""
    confusions = np.zeros((BINS, 2, 2), np.int64)
    confusions[-1], confusions[5] = [[6, 0], [0, 2]], [[1, 0], [1, 0]]
    return confusions


def test_selective_metrics_keep_the_surest_pixels_and_a_part_of_the_bin_between():
    assert selective_miou(_two_bins(), 0.8) == 1
    assert selective_miou(_two_bins(), 1.0) == pytest.approx((7 / 8 + 2 / 3) / 2)
    assert selective_miou(_two_bins(), 0.9) == pytest.approx((6.5 / 7 + 2 / 2.5) / 2), "half of the unsure"


def test_a_class_of_which_no_pixel_is_kept_counts_as_nothing():
    """Else a map would gain by keeping silent about all that is difficult."""
    confusions = np.zeros((BINS, 3, 3), np.int64)
    confusions[-1, 0, 0], confusions[3, 1, 1] = 9, 1
    assert selective_miou(confusions, 0.8) == 0.5 and selective_miou(confusions, 1.0) == 1
    assert np.isnan(selective_miou(confusions * 0))


def test_without_a_temperature_there_are_no_metrics_with_one():
    pixels = counts((0.9, True), (0.9, False))
    metrics = confidence_metrics(Confidence(pixels, _two_bins(), 2.0, counts((0.5, True), (0.5, False))))
    assert metrics["target/ece_temperature"] == pytest.approx(0) and metrics["target/ece"] == pytest.approx(
        0.4, abs=1e-6
    )
    assert metrics["target/temperature"] == 2 and metrics["target/selective_miou"] == 1
    without = confidence_metrics(Confidence(pixels, _two_bins(), np.nan, pixels * 0))
    assert set(without) == {"target/ece", "target/selective_miou"}
