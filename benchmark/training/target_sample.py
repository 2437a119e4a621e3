"""A checkpoint's outputs on a fixed sample of pixels: all that rules without target labels look at."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from benchmark.data.classes import IGNORE
from benchmark.evaluation import accuracy_estimates, validators
from benchmark.evaluation.transfer_score import transfer_score
from benchmark.evaluation.validators import AGREEMENT, MIXUP_PARTS, Sample
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
MIXING = 0.55  # weight of the first of two images that are mixed, as in MixVal


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
        classifier: (C, K) weights of the last layer behind that encoder; None where none is known.
        mixed: (n, C) logits of the pixels of ``target`` where their patches are mixed with others; None where there
            is one patch alone, or series, which cannot be mixed.
        partners: (n,) predicted classes of the other patches at these pixels; None as ``mixed``.
    """

    target: NDArray[np.float32]
    source: NDArray[np.float32]
    labels: NDArray[np.int64]
    prior: NDArray[np.float64]
    features: tuple[Sample, Sample] | None = None
    classifier: NDArray[np.float32] | None = None
    mixed: NDArray[np.float32] | None = None
    partners: NDArray[np.int64] | None = None


def gather(
    fabric: "Fabric",
    predict: Predict,
    data: FoldData,
    window: int = 0,
    encoders: Sequence[nn.Module] = (),
    predict_source: Predict | None = None,
    classifiers: Mapping[nn.Module, Tensor] | None = None,
) -> Evidence | None:
    """Predict the sample, which is the same for every method, seed and checkpoint of a fold.

    Args:
        window: side of the square of each patch that is predicted, pixels; 0 for whole patches. With that of the
            training crops the sample costs a few steps, however large the patches are.
        encoders: encoders that may run inside the prediction, and give a list of feature maps, deepest last. If several
            run, or one several times, the features are those of the last call.
        predict_source: prediction of ``source_val``; None for the same.
        classifiers: weights (C, K) of the last layer behind each encoder, where they are known.

    Returns:
        None where the fold has no unlabelled target images: what would be looked at then is the test.
    """
    if not len(data.parts["target_adapt"].rows):
        return None
    target_pixels, source_pixels = (_Pixels(data, part, window) for part in ("target_adapt", "source_val"))
    target = _predicted(fabric, predict, target_pixels, encoders)
    source, labels = _predicted(fabric, predict_source or predict, source_pixels, encoders), source_pixels.labels()
    valid, features = labels != IGNORE, None
    if source.features is not None and target.features is not None and valid.any():
        few = principal_components(source.features[valid], target.features, DIMENSIONS)
        features = Sample(few[0], source_pixels.owners[valid]), Sample(few[1], target_pixels.owners)
    classifier = (classifiers or {}).get(target.encoder) if target.encoder is not None else None
    can_mix = len(target_pixels.patches) > 1 and data.series is None
    return Evidence(
        target.logits,
        source.logits[valid],
        labels[valid],
        source_shares(data),
        features,
        None if classifier is None else classifier.detach().float().cpu().numpy(),
        _predicted(fabric, predict, target_pixels, mixed=True).logits if can_mix else None,
        target.partners if can_mix else None,
    )


def source_shares(data: FoldData) -> NDArray[np.float64]:
    """Return the class shares (C,) of the source's training patches, one pixel added to each class."""
    counts = 1.0 + data.store.class_counts(data.parts["source_train"].rows)[:, :-1].sum(0)
    return np.asarray(counts / counts.sum())


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
    models = [module.model for module in method.modules() if isinstance(module, SegmentationNetwork)]
    encoders = [model.encoder for model in models]
    classifiers = {model.encoder: weights for model in models if (weights := _last_layer(model)) is not None}
    evidence = gather(fabric, method.predict, data, window, encoders, method.predict_source, classifiers)
    few = math.nan
    if FEW in data.parts and method.needs not in (Needs.FEW_TARGET_LABELS, Needs.TARGET_LABELS):
        few = miou(evaluate(fabric, method.predict, data, FEW).total())
    method.train()
    return Look(evidence, few, time.perf_counter() - started)


def _last_layer(model: nn.Module) -> Tensor | None:
    """Return the weights (C, K) of the last convolution of a model's head; None where it has none."""
    head = getattr(model, "segmentation_head", None)
    layers = [each for each in head.modules() if isinstance(each, nn.Conv2d)] if head is not None else []
    return layers[-1].weight.flatten(1) if layers else None


def scores_of_all(looks: Sequence[Look]) -> list[dict[str, float]]:
    """Return the known scores of each checkpoint of a run by rule, the higher the better."""
    scores = [scores_of(look.evidence) if look.evidence else {} for look in looks]
    seen = [look.evidence for look in looks if look.evidence]
    for of_look, value in zip(scores, agreement(seen) if len(seen) == len(looks) else [], strict=False):
        of_look[AGREEMENT] = value
    for of_look, rank in zip(scores, validators.mixup_ranks(scores), strict=True):
        of_look |= rank
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
    if len(evidence.labels):
        temperature = accuracy_estimates.fit_temperature(evidence.source, evidence.labels)
        calm_source, calm_target = (logits / temperature for logits in (evidence.source, evidence.target))
        rules["difference-of-confidences"] = lambda: accuracy_estimates.difference_of_confidences(
            calm_source, evidence.labels, calm_target
        )
        rules["confidence-optimal-transport"] = lambda: accuracy_estimates.confidence_transport(
            calm_target, evidence.prior
        )
    if evidence.mixed is not None and evidence.partners is not None:
        consistencies = validators.mixup_consistency(evidence.mixed, evidence.target.argmax(1), evidence.partners)
        rules |= {name: partial(float, value) for name, value in zip(MIXUP_PARTS, consistencies, strict=True)}
    if evidence.features is not None and evidence.classifier is not None:
        of_target, classifier = evidence.features[1], evidence.classifier
        rules["transfer-score"] = lambda: transfer_score(evidence.target, of_target, classifier, seed=0)
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


