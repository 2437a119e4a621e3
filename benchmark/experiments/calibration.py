"""Convergence of a config for a protocol: measured curves in a data file, and the verdict on a number of steps.

Pure functions but for reading and writing the file.

A config is everything of a recipe but the number of steps and, where they do not change the training, of checkpoints.
It is *converged* at a number of steps if twice as many change source-only's mean IoU on source validation by less than
two points, in the mean over folds and seeds, and so does every longer doubling that was measured. With a schedule of
the learning rate each number of steps is a training of its own.
"""

import json
import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

import benchmark
from benchmark.common.errors import DataError
from benchmark.common.files import DESCRIPTION_BYTES, read_text

THRESHOLD = 0.02  # of mean IoU
FOLDER = "calibration"  # within a folder of results
DIGITS = 6
HEAD = """\
# Written by `landshift calibrate`: mean IoU on source validation (a share) of source-only at its chosen checkpoint, for
# each number of steps, by fold and seed (in the order of `seeds`). Converged: twice as many steps change the mean by
# less than 0.02, and so does every longer doubling that was measured.
"""


@dataclass(frozen=True)
class Point:
    """A point of the curve: what source-only reaches with a number of steps.

    Attributes:
        steps: optimiser steps.
        values: mean IoU on source validation (share) by fold, one a seed.
    """

    steps: int
    values: Mapping[str, tuple[float, ...]]

    @property
    def mean(self) -> float:
        """The mean over folds and seeds."""
        return float(np.mean([value for of_fold in self.values.values() for value in of_fold]))


@dataclass(frozen=True)
class Calibration:
    """The measured curve of one config under one protocol.

    Attributes:
        fingerprint: fingerprint of the protocol's folds.
        dataset, dataset_digest: the data.
        seeds: seeds of each value of a point, in this order.
        protocol_folds: number of folds of the protocol; a point may be of fewer.
        version: version of landshift by which the runs were trained.
        recipe: every value of the config; those of the network in a table of their own.
        points: points of the curve, in order of steps.
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
    def key(self) -> tuple[Any, ...]:
        """The properties that a new calibration of the same config, protocol, data, folds and seeds shares with it."""
        recipe = json.dumps(with_defaults(self.recipe), sort_keys=True)
        return self.fingerprint, self.dataset_digest, recipe, tuple(sorted(self.folds)), tuple(sorted(self.seeds))

    @property
    def folds(self) -> tuple[str, ...]:
        """The folds that were measured."""
        return tuple(self.points[0].values)

    @property
    def most(self) -> int:
        """The greatest number of steps that was measured."""
        return self.points[-1].steps

    @property
    def converged_steps(self) -> int:
        """The first number of steps at which the config is converged; 0 where it is not within those measured."""
        return converged_steps(self.points)


@dataclass(frozen=True)
class Verdict:
    """The verdict on whether a comparison was trained to the end.

    Attributes:
        converged: whether that was measured.
        words: one line that says so, or what is missing.
    """

    converged: bool
    words: str


def config_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe that a calibration is of, as they are after they were written and read again.

    The number of checkpoints is among them under the schedule ``plateau`` alone, whose rate falls by evaluations.

    Args:
        recipe: all values, as runs write them down.
    """
    content: dict[str, Any] = json.loads(json.dumps(recipe))
    left_out = {"steps"} if content.get("schedule") == "plateau" else {"steps", "checkpoints"}
    return {name: value for name, value in content.items() if name not in left_out}


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with every value of today's recipes; one that was added after it was written has its default.

    Settings of series are left out where the network sees none.
    """
    from benchmark.training.config import TrainingConfig, without_series  # which load torch

    defaults = config_of(asdict(TrainingConfig()))
    whole = {**defaults, **config, "network": {**defaults["network"], **config["network"]}}
    return whole if whole["network"]["series"] else without_series(whole)


def is_same_config(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two configs are the same, also where one was written before a value was added to recipes."""
    return one == other or (_names(one) != _names(other) and with_defaults(one) == with_defaults(other))


