"""The numbers of two runs side by side, to the bit."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.common.errors import DataError
from benchmark.common.files import read_json, read_tensors
from benchmark.experiments.records import read_confusions
from benchmark.experiments.results import Files, RunRecord
from benchmark.experiments.run_folder import CURVE
from benchmark.experiments.run_job import WEIGHTS
from benchmark.training.prediction import METRICS

CURVES = ("train/", "source_val/", "selection_score/")  # metrics that have a value at several steps
UNCOMPARED = ("time/",)


@dataclass(frozen=True)
class Numbers:
    """What a run left.

    Attributes:
        confusions: (C + 1, C) matrices by ``step/part/zone``.
        metrics: those of the whole run, but what was measured with a clock.
        curves: (step, value) of the metrics that have several.
        weights: of the chosen checkpoint.
    """

    confusions: Mapping[str, NDArray[np.int64]]
    metrics: Mapping[str, float]
    curves: Mapping[str, list[tuple[int, float]]]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True)
class Finding:
    """One kind of number in two runs.

    Attributes:
        what: for example "confusion matrices".
        compared: how many the record holds.
        differing: names of those that are not equal to the bit, or that one of the two lacks.
        largest: the largest difference, in words; "" where there is none.
    """

    what: str
    compared: int
    differing: tuple[str, ...]
    largest: str = ""


def numbers_of(record: RunRecord) -> Numbers:
    """Read what a run left; of a missing file, nothing.

    Raises:
        DataError: a file is damaged.
    """
    weights = record.artifacts / WEIGHTS
    return Numbers(
        {
            f"{place}/{zone}": matrix
            for place, matrices in read_confusions(record.artifacts).items()
            for zone, matrix in matrices.items()
        },
        {name: value for name, value in record.metrics.items() if not name.startswith((*CURVES, *UNCOMPARED))},
        read_curves(record.artifacts),
        read_tensors(weights) if weights.is_file() else {},
    )


def read_curves(folder: Files) -> dict[str, list[tuple[int, float]]]:
    """Return the (step, value) of each metric of a run that has a curve; none where the file is missing.

    Raises:
        DataError: the file is damaged.
    """
    path, curves = folder / CURVE, dict[str, list[tuple[int, float]]]()
    try:
        for step, metrics in read_json(path, list) if path.is_file() else ():
            for name, value in metrics.items():
                if name.startswith(CURVES):
                    curves.setdefault(name, []).append((int(step), float(value)))
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: no curves of a run ({type(error).__name__}: {error})") from error
    return curves


def of_place(confusions: Mapping[str, NDArray[np.int64]], place: str) -> dict[str, NDArray[np.int64]]:
    """The matrices of one ``step/part``, by zone."""
    start = f"{place}/"
    return {name.removeprefix(start): matrix for name, matrix in confusions.items() if name.startswith(start)}


def compare_runs(recorded: Numbers, again: Numbers) -> list[Finding]:
    """One finding a kind of number. What a newer version logs besides is not compared: the record does not hold it."""
    return [
        _finding("confusion matrices", recorded.confusions, again.confusions, np.array_equal, _largest_miou),
        _finding("metrics", recorded.metrics, _of(again.metrics, recorded.metrics), _equal, _largest_value),
        _finding("curves", recorded.curves, _of(again.curves, recorded.curves), _equal, _first_step),
        _finding("weights", recorded.weights, again.weights, _same_bits, _largest_weight),
    ]


def _finding(
    what: str,
    recorded: Mapping[str, Any],
    again: Mapping[str, Any],
    same: Callable[[Any, Any], bool],
    largest: Callable[[Mapping[str, Any], Mapping[str, Any], Collection[str]], str],
) -> Finding:
    """None of a kind in the record is nothing to compare; one that either lacks is a difference."""
    if not recorded:
        return Finding(what, 0, ())
    names = dict.fromkeys((*recorded, *again))
    both = [name for name in names if name in recorded and name in again]
    unequal = {name for name in both if not same(recorded[name], again[name])}
    differing = tuple(name for name in names if name in unequal or name not in both)
    return Finding(what, len(recorded), differing, largest(recorded, again, unequal) if unequal else "")


def _of(found: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name in names}


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))


def _largest_miou(recorded: Mapping[str, Any], again: Mapping[str, Any], unequal: Collection[str]) -> str:
    """Of the checkpoints and parts that a matrix differs in, the one whose mean IoU differs most."""
    gaps = {}
    for place in {"/".join(name.split("/", 2)[:2]) for name in unequal}:  # a zone's own name may hold a slash
        one, other = (
            METRICS["miou"](np.sum(list(of_place(found, place).values()), axis=0)) for found in (recorded, again)
        )
        gaps[place] = abs(one - other)
    place = max(gaps, key=lambda place: gaps[place])
    return f"mIoU by {100 * gaps[place]:.4f} points at most (step/part {place})"


def _largest_value(recorded: Mapping[str, Any], again: Mapping[str, Any], unequal: Collection[str]) -> str:
    name = max(unequal, key=lambda name: abs(recorded[name] - again[name]))
    return f"{name} most: {recorded[name]:.6g}, here {again[name]:.6g}"


def _first_step(recorded: Mapping[str, Any], again: Mapping[str, Any], unequal: Collection[str]) -> str:
    """Where a training leaves the recorded one tells more than how far it gets away."""
    first = {
        name: next((a[0] for a, b in zip(recorded[name], again[name], strict=False) if a != b), len(again[name]))
        for name in unequal
    }
    name = min(first, key=lambda name: first[name])
    return f"{name} first, from step {first[name]} on"


def _largest_weight(recorded: Mapping[str, Any], again: Mapping[str, Any], unequal: Collection[str]) -> str:
    gaps = {
        name: float((recorded[name].double() - again[name].double()).abs().max())
        for name in unequal
        if recorded[name].shape == again[name].shape and recorded[name].numel()
    }
    return f"by {max(gaps.values()):.3g} at most ({max(gaps, key=lambda name: gaps[name])})" if gaps else "in shape"
