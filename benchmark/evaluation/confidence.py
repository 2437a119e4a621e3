"""Confidence of predictions: calibration error and mean IoU of the surest pixels.

Pure functions over counts of pixels by confidence, the largest probability of a pixel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 15
_FINER = 14  # further bins inside the last of these, each half as wide as the one before: most pixels are there
EDGES = tuple(np.arange(1, ECE_BINS) / ECE_BINS) + tuple(1 - 0.5 ** np.arange(1, _FINER + 1) / ECE_BINS)
BINS = len(EDGES) + 1
UNIT = 2**20  # of confidences that are summed as integers, in any order the same
KEPT = 0.8  # share of the pixels that selective metrics keep


@dataclass(frozen=True)
class Confidence:
    """Counts of the valid pixels of a test by confidence.

    A bin holds the confidences above the edge below it and up to its own; bins of `EDGES`, from low to high.

    Attributes:
        pixels: (zones, BINS, 3) int64 by zone: pixels, those that are right, and the sum of confidences over `UNIT`.
        confusions: (BINS, C, C) int64 of all zones: rows are true classes, columns predicted ones.
        temperature: temperature fitted on source validation; NaN where a method has no source data.
        calm: as ``pixels``, with logits divided by the temperature; zeros where there is none.
    """

    pixels: NDArray[np.int64]
    confusions: NDArray[np.int64]
    temperature: float
    calm: NDArray[np.int64]


def calibration_error(pixels: NDArray[np.int64]) -> float:
    """Return the expected calibration error (ECE; Guo et al., ICML 2017) in 15 bins of equal width; NaN without pixels.

    Args:
        pixels: `Confidence.pixels` of one zone or more.
    """
    counts = pixels.reshape(-1, BINS, 3).sum(0)
    counts = np.concatenate((counts[: ECE_BINS - 1], counts[ECE_BINS - 1 :].sum(0, keepdims=True))).astype(np.float64)
    gaps = np.abs(counts[:, 1] - counts[:, 2] / UNIT)
    return float(gaps.sum() / counts[:, 0].sum()) if counts[:, 0].any() else np.nan


def selective_miou(confusions: NDArray[np.int64], kept: float = KEPT) -> float:
    """Return mean IoU on a share of the pixels, the surest ones; NaN without pixels.

    Of the bin in which the share ends, the part that fits is taken of every cell. The classes are those that have truth
    among all pixels, as for mean IoU; one of which no pixel is kept counts as 0.

    Args:
        confusions: `Confidence.confusions`.
    """
    counts, truth = confusions.sum((1, 2)), confusions.sum((0, 2)) > 0
    left = np.clip(kept * counts.sum() - (counts.sum() - np.cumsum(counts)), 0, counts)
    shares = np.divide(left, counts, out=np.zeros(len(counts)), where=counts > 0)
    matrix = np.tensordot(shares, confusions, 1)
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    ious = np.divide(hits, union, out=np.zeros(len(hits)), where=union > 0)
    return float(ious[truth].mean()) if truth.any() else np.nan


def confidence_metrics(confidence: Confidence) -> dict[str, float]:
    """Return the metrics of the test's confidence; those with a temperature where there is one."""
    metrics = {
        "target/ece": calibration_error(confidence.pixels),
        "target/selective_miou": selective_miou(confidence.confusions),
    }
    if np.isfinite(confidence.temperature):
        metrics["target/temperature"] = confidence.temperature
        metrics["target/ece_temperature"] = calibration_error(confidence.calm)
    return metrics
