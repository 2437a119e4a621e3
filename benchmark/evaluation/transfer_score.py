"""The Transfer Score of a checkpoint (Yang et al., ICLR 2024), from its classifier, features and predictions."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from benchmark.evaluation.validators import Sample, information_maximization

Array = NDArray[np.floating]


def transfer_score(logits: Array, features: Sample, classifier: Array, seed: int) -> float:
    """Return Hopkins' statistic plus the mutual information over ln C minus the classifier's lack of uniformity.

    Three quantities without a common unit are added as in the paper.

    Args:
        logits: (n, C) of target pixels.
        features: features of the same pixels.
        classifier: (C, K) weights of the last layer.
        seed: seed of `hopkins`.
    """
    information = information_maximization(logits) / np.log(logits.shape[1])
    return hopkins(features, seed) + information - lack_of_uniformity(classifier)


def lack_of_uniformity(classifier: Array) -> float:
    """Return how far the directions of the classes are from being spread evenly: 0 for a regular simplex.

    Mean squared difference (radians squared) of the angle between the weights of two classes to arccos(-1 / (C - 1)),
    as in the authors' code.

    Args:
        classifier: (C, K) weights, of two classes or more.
    """
    weights = np.asarray(classifier, np.float64)
    directions = weights / np.linalg.norm(weights, axis=1, keepdims=True).clip(1e-12)
    cosines = (directions @ directions.T)[np.triu_indices(len(weights), 1)]
    return float(np.mean((np.arccos(cosines.clip(-1, 1)) - np.arccos(-1 / (len(weights) - 1))) ** 2))


def hopkins(features: Sample, seed: int) -> float:
    """Return Hopkins' statistic: 0.5 for points that are spread evenly in their bounding box, 1 for perfect clusters.

    Sum of distances of random points to the nearest pixel, over that sum plus the sum of distances of pixels to the
    nearest pixel of another patch. (Pixels of one patch often share a cell of the features, and would be at distance
    0 whatever the network does.) As many random points are drawn as there are pixels, where the paper draws 5 %.

    Args:
        features: (n, D) features of pixels; of one patch alone the result is NaN.
        seed: seed of the random points.
    """
    points = np.asarray(features.features, np.float64)
    if len(np.unique(features.patches)) < 2:
        return np.nan
    random = np.random.default_rng(seed).uniform(points.min(0), points.max(0), points.shape)
    between = cdist(points, points)
    between[features.patches[:, None] == features.patches] = np.inf
    far, near = cdist(random, points).min(1).sum(), between.min(1).sum()
    return float(far / (far + near)) if far + near > 0 else np.nan
