"""What a checkpoint says of a fixed sample of pixels: all that rules without target labels look at."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from torch import Tensor

from benchmark import validators
from benchmark.data.classes import IGNORE
from benchmark.evaluation import Predict, evaluate, miou
from benchmark.pools import FEW, FoldData
from methods.base import Method, Needs, TargetBatch
from methods.parts.randomness import numpy_generator

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PATCHES = 64  # of a part
PIXELS = 16  # of a patch; neighbours are nearly alike
AGREEMENT = "ensemble-agreement"  # the rule that hangs on what else there is to choose from
REPEATS = 5  # of the density ratio, which is noisy


@dataclass(frozen=True)
class Evidence:
    """Logits at the sampled pixels.

    Attributes:
        target: (n, C) float32, of ``target_adapt``.
        source: (m, C) float32, of those pixels of ``source_val`` that have a label.
        labels: (m,) of these.
        prior: (C,) class shares of the source's training patches, one pixel added to each class.
    """

    target: NDArray[np.float32]
    source: NDArray[np.float32]
    labels: NDArray[np.int64]
    prior: NDArray[np.float64]


def gather(fabric: "Fabric", predict: Predict, data: FoldData, window: int = 0) -> Evidence | None:
    """Predict the sample, which is the same for every method, seed and checkpoint of a fold.

    Args:
        window: side of the square of each patch that is predicted, pixels; 0 for whole patches. With that of the
            training crops the sample costs a few steps, however large the patches are.

    Returns:
        None where the fold has no unlabelled target images: what would be looked at then is the test.
    """
    if not len(data.parts["target_adapt"].rows):
        return None
    target, _ = _sampled(fabric, predict, data, "target_adapt", window, with_labels=False)
    source, labels = _sampled(fabric, predict, data, "source_val", window, with_labels=True)
    counts = 1.0 + data.store.class_counts(data.parts["source_train"].rows)[:, :-1].sum(0)
    known = labels != IGNORE
    return Evidence(target, source[known], labels[known], counts / counts.sum())


@dataclass(frozen=True)
class Look:
    """What is known of one checkpoint beside source validation: the sample, if there is one, and a few labels.

    Attributes:
        evidence: see `gather`.
        few: mean IoU on the labelled patches of the target that the protocol sets aside; NaN where there are none, or
            where the method was trained on them.
        seconds: what it took.
    """

    evidence: Evidence | None
    few: float
    seconds: float


def look(fabric: "Fabric", method: Method, data: FoldData, window: int) -> Look:
    """Let a trained method predict the sample (see `gather`), and the few patches with labels."""
    started = time.perf_counter()
    method.eval()
    evidence, few = gather(fabric, method.predict, data, window), math.nan
    if FEW in data.parts and method.needs not in (Needs.FEW_TARGET_LABELS, Needs.TARGET_LABELS):
        few = miou(evaluate(fabric, method.predict, data, FEW).total())
    method.train()
    return Look(evidence, few, time.perf_counter() - started)


def scores_of_all(looks: Sequence[Look]) -> list[dict[str, float]]:
    """Scores of the checkpoints of a run by rule, the higher the better; of each only those that are known."""
    scores = [scores_of(found.evidence) if found.evidence else {} for found in looks]
    seen = [found.evidence for found in looks if found.evidence]
    for mine, value in zip(scores, agreement(seen) if len(seen) == len(looks) else [], strict=False):
        mine[AGREEMENT] = value
    for mine, found in zip(scores, looks, strict=True):
        mine |= {"few-target-labels": found.few} if math.isfinite(found.few) else {}
    return scores


def scores_of(evidence: Evidence) -> dict[str, float]:
    """Scores of one checkpoint by rule, the higher the better."""
    source, target = (log_softmax(logits, axis=1) for logits in (evidence.source, evidence.target))
    losses = -np.take_along_axis(source, evidence.labels[:, None], 1)[:, 0]
    embedded, spread = validators.deep_embedded_validation(losses, source, target, repeats=REPEATS, seed=0)
    return {
        "target-entropy": validators.target_entropy(evidence.target),
        "information-maximization": validators.information_maximization(evidence.target, evidence.prior),
        "soft-neighborhood-density": validators.soft_neighborhood_density(np.exp(target)),
        "nuclear-norm": validators.nuclear_norm(evidence.target),
        "class-correlation": validators.class_correlation(evidence.target),
        "deep-embedded-validation": embedded,
        "deep-embedded-validation-spread": spread,
        "thresholded-confidence": validators.average_thresholded_confidence(
            evidence.source, evidence.labels, evidence.target
        ),
    }


def agreement(candidates: Sequence[Evidence]) -> list[float]:
    """Agreement of each candidate with the mean of all, the rule that needs to see them together."""
    probabilities = np.stack([softmax(evidence.target, axis=1) for evidence in candidates])
    return validators.ensemble_agreement(probabilities).tolist()


def _sampled(
    fabric: "Fabric", predict: Predict, data: FoldData, name: str, window: int, *, with_labels: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    part, random = data.parts[name], numpy_generator("evidence", name)
    patches = np.sort(random.permutation(len(part.rows))[:PATCHES])
    side = min(window or data.store.size, data.store.size)
    corners = random.integers(data.store.size - side + 1, size=(len(patches), 2))
    pixels = torch.from_numpy(random.integers(side**2, size=(len(patches), PIXELS)))

    def cut(whole: NDArray[np.uint8]) -> Tensor:
        places = zip(whole, corners.tolist(), strict=True)
        return torch.from_numpy(np.stack([patch[..., y : y + side, x : x + side] for patch, (y, x) in places]))

    rows = part.rows[patches]
    images = cut(data.store.read(rows)).to(fabric.device).float()
    metadata = part.metadata.take(torch.from_numpy(patches)).to(fabric.device)
    with torch.inference_mode(), fabric.autocast():
        logits = predict(TargetBatch(images, metadata)).float().flatten(2)
    places = pixels.to(logits.device)[:, None].expand(-1, logits.shape[1], -1)
    chosen = logits.gather(2, places).movedim(1, -1).flatten(0, 1).cpu().numpy()
    labels = np.full(len(chosen), IGNORE, dtype=np.int64)
    if with_labels:
        truth = cut(data.store.labels_of(rows).read(rows)).flatten(1).long()
        labels = truth.gather(1, pixels).flatten().numpy()
    return chosen, labels
