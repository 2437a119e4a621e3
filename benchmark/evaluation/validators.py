"""Scores of a checkpoint that need no target label: pure functions of what it says of a fixed sample of pixels.

All take NumPy arrays, compute in float64, and are the better the higher. Which one chooses best is what a comparison
shows; over a million checkpoints none was reliable everywhere (Musgrave et al., arXiv 2208.07360).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, rel_entr, softmax

from benchmark.evaluation.statistics import average_ranks

Array = NDArray[np.floating]
# The rules that hang on what else there is to choose from, and the two scores that the second is made of.
AGREEMENT = "ensemble-agreement"
MIXUP = "mixup-validation"
MIXUP_PARTS = (f"{MIXUP}-intra", f"{MIXUP}-inter")
MeanAndDeviation = tuple[float, float]
"""Mean and standard deviation."""


class Sample(NamedTuple):
    """Pixels, by what an encoder makes of them.

    Attributes:
        features: (n, D).
        patches: (n,) which patch each pixel is of.
    """

    features: Array
    patches: NDArray[np.integer]


def target_entropy(logits: Array) -> float:
    """Return minus the mean entropy (nats) of predictions (n, C); highest if all pixels are predicted as one class."""
    return float(-entr(_probabilities(logits)).sum(1).mean())


def information_maximization(logits: Array, prior: Array | None = None) -> float:
    """Return how sure pixels are, with classes in the shares that they should have (after Shi and Sha, ICML 2012).

    ``-KL(mean p || prior) - mean H(p)``. With a uniform prior this is the mutual information less ln C; but land cover
    is not uniform, so that the class shares of the source take the place of those of the target.

    Args:
        logits: (n, C).
        prior: (C,) class shares of the source, none 0; None for uniform ones and the mutual information itself.
    """
    mean = _probabilities(logits).mean(0)
    if prior is None:
        return float(entr(mean).sum()) + target_entropy(logits)
    return float(-rel_entr(mean, np.asarray(prior, np.float64)).sum()) + target_entropy(logits)


def nuclear_norm(logits: Array) -> float:
    """Return the batch nuclear norm (Cui et al., CVPR 2020) as a score: sum of singular values of (n, C) over n."""
    probabilities = _probabilities(logits)
    return float(np.linalg.norm(probabilities, "nuc") / len(probabilities))


def soft_neighborhood_density(points: Array, temperature: float = 0.05) -> float:
    """Return the soft neighbourhood density (Saito et al., ICCV 2021): mean entropy of each point's similarities.

    The variant of pytorch-adapt, which leaves out a point's similarity to itself. The official code for segmentation
    keeps it, and that for classification puts a constant in its place.

    Args:
        points: (n, D), probabilities in the paper.
        temperature: temperature of the softmax over cosine similarities.
    """
    points = np.asarray(points, np.float64)
    directions = points / np.linalg.norm(points, axis=1, keepdims=True).clip(1e-12)
    similarities = directions @ directions.T / temperature
    np.fill_diagonal(similarities, -np.inf)
    return float(entr(softmax(similarities, axis=1)).sum(1).mean())


def class_correlation(logits: Array) -> float:
    """Return minus Corr-C (Tu et al., arXiv 2308.15731): ``-tr(P'P) / ||P'P||_F``, P the probabilities (n, C)."""
    probabilities = _probabilities(logits)
    products = probabilities.T @ probabilities
    return float(-np.trace(products) / np.linalg.norm(products))


def weighted_risk(losses: Array, weights: Array) -> float:
    """Return minus the deep embedded validation risk (You et al., ICML 2019): source losses as drawn from the target.

    ``-(mean(w l) + eta mean(w) - eta)`` with ``eta = -cov(w l, w) / var(w)``, which takes out of the estimate what
    comes from weights that do not average to 1, as they would over all of the source.

    Args:
        losses: (n,) of source-validation pixels.
        weights: (n,), how much likelier the target is to hold such a pixel than the source.
    """
    weights, weighted = np.asarray(weights, np.float64), np.asarray(weights * losses, np.float64)
    covariance = np.cov(weighted, weights)
    eta = -covariance[0, 1] / covariance[1, 1] if covariance[1, 1] > 0 else 0.0
    return float(-(weighted.mean() + eta * (weights.mean() - 1)))


def density_ratio(source: Array, target: Array, points: Array) -> NDArray[np.float64]:
    """Return how much likelier the target is to hold each point than the source, by a classifier of the two.

    ``(N_s / N_t) p(target | f) / p(source | f)``, as it is: weights that were divided by their mean would leave nothing
    for `weighted_risk` to correct. The classifier is a logistic regression on standardised features. The network of the
    official code is noisy: on two Gaussians its mean weight ranged from 0.58 to 1.07, where 1 is right.

    Args:
        source, target: (N_s, D) and (N_t, D) features that the classifier is trained on.
        points: (n, D), others of the source.

    Returns:
        (n,) positive weights.
    """
    # Late, because it takes seconds to import and a report needs none of it.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = np.concatenate((source, target)).astype(np.float64)
    labels = np.repeat((0, 1), (len(source), len(target)))
    model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky")).fit(features, labels)
    return np.asarray(np.exp(model.decision_function(np.asarray(points, np.float64))) * len(source) / len(target))


def deep_embedded_validation(
    losses: Array, source: Sample, target: Sample, repeats: int, seed: int
) -> MeanAndDeviation:
    """Return `weighted_risk` of source validation, each half of whose patches is weighted by a classifier of the other.

    Patches are halved, not pixels: those of one patch are nearly alike, and a classifier that has seen some of them
    is too sure of the others.

    Args:
        losses: (n,) of source validation.
        source: its features.
        target: features of the target.
        repeats: number of times that patches are halved at random.
        seed: seed of these draws.

    Returns:
        mean and standard deviation over the repeats; NaN where a side has a single patch.
    """
    random = np.random.default_rng(seed)
    if min(len(np.unique(side.patches)) for side in (source, target)) < 2:
        return np.nan, np.nan
    scores = []
    for _ in range(repeats):
        source_half, target_half = (_half(side.patches, random) for side in (source, target))
        weights = np.empty(len(losses))
        for half in (True, False):
            fitted_on = source.features[source_half == half], target.features[target_half == half]
            weights[source_half != half] = density_ratio(*fitted_on, source.features[source_half != half])
        scores.append(weighted_risk(losses, weights))
    return float(np.mean(scores)), float(np.std(scores))


def _half(patches: NDArray[np.integer], random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which pixels are of a random half of the patches."""
    names = random.permutation(np.unique(patches))
    return np.isin(patches, names[: len(names) // 2])


def average_thresholded_confidence(source_logits: Array, labels: NDArray[np.integer], target_logits: Array) -> float:
    """Return the predicted target accuracy (Garg et al., ICLR 2022, with minus the entropy as confidence).

    A threshold is set so that as many source-validation pixels are at or above it as are predicted right; the share
    of target pixels at or above it is the prediction. It is of pixel accuracy, not of mean IoU.

    Args:
        source_logits: (n, C) of source validation.
        labels: (n,).
        target_logits: (m, C).

    Returns:
        NaN where no source pixel has a label.
    """
    if not len(labels):
        return np.nan
    confidence, elsewhere = (-entr(_probabilities(logits)).sum(1) for logits in (source_logits, target_logits))
    right = int((np.asarray(source_logits).argmax(1) == labels).sum())
    threshold = np.sort(confidence)[len(confidence) - right] if right else np.inf
    return float((elsewhere >= threshold).mean())


def ensemble_agreement(candidates: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the agreement of each candidate with the mean of all (Hu et al., EnsV, NeurIPS 2024).

    Args:
        candidates: (k, n, C) probabilities of k checkpoints for the same n pixels.

    Returns:
        (k,) shares of pixels whose most likely class is that of the mean.
    """
    together = np.asarray(candidates, np.float64).mean(0).argmax(1)
    return np.asarray((candidates.argmax(2) == together).mean(1), np.float64)


def mixup_consistency(mixed: Array, labels: NDArray[np.integer], partners: NDArray[np.integer]) -> tuple[float, float]:
    """Return the consistency of predictions of mixed images (Hu et al., MixVal, NeurIPS 2023).

    Two images are mixed, one of them with more than half of the weight, and the mixture is to be predicted as that one.

    Args:
        mixed: (n, C) logits of pixels of the mixtures.
        labels: (n,) predicted classes of these pixels in the image with the larger weight.
        partners: (n,) the same in the other image.

    Returns:
        shares of pixels that are predicted as ``labels``: of those with one class in both images (intra-cluster), and
        of those with two (inter-cluster). NaN where there are none, as of a network that predicts one class alone.
    """
    right, same = np.asarray(mixed).argmax(1) == labels, labels == partners
    intra, inter = (float(right[pixels].mean()) if pixels.any() else np.nan for pixels in (same, ~same))
    return intra, inter


def mixup_ranks(scores: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Return the rule's score of each of k candidates, its mean rank by both consistencies, as MixVal joins them.

    From 1 / k to 1; of equal ones each has the mean of their ranks. A candidate that lacks one of the two has no score.
    """
    able = [each for each in scores if all(part in each for part in MIXUP_PARTS)]
    ranks = [average_ranks(np.array([each[part] for each in able])) for part in MIXUP_PARTS]
    means = iter(np.mean(ranks, axis=0) / max(len(able), 1))
    return [{MIXUP: float(next(means))} if all(part in each for part in MIXUP_PARTS) else {} for each in scores]


def _probabilities(logits: Array) -> NDArray[np.float64]:
    return np.asarray(softmax(np.asarray(logits, np.float64), axis=1))
