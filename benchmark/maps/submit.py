"""A finished run's predictions of a challenge's test."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data.flair import BANDS, read_flair
from benchmark.maps.blocks import Predictor, batch_size
from benchmark.maps.pieces import OnProgress
from benchmark.maps.submission import challenge_of, write_submission
from benchmark.maps.trained import TrainedRun
from benchmark.maps.windows import Tiling


def submit(
    run: TrainedRun,
    data: Path,
    name: str,
    target: Path,
    partial: bool = False,
    on_progress: OnProgress | None = None,
) -> int:
    """Write a run's predictions of the test of FLAIR #1 or #2 as its challenge took them.

    A test-time method learns from the images on the way, in the order of their numbers.

    Args:
        run: a run trained on FLAIR's bands, or on some of them.
        data: folder of a copy of FLAIR, see `benchmark.data.flair.read_flair`.
        name: challenge, a key of `benchmark.maps.submission.CHALLENGES`.
        target: path of the zip.
        partial: allow data that lack some images of the test.
        on_progress: called with the images that are done, and their number.

    Returns:
        Number of predictions.

    Raises:
        DataError: the run has other classes or bands than FLAIR; the data lack images of the test.
        SettingsError: there is no such challenge.
    """
    numbers = [challenge_of(name).numbers]
    catalog = read_flair(data, run.images.classes.name, name, numbers)
    if run.images.bands != BANDS:
        catalog = replace(catalog, bands=run.images.bands, file_bands=BANDS)
    whole = Tiling(window=0, margin=0)
    at_once = batch_size(run, whole)
    device = run.stepper.fabric.device
    with closing(Predictor(run, whole, -(-len(catalog.patches) // at_once), probabilities=False)) as predictor:

        def predict(images: NDArray) -> NDArray[np.uint8]:
            logits = predictor.logits(run.scaling(torch.from_numpy(images).to(device)))
            return logits.argmax(1).to(torch.uint8).cpu().numpy()

        return write_submission(catalog, name, predict, target, at_once, partial, on_progress)
