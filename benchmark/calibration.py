"""Whether a config is converged for a protocol: the measured curves, as a data file, and what they say of a number of
steps. Pure functions but for reading and writing the file; no torch is needed.

A config is everything of a recipe but the number of steps and of checkpoints. It is *converged* at a number of steps if
source-only gains less than two points of mean IoU on source validation by twice as many, in the mean over folds and
seeds. With a schedule of the learning rate each number of steps is a training of its own.
"""

import json
import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

import benchmark
from benchmark.errors import DataError
from benchmark.files import DESCRIPTION_BYTES, read_text

THRESHOLD = 0.02  # of mean IoU
FOLDER = "calibration"  # within a folder of results
NO_CONFIG = ("steps", "checkpoints")  # the values of a recipe that may differ between a calibration and a comparison
DIGITS = 6
HEAD = """\
# Written by `landshift calibrate`: mean IoU on source validation (a share) of source-only at its chosen checkpoint, for
# each number of steps, by fold and seed (in the order of `seeds`). Converged: twice as many steps gain less than 0.02.
"""


@dataclass(frozen=True)
class Point:
    """What source-only reaches with a number of steps.

    Attributes:
        steps: optimiser steps.
        values: of each fold the mean IoU on source validation with each seed, a share.
    """

    steps: int
    values: Mapping[str, tuple[float, ...]]

    @property
    def mean(self) -> float:
        """Over folds and seeds."""
        return float(np.mean([value for of_fold in self.values.values() for value in of_fold]))