class _Pixels:
    """The sampled pixels of a part: the same windows of the same patches for every method, seed and checkpoint.

    Attributes:
        patches: (P,) positions in the part.
        partners: (P,) number of the patch that each is mixed with, itself where there is one patch alone.
        places: (P, `PIXELS`) the pixels of each window, counted row by row.
        owners: (n,) patch of each pixel.
        side: side of the windows, pixels.
    """

    def __init__(self, data: FoldData, name: str, window: int) -> None:
        self._data, self._part, random = data, data.parts[name], numpy_generator("evidence", name)
        self.patches = np.sort(random.permutation(len(self._part.rows))[:PATCHES])
        self.side = min(window or data.store.size, data.store.size)
        self._corners = random.integers(data.store.size - self.side + 1, size=(len(self.patches), 2))
        self.places = torch.from_numpy(random.integers(self.side**2, size=(len(self.patches), PIXELS)))
        self.owners = np.repeat(self.patches, PIXELS)
        # Neighbours in the order of rows are often of one zone, and alike.
        self.partners = np.roll(np.arange(len(self.patches)), len(self.patches) // 2)

    def images(self, chosen: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return the windows (N, bands, H, W) of some of the patches, on the device."""
        read = torch.from_numpy(self._cut(self._data.store.read(self._part.rows[self.patches[chosen]]), chosen))
        return self._data.scaling(read.to(device))

    def batch(self, chosen: NDArray[np.int64], images: Tensor) -> TargetBatch:
        """Return a batch of windows with what else is known of their patches."""
        metadata = self._part.metadata.take(torch.from_numpy(self.patches[chosen])).to(images.device)
        series = self._data.series_of(self._part.rows[self.patches[chosen]], self._corners[chosen], self.side)
        return TargetBatch(images, metadata, series=series and series.to(images.device))

    def labels(self) -> NDArray[np.int64]:
        """Return the labels (n,) of all sampled pixels."""
        rows = self._part.rows[self.patches]
        truth = self._cut(self._data.store.labels_of(rows).read(rows), np.arange(len(rows)))
        return torch.from_numpy(truth).flatten(1).long().gather(1, self.places).flatten().numpy()

    def _cut(self, whole: NDArray, chosen: NDArray[np.int64]) -> NDArray:
        corners = self._corners[chosen].tolist()
        return np.stack(
            [patch[..., y : y + self.side, x : x + self.side] for patch, (y, x) in zip(whole, corners, strict=True)]
        )


@dataclass(frozen=True)
class _Predicted:
    """Predictions at the sampled pixels of a part.

    Attributes:
        logits: (n, C).
        features: (n, D), if an encoder was seen.
        encoder: that encoder.
        partners: (n,) predicted classes of the partner of each pixel's patch at the pixel's place.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32] | None
    encoder: nn.Module | None
    partners: NDArray[np.int64]


def _predicted(
    fabric: "Fabric", predict: Predict, pixels: _Pixels, encoders: Sequence[nn.Module] = (), *, mixed: bool = False
) -> _Predicted:
    """Predict the sampled pixels of a part.

    Args:
        mixed: each window is mixed with that of its patch's partner, of which it is the larger part.
    """
    logits, features, others, encoder = [], [], [], None
    asked_by = np.argsort(pixels.partners)  # the patch whose partner each is
    size, count = most_at_once(pixels.side), len(pixels.patches)
    for chosen in (np.arange(start, min(start + size, count)) for start in range(0, count, size)):
        images = pixels.images(chosen, fabric.device)
        if mixed:
            images = MIXING * images + (1 - MIXING) * pixels.images(pixels.partners[chosen], fabric.device)
        with torch.inference_mode(), fabric.autocast(), _watched(encoders) as calls:
            maps = predict(pixels.batch(chosen, images))
        logits.append(_values_at(maps, pixels.places[chosen]))
        others.append(_values_at(maps, pixels.places[asked_by[chosen]]).argmax(1))
        if calls and len(calls[0].deepest) == len(images):
            cells = calls[0].cells_of(pixels.places[chosen], pixels.side)
            features.append(_values_at(calls[0].deepest, cells))
            encoder = calls[0].encoder
    partners = np.concatenate(others).reshape(count, PIXELS)[pixels.partners].flatten()
    whole = len(logits) == len(features)
    return _Predicted(np.concatenate(logits), np.concatenate(features) if whole else None, encoder, partners)


def _values_at(maps: Tensor, places: Tensor) -> NDArray[np.float32]:
    """Return the values (N * P, D) of maps (N, D, h, w) at flat places (N, P)."""
    places = places.to(maps.device)[:, None].expand(-1, maps.shape[1], -1)
    return maps.float().flatten(2).gather(2, places).movedim(1, -1).flatten(0, 1).cpu().numpy()


@dataclass(frozen=True)
class _Call:
    """One call of an encoder: (height, width) of the images it was given, and its deepest features (N, D, h, w)."""

    encoder: nn.Module
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
        last[:] = [_Call(encoder, tuple(inputs[0].shape[-2:]), deepest_of(features))]

    with ExitStack() as hooks:
        for encoder in encoders:
            hooks.callback(encoder.register_forward_hook(keep).remove)
        yield last
