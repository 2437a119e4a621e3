"""Files among a run's artifacts with what the selection rules know of its checkpoints."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.common.errors import DataError
from benchmark.common.files import read_arrays, read_json
from benchmark.data.classes import slug
from benchmark.evaluation.comparison import Cell, Grid
from benchmark.evaluation.sanity_checks import majority_miou
from benchmark.evaluation.selection import Record
from benchmark.evaluation.shares import ShareErrors, share_errors
from benchmark.evaluation.significance import patch_noise
from benchmark.evaluation.validators import AGREEMENT, ensemble_agreement, mixup_ranks
from benchmark.experiments.run_folder import Files

RECORDS = "checkpoints.json"
CONFUSIONS = "confusions.npz"
ZONES = "zones"  # in the place of a step, for the names of a part's zones
SETTINGS = "settings.json"
PANEL = "panel.png"
SAMPLE = "sample.npz"
CHANGED_NETWORK = "network_changed"  # tag of a run whose method trains another network than the config names
LEFT_OUT = "leave-one-source-domain-out"  # the rule that needs trainings of its own
Key = tuple[str, str, int]
"""Method, fold and seed of a cell."""


def write_records(folder: Path, records: Sequence[Record], samples: Sequence[NDArray[np.floating]]) -> None:
    """Write the scores of every checkpoint, and what each says of the fixed sample of the target.

    Args:
        samples: (n, C) probabilities of each checkpoint; none where there was no sample.
    """
    (folder / RECORDS).write_text(json.dumps([asdict(record) for record in records], indent=1), encoding="utf-8")
    if samples:
        np.savez(folder / SAMPLE, probabilities=np.stack(samples).astype(np.float16))


def with_records(cells: Sequence[Cell], grid: Grid, folders: Mapping[Key, Files]) -> list[Cell]:
    """Return the cells with what the selection rules know of their checkpoints.

    Args:
        folders: folders of the artifacts of finished cells, by method, fold and seed.
    """
    runs = {(cell.method, cell.fold, cell.seed): cell for cell in cells if cell.status == "done"}
    runs = {key: replace(cell, records=read_records(folders[key])) for key, cell in runs.items() if key in folders}
    places = defaultdict(list)
    for key, cell in runs.items():
        if cell.records and cell.method not in grid.bounds:
            places[cell.fold, cell.seed].append(key)
    for keys in places.values():
        by_run = pooled([runs[key].records for key in keys], [folders[key] for key in keys])
        runs |= {key: replace(runs[key], pooled=records) for key, records in zip(keys, by_run, strict=True)}
    return [runs.get((cell.method, cell.fold, cell.seed), cell) for cell in cells]


def with_nested(
    cells: Sequence[Cell], runs: Sequence[tuple[Mapping[str, str], Files]], label: Callable[[str, str], str]
) -> list[Cell]:
    """Return the cells with a score for what the same training gives where a source domain is held out.

    Args:
        runs: facts and artifacts of the finished runs inside the folds.
        label: function of a row and a fold that gives what was trained there.
    """
    by_step: dict[tuple[str, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    count: dict[tuple[str, ...], int] = {}
    for facts, folder in runs:
        key = facts["method"], facts["inside"], facts["seed"]
        count[key] = int(facts["inside_of"])
        for record in read_records(folder):
            by_step[key][record.step].append(record.target_miou)

    def scored(cell: Cell, records: Sequence[Record]) -> list[Record]:
        key = label(cell.method, cell.fold), cell.fold, str(cell.seed)
        return [
            replace(record, scores={**record.scores, LEFT_OUT: float(np.mean(values))})
            if len(values := by_step[key][record.step]) == count.get(key)
            else record
            for record in records
        ]

    return [replace(cell, records=scored(cell, cell.records), pooled=scored(cell, cell.pooled)) for cell in cells]


def patch_noises(cells: Sequence[Cell], grid: Grid, folders: Mapping[Key, Files]) -> dict[str, float]:
    """Return `patch_noise` of each method but the control, from the runs' confusion matrices."""
    done = {(cell.method, cell.fold, cell.seed): cell for cell in cells if cell.metrics is not None}
    control = {key[1:]: _matrices(cell, folders[key]) for key, cell in done.items() if key[0] == grid.control}
    noises = {}
    for method in grid.methods:
        pairs = defaultdict(list)
        for key in (key for key in done if key[0] == method != grid.control and key[1:] in control):
            theirs, own = control[key[1:]], _matrices(done[key], folders[key])
            if own and own.keys() == theirs.keys():
                pairs[key[1]].append((np.stack([own[zone] for zone in theirs]), np.stack(list(theirs.values()))))
        noises[method] = patch_noise(pairs)
    return noises


def zonal_errors(cells: Sequence[Cell], folders: Mapping[Key, Files]) -> dict[Key, ShareErrors]:
    """Return the errors of the class shares of each run's zones at its chosen checkpoint; not of runs without any."""
    errors: dict[Key, ShareErrors] = {}
    for key, cell in (((cell.method, cell.fold, cell.seed), cell) for cell in cells if cell.metrics is not None):
        step = int((cell.metrics or {}).get("selected/step", 0))
        test, source = f"{step}/target_test", f"{step}/source_val"
        parts = read_confusions(folders[key], test, source)
        found = share_errors(parts.get(test, {}), parts.get(source, {}).values())
        errors |= {key: found} if found else {}
    return errors


