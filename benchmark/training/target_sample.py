"""A checkpoint's outputs on a fixed sample of pixels: all that rules without target labels look at."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from benchmark.data.classes import IGNORE
from benchmark.evaluation import validators
from benchmark.evaluation.validators import AGREEMENT, Sample
from benchmark.models.encoders import deepest_of
from benchmark.models.segmentation import SegmentationNetwork
from benchmark.training.fold_data import FEW, FoldData
from benchmark.training.prediction import Predict, evaluate, miou, most_at_once
from methods.base import Method, Needs, TargetBatch
from methods.parts.randomness import numpy_generator

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_LOG = logging.getLogger(__name__)
PATCHES = 64  # of a part
PIXELS = 16  # of a patch; neighbours are nearly alike
REPEATS = 5  # of the density ratio, which is noisy
DIMENSIONS = 8  # of the features, at most: with 16 to 64 the mean weight, which should be 1, was up to 250


@dataclass(frozen=True)
class Evidence:
    """Outputs at the sampled pixels: logits, and features where an encoder was seen at work.

    Attributes:
        target: (n, C) float32, of ``target_adapt``.
        source: (m, C) float32, of those pixels of ``source_val`` that have a label.
        labels: (m,) of these.
        prior: (C,) class shares of the source's training patches, one pixel added to each class.
        features: features of the pixels of ``source`` and ``target`` by the encoder that predicted, in their first
            `DIMENSIONS` principal components; None where no encoder is known.
    """

    target: NDArray[np.float32]
    source: NDArray[np.float32]
    labels: NDArray[np.int64]
    prior: NDArray[np.float64]
    features: tuple[Sample, Sample] | None = None


def gather(
    fabric: "Fabric",
    predict: Predict,
    data: FoldData,
    window: int = 0,
    encoders: Sequence[nn.Module] = (),
    predict_source: Predict | None = None,
) -> Evidence | None:
    """Predict the sample, which is the same for every method, seed and checkpoint of a fold.

    Args:
        window: side of the square of each patch that is predicted, pixels; 0 for whole patches. With that of the
            training crops the sample costs a few steps, however large the patches are.
        encoders: encoders that may run inside the prediction, and give a list of feature maps, deepest last. If several
            run, or one several times, the features are those of the last call.
        predict_source: prediction of ``source_val``; None for the same.

    Returns:
        None where the fold has no unlabelled target images: what would be looked at then is the test.
    """
    if not len(data.parts["target_adapt"].rows):
        return None
    target = _sampled(fabric, predict, data, "target_adapt", window, encoders, with_labels=False)
    source = _sampled(fabric, predict_source or predict, data, "source_val", window, encoders, with_labels=True)
    counts = 1.0 + data.store.class_counts(data.parts["source_train"].rows)[:, :-1].sum(0)
    valid = source.labels != IGNORE
    features = None
    if source.features is not None and target.features is not None and valid.any():
        few = principal_components(source.features[valid], target.features, DIMENSIONS)
        features = Sample(few[0], source.patches[valid]), Sample(few[1], target.patches)
    return Evidence(target.logits, source.logits[valid], source.labels[valid], counts / counts.sum(), features)


def principal_components(
    source: NDArray[np.float32], target: NDArray[np.float32], most: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return features (n, D) and (m, D) in the ``most`` directions, at most, in which both together vary the most.

    Features that are not finite have no directions: as they are, no rule can score them.
    """
    together = np.concatenate((source, target)).astype(np.float64)
    if not np.isfinite(together).all():
        return source[:, :most], target[:, :most]
    together -= together.mean(0)
    directions = np.linalg.svd(together, full_matrices=False)[2][:most]
    few = (together @ directions.T).astype(np.float32)
    return few[: len(source)], few[len(source) :]


@dataclass(frozen=True)
class Look:
    """Inputs of rules from one checkpoint, beside source validation: the sample, if there is one, and a few labels.

    Attributes:
        evidence: see `gather`.
        few: mean IoU on the labelled patches of the target that the protocol sets aside; NaN where there are none, or
            where the method was trained on them.
        seconds: duration of the measurement, in seconds.
    """

    evidence: Evidence | None
    few: float
    seconds: float


def look(fabric: "Fabric", method: Method, data: FoldData, window: int) -> Look:
    """Let a trained method predict the sample (see `gather`), and the few patches with labels."""
    started = time.perf_counter()
    method.eval()
    # Not of method.network alone: a teacher, or an average of the weights, may be what predicts.
    encoders = [module.model.encoder for module in method.modules() if isinstance(module, SegmentationNetwork)]
    evidence, few = gather(fabric, method.predict, data, window, encoders, method.predict_source), math.nan
    if FEW in data.parts and method.needs not in (Needs.FEW_TARGET_LABELS, Needs.TARGET_LABELS):
        few = miou(evaluate(fabric, method.predict, data, FEW).total())
    method.train()
    return Look(evidence, few, time.perf_counter() - started)


def scores_of_all(looks: Sequence[Look]) -> list[dict[str, float]]:
    """Return the known scores of each checkpoint of a run by rule, the higher the better."""
    scores = [scores_of(look.evidence) if look.evidence else {} for look in looks]
    seen = [look.evidence for look in looks if look.evidence]
    for of_look, value in zip(scores, agreement(seen) if len(seen) == len(looks) else [], strict=False):
        of_look[AGREEMENT] = value
    for of_look, look in zip(scores, looks, strict=True):
        of_look |= {"few-target-labels": look.few} if math.isfinite(look.few) else {}
    return scores


