"""Estimates of the accuracy on the target from confidences, and the temperature that these need.

Pure functions of logits, in float64. All are of pixel accuracy, not of mean IoU.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax, softmax

Array = NDArray[np.floating]
TEMPERATURES = tuple(float(2.0**power) for power in np.arange(-2, 3.01, 0.25))


def best_temperature(losses: Array) -> float:
    """Return the temperature with the lowest loss (Guo et al., ICML 2017), between the grid's values by a parabola.

    Args:
        losses: cross-entropy (mean or sum) of logits divided by each of `TEMPERATURES`.
    """
    losses, powers = np.asarray(losses, np.float64), np.log2(TEMPERATURES)
    lowest = int(losses.argmin())
    if not 0 < lowest < len(losses) - 1:
        return TEMPERATURES[lowest]
    before, here, after = losses[lowest - 1 : lowest + 2]
    bend = before - 2 * here + after
    offset = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(2.0 ** (powers[lowest] + offset * (powers[1] - powers[0])))


def fit_temperature(logits: Array, labels: NDArray[np.integer]) -> float:
    """Return the temperature that logits (n, C) with labels (n,) are best divided by."""
    scaled = (log_softmax(np.asarray(logits, np.float64) / each, axis=1) for each in TEMPERATURES)
    return best_temperature(np.array([-np.take_along_axis(logs, labels[:, None], 1).mean() for logs in scaled]))


def difference_of_confidences(source_logits: Array, labels: NDArray[np.integer], target_logits: Array) -> float:
    """Return the accuracy on the source, plus the difference in mean confidence (DoC; Guillory et al., ICCV 2021).

    Args:
        source_logits: (n, C) of source validation.
        labels: (n,) of these.
        target_logits: (m, C).
    """
    source, target = (
        softmax(np.asarray(logits, np.float64), axis=1).max(1) for logits in (source_logits, target_logits)
    )
    accuracy = (np.asarray(source_logits).argmax(1) == labels).mean()
    return float(accuracy - source.mean() + target.mean())


def confidence_transport(target_logits: Array, prior: Array) -> float:
    """Return one minus the cost of moving predictions to the labels of the source (COT; Lu et al., NeurIPS 2023).

    The cost is the 1-Wasserstein distance, with half the L1 norm as ground distance, between the predictions and
    one-hot labels in the shares of the source. Of a prediction p and the label y it is 1 - p_y, so that it is what an
    optimal assignment leaves. Shares are rounded to whole pixels, the largest remainders up.

    Args:
        target_logits: (n, C).
        prior: (C,) class shares of the source.
    """
    probabilities = softmax(np.asarray(target_logits, np.float64), axis=1)
    exact = len(probabilities) * np.asarray(prior, np.float64) / np.sum(prior)
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: len(probabilities) - counts.sum()]] += 1
    gains = probabilities[:, np.repeat(np.arange(len(counts)), counts)]
    return float(gains[linear_sum_assignment(gains, maximize=True)].mean())