def _names(config: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    return set(config), set(config["network"])


def gain_at(points: Sequence[Point], steps: int) -> float:
    """Return how much twice as many steps gain, a share of mean IoU; NaN where the curve does not hold both.

    Between two measured numbers of steps the curve is taken to be a line over the logarithm of the steps.
    """
    if not points or steps < points[0].steps or 2 * steps > points[-1].steps:
        return math.nan
    logs, means = [math.log2(point.steps) for point in points], [point.mean for point in points]
    before, after = np.interp([math.log2(steps), math.log2(2 * steps)], logs, means)
    return float(after - before)


def converged_steps(points: Sequence[Point]) -> int:
    """Return the first measured number of steps from which on the curve is flat; 0 if there is none.

    It is flat if every measured doubling from there on changes the mean by less than `THRESHOLD`, up or down.
    """
    flat = [abs(two.mean - one.mean) < THRESHOLD for one, two in pairwise(points)]
    return next((points[place].steps for place in range(len(flat)) if all(flat[place:])), 0)


def rows(points: Sequence[Point]) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of a curve as a table: percent, and what twice as many steps gain."""
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
    recipe: Mapping[str, Any], fingerprint: str, dataset_digest: str, measured: Iterable[Calibration]
) -> Verdict:
    """Return whether a comparison is converged, by the calibrations that there are.

    Args:
        recipe: recipe of the comparison, with all values.
        fingerprint, dataset_digest: digests of the comparison's folds and data.
        measured: calibrations; of several of this config one on the same data counts, then one of most folds, of most
            seeds, of most steps, or the first.
    """
    unknown = Verdict(False, "not calibrated: what more steps would gain is not known (see landshift calibrate)")
    config = config_of(recipe)
    alike = [one for one in measured if one.fingerprint == fingerprint and is_same_config(one.recipe, config)]
    alike.sort(key=lambda one: (one.dataset_digest != dataset_digest, -len(one.folds), -len(one.seeds), -one.most))
    if not alike:
        return unknown
    first = alike[0]
    verdict = _verdict(first, int(recipe["steps"]))
    if first.dataset_digest != dataset_digest:
        return Verdict(False, f"not calibrated on these data; on others under these folds it is {verdict.words}")
    return verdict


def verdict_on(results: Path, protocol: str, facts: Mapping[str, str]) -> Verdict:
    """Return whether a comparison is converged, by what is known of its protocol (`calibrations`).

    Args:
        facts: facts of the comparison.
    """
    measured = calibrations(results, protocol)
    return calibration_of(json.loads(facts["recipe"]), facts["fingerprint"], facts["dataset_digest"], measured)


def _verdict(measured: Calibration, steps: int) -> Verdict:
    points, enough, of = measured.points, measured.converged_steps, _extent(measured)
    if enough and steps >= enough:
        longer = steps > enough
        compared, at = (f" (these are {steps:,})", f"at {enough:,} steps ") if longer else ("", "")
        still = f"{at}source-only would {_change(gain_at(points, enough), 'gain', 'lose')} with twice as many"
        return Verdict(True, f"calibrated: converged at {enough:,} steps{compared}; {still}{of}")
    gain = gain_at(points, steps)
    if math.isfinite(gain):
        about = "" if {steps, 2 * steps} <= {point.steps for point in points} else "about "
        still = f"source-only would {_change(gain, f'gain {about}', f'lose {about}')} with twice as many"
    elif steps < points[0].steps and not enough:
        least = points[0].steps
        return Verdict(False, f"not converged: {steps:,} steps, and the shortest calibration has {least:,}{of}")
    else:
        one, two = points[:2] if steps < points[0].steps else points[-2:]
        gain = two.mean - one.mean
        still = f"source-only {_change(gain, 'still gained', 'lost')} from {one.steps:,} to {two.steps:,}"
    if enough:
        return Verdict(False, f"not converged: {steps:,} of the {enough:,} steps that source-only needs; {still}{of}")
    return Verdict(False, f"not shown to be converged at {steps:,} steps; {still}{of}")


def _change(share: float, up: str, down: str) -> str:
    """Return ``gain 1.2 points ...``, with the verb for its sign."""
    tenths = round(1000 * share)
    return f"{(up if tenths >= 0 else down).strip()} {abs(tenths) / 10:.1f} points of source validation"


def _extent(measured: Calibration) -> str:
    """Return which folds were measured, where they are not all."""
    return f" (measured on {', '.join(measured.folds)} alone)" if len(measured.folds) < measured.protocol_folds else ""


def checkout() -> Path | None:
    """Return the folder of the repository that landshift runs from; None where it is installed without it."""
    root = Path(next(iter(benchmark.__path__))).parent
    return root if (root / "pyproject.toml").is_file() else None


def calibrations(results: Path, protocol: str) -> list[Calibration]:
    """Return all that is known of a protocol: in a folder of results, and published in the repository.

    Raises:
        DataError: a file is not one of these.
    """
    folders = [results, *([root / "results"] if (root := checkout()) else [])]
    return [one for folder in folders for one in read(file_of(folder, protocol))]


def file_of(results: Path, protocol: str) -> Path:
    """Return the file with the calibrations of a protocol.

    Args:
        protocol: its name.
    """
    return results / FOLDER / f"{protocol}.toml"


def add(path: Path, one: Calibration) -> Calibration:
    """Write a calibration into a file, where it replaces those of the same config, data, folds and seeds.

    One that was given up before it was converged, with fewer steps than the file has, is not written.

    Returns:
        what the file now holds of this config, data, folds and seeds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent.with_suffix(".lock")):  # beside the folder, whose files are committed
        before = read(path)
        longer = [other for other in before if other.key == one.key and other.most > one.most]
        if longer and not one.converged_steps:
            return longer[0]
        kept = [other for other in before if other.key != one.key]
        draft = path.with_suffix(f".{os.getpid()}.new")
        draft.write_text(as_toml([*kept, one]), encoding="utf-8")
        draft.replace(path)
        return one


def read(path: Path) -> list[Calibration]:
    """Return the calibrations in a file; none where there is no file.

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
    recipe = dict(entry["recipe"])
    if not isinstance(recipe["network"], dict):
        raise TypeError("a recipe has no table of the network")
    return Calibration(
        fingerprint=str(entry["fingerprint"]),
        dataset=str(entry["dataset"]),
        dataset_digest=str(entry["dataset_digest"]),
        seeds=tuple(map(int, entry["seeds"])),
        protocol_folds=int(entry["protocol_folds"]),
        version=str(entry["version"]),
        recipe=recipe,
        points=points,
    )


def as_toml(entries: Sequence[Calibration]) -> str:
    """Return the file that holds these calibrations."""
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
    """Return a basic string of TOML, which forbids one character more than JSON does."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _number(value: float) -> str:
    return f"{value:.{DIGITS}f}"