def scores_of(evidence: Evidence) -> dict[str, float]:
    """Return the scores of one checkpoint by rule, the higher the better; a rule that cannot score it is left out."""
    source, target = (log_softmax(logits, axis=1) for logits in (evidence.source, evidence.target))
    rules: dict[str, Callable[[], float | validators.MeanAndDeviation]] = {
        "target-entropy": lambda: validators.target_entropy(evidence.target),
        "information-maximization": lambda: validators.information_maximization(evidence.target, evidence.prior),
        "soft-neighborhood-density": lambda: validators.soft_neighborhood_density(np.exp(target)),
        "nuclear-norm": lambda: validators.nuclear_norm(evidence.target),
        "class-correlation": lambda: validators.class_correlation(evidence.target),
        "thresholded-confidence": lambda: validators.average_thresholded_confidence(
            evidence.source, evidence.labels, evidence.target
        ),
    }
    if evidence.features is not None:
        features = evidence.features
        losses = -np.take_along_axis(source, evidence.labels[:, None], 1)[:, 0]
        rules["deep-embedded-validation"] = lambda: validators.deep_embedded_validation(
            losses, *features, repeats=REPEATS, seed=0
        )
    scores: dict[str, float] = {}
    for name, rule in rules.items():
        try:
            value = rule()
        except (ValueError, ArithmeticError) as error:  # of linear algebra too: a choice less, no run lost
            _LOG.warning("the rule %s cannot score a checkpoint: %s", name, error)
            continue
        values = value if isinstance(value, tuple) else (value,)
        if all(map(math.isfinite, values)):
            scores |= dict(zip((name, f"{name}-spread"), values, strict=False))
    return scores


def agreement(candidates: Sequence[Evidence]) -> list[float]:
    """Return the agreement of each candidate with the mean of all, the rule that needs to see them together."""
    probabilities = np.stack([softmax(evidence.target, axis=1) for evidence in candidates])
    return validators.ensemble_agreement(probabilities).tolist()


@dataclass(frozen=True)
class _Pixels:
    """The sampled pixels of a part: (n, C) logits, (n,) labels and patches, (n, D) features if an encoder was seen."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    patches: NDArray[np.int64]
    features: NDArray[np.float32] | None


def _sampled(
    fabric: "Fabric",
    predict: Predict,
    data: FoldData,
    name: str,
    window: int,
    encoders: Sequence[nn.Module],
    *,
    with_labels: bool,
) -> _Pixels:
    part, random = data.parts[name], numpy_generator("evidence", name)
    patches = np.sort(random.permutation(len(part.rows))[:PATCHES])
    side = min(window or data.store.size, data.store.size)
    corners = random.integers(data.store.size - side + 1, size=(len(patches), 2))
    pixels = torch.from_numpy(random.integers(side**2, size=(len(patches), PIXELS)))

    def seen(chosen: slice) -> _Pixels:
        """Return the sampled pixels of some of the patches."""
        rows, places = part.rows[patches[chosen]], pixels[chosen]

        def cut(whole: NDArray) -> Tensor:
            windows = zip(whole, corners[chosen].tolist(), strict=True)
            return torch.from_numpy(np.stack([patch[..., y : y + side, x : x + side] for patch, (y, x) in windows]))

        images = data.scaling(cut(data.store.read(rows)).to(fabric.device))
        metadata = part.metadata.take(torch.from_numpy(patches[chosen])).to(fabric.device)
        series = data.series_of(rows, corners[chosen], side)
        with torch.inference_mode(), fabric.autocast(), _watched(encoders) as calls:
            logits = predict(TargetBatch(images, metadata, series=series and series.to(fabric.device)))
        labels = np.full(places.numel(), IGNORE, dtype=np.int64)
        if with_labels:
            truth = cut(data.store.labels_of(rows).read(rows)).flatten(1).long()
            labels = truth.gather(1, places).flatten().numpy()
        features = None
        if calls and len(calls[0].deepest) == len(images):
            features = _values_at(calls[0].deepest, calls[0].cells_of(places, side))
        return _Pixels(_values_at(logits, places), labels, np.repeat(patches[chosen], PIXELS), features)

    size = most_at_once(side)
    batches = [seen(slice(start, start + size)) for start in range(0, len(patches), size)]
    features = [each.features for each in batches if each.features is not None]
    return _Pixels(
        np.concatenate([each.logits for each in batches]),
        np.concatenate([each.labels for each in batches]),
        np.concatenate([each.patches for each in batches]),
        np.concatenate(features) if len(features) == len(batches) else None,
    )


def _values_at(maps: Tensor, places: Tensor) -> NDArray[np.float32]:
    """Return the values (N * P, D) of maps (N, D, h, w) at flat places (N, P)."""
    places = places.to(maps.device)[:, None].expand(-1, maps.shape[1], -1)
    return maps.float().flatten(2).gather(2, places).movedim(1, -1).flatten(0, 1).cpu().numpy()


@dataclass(frozen=True)
class _Call:
    """One call of an encoder: (height, width) of the images it was given, and its deepest features (N, D, h, w)."""

    size: tuple[int, int]
    deepest: Tensor

    def cells_of(self, pixels: Tensor, side: int) -> Tensor:
        """Return the cell of each pixel of a window, both counted row by row; images are padded below and right."""
        (height, width), (rows, columns) = self.size, self.deepest.shape[-2:]
        return (pixels // side * rows // height) * columns + pixels % side * columns // width


@contextmanager
def _watched(encoders: Sequence[nn.Module]) -> Iterator[list[_Call]]:
    """Yield a list that holds the last call of one of the encoders, if there was any."""
    last: list[_Call] = []

    def keep(encoder: nn.Module, inputs: tuple[Any, ...], features: Any) -> None:
        last[:] = [_Call(tuple(inputs[0].shape[-2:]), deepest_of(features))]

    with ExitStack() as hooks:
        for encoder in encoders:
            hooks.callback(encoder.register_forward_hook(keep).remove)
        yield last