def majorities(cells: Sequence[Cell], grid: Grid, folders: Mapping[Key, Files]) -> dict[str, float]:
    """Return the `majority_miou` of each fold, by what the control's runs know of its test."""
    return {fold: majority_miou(confusion) for fold, (confusion, _) in _tests(cells, grid, folders).items()}


def class_pixels(cells: Sequence[Cell], grid: Grid, folders: Mapping[Key, Files]) -> dict[str, dict[str, int]]:
    """Return the valid pixels of each class in the test of each fold, by the class's name in metrics."""
    pixels = {}
    for fold, (confusion, folder) in _tests(cells, grid, folders).items():
        names = class_names(folder)
        pixels[fold] = {slug(name): int(n) for name, n in zip(names, confusion[:-1].sum(1), strict=True)}
    return pixels


def class_shares(cells: Sequence[Cell], grid: Grid, folders: Mapping[Key, Files]) -> dict[str, float]:
    """Return the share of the tests' valid pixels of each class, mean over folds, by the class's name in metrics."""
    shares: dict[str, list[float]] = defaultdict(list)
    for pixels in class_pixels(cells, grid, folders).values():
        for name, count in pixels.items():
            shares[name].append(count / max(sum(pixels.values()), 1))
    return {name: float(np.mean(values)) for name, values in shares.items()}


def class_names(folder: Files) -> list[str]:
    """Return the classes of a run, in the order of its confusion matrices."""
    names = read_json(folder / SETTINGS).get("classes")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{folder / SETTINGS}: holds no list of classes")
    return names


def _tests(
    cells: Sequence[Cell], grid: Grid, folders: Mapping[Key, Files]
) -> dict[str, tuple[NDArray[np.int64], Files]]:
    """Return for each fold a confusion matrix of the control on its test, and the folder it is from."""
    by_fold: dict[str, tuple[NDArray[np.int64], Files]] = {}
    for cell in cells:
        if cell.method == grid.control and cell.metrics is not None and cell.fold not in by_fold:
            folder = folders[cell.method, cell.fold, cell.seed]
            if matrices := _matrices(cell, folder):
                by_fold[cell.fold] = np.sum(list(matrices.values()), axis=0), folder
    return by_fold


def _matrices(cell: Cell, folder: Files) -> dict[str, NDArray[np.int64]]:
    """Return the confusion matrix of each zone of the test at the chosen checkpoint; none where the file is missing."""
    return matrices_at(folder, int((cell.metrics or {}).get("selected/step", 0)))


def matrices_at(folder: Files, step: int) -> dict[str, NDArray[np.int64]]:
    """Return the confusion matrix of each zone of the test at a checkpoint; none where the file is missing."""
    place = f"{step}/target_test"
    return read_confusions(folder, place).get(place, {})


def read_confusions(folder: Files, *places: str) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Return the confusion matrices (C + 1, C) of a run by ``step/part`` and zone; none where the file is missing.

    Args:
        places: names ``step/part`` of the matrices to read; none for all.

    Raises:
        DataError: the file is damaged, or holds something else.
    """
    path = folder / CONFUSIONS
    if not path.is_file():
        return {}
    arrays = read_arrays(path, {name for place in places for name in (place, _zones(place))} or None)
    confusions = {}
    for place in [name for name in arrays if not name.startswith(f"{ZONES}/")]:
        zones, matrices = arrays.get(_zones(place), np.empty(0)), arrays[place]
        shape = matrices.shape
        is_stack = matrices.dtype.kind in "iu" and len(shape) == 3 and shape[1] == shape[2] + 1
        if not is_stack or zones.dtype.kind != "U" or zones.shape != shape[:1]:
            raise DataError(
                f"{path}: holds an array {shape} of {matrices.dtype} for {zones.size} zones, where a confusion matrix "
                "of each is expected"
            )
        confusions[place] = dict(zip(zones.tolist(), matrices.astype(np.int64, copy=False), strict=True))
    return confusions


def _zones(place: str) -> str:
    """Return the array with the names of the zones of a ``step/part``."""
    return f"{ZONES}/{place.partition('/')[2]}"


def read_records(folder: Files) -> tuple[Record, ...]:
    """Return the records of a run; none where it was made by a version that kept none."""
    path = folder / RECORDS
    if not path.is_file():
        return ()
    try:
        return tuple(
            Record(
                int(values["step"]),
                float(values["source_val_miou"]),
                float(values["target_miou"]),
                {str(name): float(score) for name, score in values["scores"].items()},
            )
            for values in read_json(path, list)
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: no record of checkpoints ({type(error).__name__}: {error})") from error


def pooled(runs: Sequence[Sequence[Record]], folders: Sequence[Files]) -> list[list[Record]]:
    """Return the records of runs of one fold and seed with scores that can be compared between the runs.

    All scores but two are as they are: agreement with the other candidates, and the rank among them, are those with the
    candidates of all runs.
    """
    ranks = iter(mixup_ranks([record.scores for records in runs for record in records]))
    runs = [[replace(record, scores={**record.scores, **next(ranks)}) for record in records] for records in runs]
    samples = [
        read_arrays(path).get("probabilities") if path.is_file() else None
        for path in (folder / SAMPLE for folder in folders)
    ]
    present = [sample for sample in samples if sample is not None]
    scores = iter(ensemble_agreement(np.concatenate(present)).tolist() if present else ())
    return [
        [
            replace(record, scores={**record.scores, AGREEMENT: next(scores)}) if sample is not None else record
            for record in records
        ]
        for records, sample in zip(runs, samples, strict=True)
    ]