@dataclass(frozen=True)
class Calibration:
    """The measured curve of one config under one protocol.

    Attributes:
        fingerprint: of the protocol's folds.
        dataset, dataset_digest: the data.
        seeds: of each value of a point, in this order.
        protocol_folds: how many folds the protocol has; a point may be of fewer.
        version: of landshift, by which the runs were trained.
        recipe: every value of the config; those of the network in a table of their own.
        points: with rising steps.
    """

    fingerprint: str
    dataset: str
    dataset_digest: str
    seeds: tuple[int, ...]
    protocol_folds: int
    version: str
    recipe: Mapping[str, Any]
    points: tuple[Point, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What a new calibration of the same has in common with it."""
        return self.fingerprint, self.dataset_digest, json.dumps(self.recipe, sort_keys=True)

    @property
    def converged_steps(self) -> int:
        """The first number of steps at which the config is converged; 0 where it is not within those measured."""
        return converged_steps(self.points)


@dataclass(frozen=True)
class Verdict:
    """Whether a comparison was trained to the end.

    Attributes:
        converged: whether that was measured.
        words: one line that says so, or what is missing.
    """

    converged: bool
    words: str


def config_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe that a calibration is of, as they are after they were written and read again.

    Args:
        recipe: all values, as runs write them down.
    """
    content: dict[str, Any] = json.loads(json.dumps(recipe))
    return {name: value for name, value in content.items() if name not in NO_CONFIG}


def gain_at(points: Sequence[Point], steps: int) -> float:
    """How much twice as many steps gain, a share of mean IoU; NaN where the curve does not hold both.

    Between two measured numbers of steps the curve is taken to be a line over the logarithm of the steps.
    """
    if not points or steps < points[0].steps or 2 * steps > points[-1].steps:
        return math.nan
    logs, means = [math.log2(point.steps) for point in points], [point.mean for point in points]
    before, after = np.interp([math.log2(steps), math.log2(2 * steps)], logs, means)
    return float(after - before)


def converged_steps(points: Sequence[Point]) -> int:
    """The first measured number of steps by whose double less than `THRESHOLD` is gained; 0 if there is none."""
    return next((one.steps for one, two in pairwise(points) if two.mean - one.mean < THRESHOLD), 0)


def rows(points: Sequence[Point]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a curve as a table: percent, and what twice as many steps gain."""
    header = ["steps", "source validation", "with twice as many", *points[0].values]
    gains = [f"{100 * (two.mean - one.mean):+.1f}" for one, two in pairwise(points)]
    body = [
        [
            f"{point.steps:,}",
            f"{100 * point.mean:.1f}",
            gain,
            *(f"{100 * np.mean(of):.1f}" for of in point.values.values()),
        ]
        for point, gain in zip(points, [*gains, "–"], strict=True)
    ]
    return header, body


def calibration_of(
    recipe: Mapping[str, Any] | None, fingerprint: str, dataset_digest: str, known: Iterable[Calibration]
) -> Verdict:
    """Whether a comparison is converged, by the calibrations that there are.

    Args:
        recipe: of the comparison, all values; None where it was not written down.
        fingerprint, dataset_digest: of the comparison.
        known: the calibrations; of several of this config one on the same data counts, on most folds, or the first.
    """
    config = config_of(recipe) if recipe is not None else None
    alike = [one for one in known if (one.fingerprint, one.recipe) == (fingerprint, config)]
    alike.sort(key=lambda one: (one.dataset_digest != dataset_digest, -len(one.points[0].values)))
    found = next(iter(alike), None)
    if recipe is None or found is None:
        return Verdict(False, "not calibrated: what more steps would gain is not known (see landshift calibrate)")
    verdict = _verdict(found, int(recipe["steps"]))
    if found.dataset_digest != dataset_digest:
        return Verdict(False, f"not calibrated on these data; on others under these folds it is {verdict.words}")
    return verdict


def _verdict(found: Calibration, steps: int) -> Verdict:
    points, enough, of = found.points, found.converged_steps, _extent(found)
    if enough and steps >= enough:
        here = "" if steps == enough else f" (these are {steps:,})"
        still = f"source-only would gain {_points(gain_at(points, enough))} with twice as many"
        return Verdict(True, f"calibrated: converged at {enough:,} steps{here}; {still}{of}")
    gain = gain_at(points, steps)
    if math.isfinite(gain):
        about = "" if {steps, 2 * steps} <= {point.steps for point in points} else "about "
        still = f"source-only would gain {about}{_points(gain)} with twice as many"
    else:
        one, two = points[:2] if steps < points[0].steps else points[-2:]
        still = f"source-only still gained {_points(two.mean - one.mean)} from {one.steps:,} to {two.steps:,}"
    if enough:
        return Verdict(False, f"not converged: {steps:,} of the {enough:,} steps that source-only needs; {still}{of}")
    if steps <= points[-2].steps:
        needs = f"source-only needs more than {points[-2].steps:,}"
        return Verdict(False, f"not converged: {steps:,} steps, and {needs}; {still}{of}")
    return Verdict(False, f"not shown to be converged at {steps:,} steps; {still}{of}")


def _points(share: float) -> str:
    return f"{100 * share:.1f} points of source validation"


def _extent(found: Calibration) -> str:
    """Which folds were measured, where they are not all."""
    folds = list(found.points[0].values)
    return f" (measured on {', '.join(folds)} alone)" if len(folds) < found.protocol_folds else ""


def checkout() -> Path | None:
    """The folder of the repository that landshift runs from; None where it is installed without it."""
    root = Path(next(iter(benchmark.__path__))).parent
    return root if (root / "pyproject.toml").is_file() else None


def calibrations(results: Path, protocol: str) -> list[Calibration]:
    """All that is known of a protocol: in a folder of results, and published in the repository.

    Raises:
        DataError: a file is not one of these.
    """
    folders = [results, *([root / "results"] if (root := checkout()) else [])]
    return [one for folder in folders for one in read(file_of(folder, protocol))]


def file_of(results: Path, protocol: str) -> Path:
    """Where the calibrations of a protocol are.

    Args:
        protocol: its name.
    """
    return results / FOLDER / f"{protocol}.toml"


def add(path: Path, one: Calibration) -> None:
    """Write a calibration into a file; it replaces that of the same config, folds and data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent.with_suffix(".lock")):  # beside the folder, whose files are committed
        kept = [other for other in read(path) if other.key != one.key]
        draft = path.with_suffix(f".{os.getpid()}.new")
        draft.write_text(as_toml([*kept, one]), encoding="utf-8")
        draft.replace(path)


def read(path: Path) -> list[Calibration]:
    """The calibrations in a file; none where there is no file.

    Raises:
        DataError: it is not such a file; the message names it.
    """
    if not path.exists():
        return []
    try:
        return [_entry(entry) for entry in tomllib.loads(read_text(path, DESCRIPTION_BYTES))["config"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: no file of calibrations ({type(error).__name__}: {error})") from error


def _entry(entry: Mapping[str, Any]) -> Calibration:
    points = tuple(
        Point(int(point["steps"]), {str(k): tuple(map(float, v)) for k, v in point["values"].items()})
        for point in entry["point"]
    )
    if len(points) < 2 or any(one.steps >= two.steps for one, two in pairwise(points)):
        raise ValueError("a curve has at least two points, with rising steps")
    if not all(math.isfinite(point.mean) for point in points):
        raise ValueError("a point is no number")
    return Calibration(
        fingerprint=str(entry["fingerprint"]),
        dataset=str(entry["dataset"]),
        dataset_digest=str(entry["dataset_digest"]),
        seeds=tuple(map(int, entry["seeds"])),
        protocol_folds=int(entry["protocol_folds"]),
        version=str(entry["version"]),
        recipe=dict(entry["recipe"]),
        points=points,
    )


def as_toml(entries: Sequence[Calibration]) -> str:
    """The file that holds these calibrations."""
    return HEAD + "".join(map(_as_toml, entries))


def _as_toml(one: Calibration) -> str:
    network = one.recipe["network"]
    head = {
        "converged_steps": one.converged_steps,  # for a reader; it follows from the points
        "fingerprint": one.fingerprint,
        "dataset": one.dataset,
        "dataset_digest": one.dataset_digest,
        "protocol_folds": one.protocol_folds,
        "seeds": list(one.seeds),
        "version": one.version,
    }
    lines = ["", "[[config]]", *_lines(head)]
    lines += ["", "[config.recipe]", *_lines({k: v for k, v in one.recipe.items() if k != "network"})]
    lines += ["", "[config.recipe.network]", *_lines(network)]
    for point in one.points:
        values = ", ".join(f"{_text(fold)} = [{', '.join(map(_number, of))}]" for fold, of in point.values.items())
        lines += ["", "[[config.point]]", f"steps = {point.steps}", f"mean = {_number(point.mean)}"]
        lines += [f"values = {{ {values} }}"]
    return "\n".join(lines) + "\n"


def _lines(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_value(value)}" for name, value in values.items()]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """A basic string of TOML, which forbids one character more than JSON does."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _number(value: float) -> str:
    return f"{value:.{DIGITS}f}"
