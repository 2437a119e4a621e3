"""The file among a run's artifacts with the counts of its test by confidence, of every checkpoint."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmark.common.errors import DataError
from benchmark.common.files import read_arrays
from benchmark.evaluation.confidence import BINS, Confidence
from benchmark.experiments.run_folder import Files

CONFIDENCES = "confidences.npz"
_KINDS = {"pixels": ("iu", 3), "confusions": ("iu", 3), "temperature": ("f", 0), "calm": ("iu", 3)}


def write_confidences(folder: Path, confidences: Mapping[int, Confidence | None]) -> None:
    """Write the counts of the test by step; the zones are those of the confusion matrices."""
    arrays = {
        f"{step}/{name}": np.asarray(value)
        for step, each in confidences.items()
        if each is not None
        for name, value in asdict(each).items()
    }
    if arrays:
        np.savez_compressed(folder / CONFIDENCES, allow_pickle=False, **arrays)


def read_confidence(folder: Files, step: int) -> Confidence | None:
    """Return the counts of the test at a checkpoint; None where an older version kept none.

    Raises:
        DataError: the file is damaged, or holds something else.
    """
    path = folder / CONFIDENCES
    if not path.is_file():
        return None
    arrays = read_arrays(path, [f"{step}/{name}" for name in _KINDS])
    if not arrays:
        return None
    values = [arrays.get(f"{step}/{name}", np.empty(0)) for name in _KINDS]
    kinds = zip(values, _KINDS.values(), strict=True)
    pixels, confusions, temperature, calm = values
    if (
        any(value.dtype.kind not in kind or value.ndim != sides for value, (kind, sides) in kinds)
        or not pixels.shape == calm.shape == (len(pixels), BINS, 3)
        or confusions.shape != (BINS, confusions.shape[1], confusions.shape[1])
    ):
        raise DataError(f"{path}: holds no counts of pixels by confidence for step {step}")
    return Confidence(pixels.astype(np.int64), confusions.astype(np.int64), float(temperature), calm.astype(np.int64))
