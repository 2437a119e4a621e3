"""The numbers of two runs side by side, to the bit."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.common.errors import DataError
from benchmark.common.files import read_json, read_tensors
from benchmark.experiments.checkpoint_records import read_confusions
from benchmark.experiments.run_folder import CURVE, Files
from benchmark.experiments.run_job import WEIGHTS
from benchmark.experiments.run_record import RunRecord
from benchmark.training.prediction import DECISION

CURVES = ("train/", "source_val/", "selection_score/")  # metrics that have a value at several steps
UNCOMPARED = ("time/",)
LOGGED = ("metrics", "curves")  # of these a newer version may have more, which the record does not hold
Numbers = Mapping[str, Mapping[str, Tensor]]
"""What a run left, by kind (confusion matrices, metrics, curves, weights) and name; curves as (n, 2) steps, values."""


@dataclass(frozen=True)
class Finding:
    """One kind of number in two runs.

    Attributes:
        what: name of what was compared, for example "confusion matrices".
        compared: number of values that the record holds.
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
    weights, confusions = record.artifacts / WEIGHTS, read_confusions(record.artifacts)
    metrics = {name: value for name, value in record.metrics.items() if not name.startswith((*CURVES, *UNCOMPARED))}
    matrices = {
        f"{place}/{zone}": torch.from_numpy(matrix)
        for place, of_zones in confusions.items()
        for zone, matrix in of_zones.items()
    }
    return {
        "confusion matrices": {name: matrix for name, matrix in matrices.items() if f"/{DECISION}/" not in name},
        "matrices of decisions": {name: matrix for name, matrix in matrices.items() if f"/{DECISION}/" in name},
        "metrics": {name: torch.tensor(value, dtype=torch.float64) for name, value in metrics.items()},
        "curves": read_curves(record.artifacts),
        "weights": read_tensors(weights) if weights.is_file() else {},
    }


def read_curves(folder: Files) -> dict[str, Tensor]:
    """Return the (n, 2) float64 steps and values of each metric of a run that has a curve; none without the file.

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
    return {name: torch.tensor(points, dtype=torch.float64) for name, points in curves.items()}


def compare_runs(recorded: Numbers, again: Numbers) -> list[Finding]:
    """Return one finding a kind: none of it in the record is nothing to compare, one that either lacks a difference."""
    findings = []
    for what, first in recorded.items():
        second = again[what]
        names = dict.fromkeys((*first, *second) if first and what not in LOGGED else first)
        both = {name: (first[name], second[name]) for name in names if name in first and name in second}
        unequal = {name: pair for name, pair in both.items() if not _same_bits(*pair)}
        differing = tuple(name for name in names if name in unequal or name not in both)
        largest = (_first_step if what == "curves" else _largest)(unequal) if unequal else ""
        findings.append(Finding(what, len(first), differing, largest))
    return findings


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))


def _largest(unequal: Mapping[str, tuple[Tensor, Tensor]]) -> str:
    alike = {name: pair for name, pair in unequal.items() if pair[0].shape == pair[1].shape}
    gaps = {
        name: float((one.double() - other.double()).abs().nan_to_num().max()) for name, (one, other) in alike.items()
    }
    if not gaps:
        return "in shape"
    name = max(gaps, key=lambda name: gaps[name])
    one, other = alike[name]
    values = f" ({one.item():.6g}, here {other.item():.6g})" if one.numel() == 1 else ""
    return f"{name} most, by {gaps[name]:.3g}{values}"


def _first_step(unequal: Mapping[str, tuple[Tensor, Tensor]]) -> str:
    """Return the first step that differs, which says more than the largest difference."""
    first = {}
    for name, (one, other) in unequal.items():
        pairs = zip(one.tolist(), other.tolist(), strict=False)
        end = one[min(len(one), len(other)) - 1, 0].item()
        first[name] = next(
            (point[0] for point, then in pairs if str(point) != str(then)), end
        )  # NaN is no other than NaN
    name = min(first, key=lambda name: first[name])
    return f"{name} first, from step {first[name]:.0f} on"
