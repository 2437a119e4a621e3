"""Predictions as the challenges FLAIR #1 and #2 took them, and the check of such files."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.common.errors import DataError, SettingsError
from benchmark.data.catalog import Catalog
from benchmark.data.classes import FLAIR_13, FLAIR_19
from benchmark.data.flair import TEST_1, TEST_2
from benchmark.data.patches import read_patches
from benchmark.maps.files import whole_file
from benchmark.maps.pieces import OnProgress

_SIZE, _OTHER = 512, 12
_DAY = (1980, 1, 1, 0, 0, 0)  # of the files in the archive, so that the same predictions are the same bytes


@dataclass(frozen=True)
class Challenge:
    """The files that a challenge expects.

    Attributes:
        prefix: what the name of a file begins with; the six digits of the image's number follow.
        numbers: numbers of the images of its test.
    """

    prefix: str
    numbers: range

    def file(self, number: int) -> str:
        """Return the name of the prediction of an image."""
        return f"{self.prefix}{number:06}.tif"


CHALLENGES = {"flair1": Challenge("PRED_IMG_", TEST_1), "flair2": Challenge("PRED_", TEST_2)}
"""The challenges by name: 15,700 images of the test of FLAIR #1, 16,050 of that of FLAIR #2."""
Predict = Callable[[NDArray], NDArray[np.uint8]]
"""Function that turns images (N, bands, H, W) as they are read into (N, H, W) uint8, the outputs of a network."""


def challenge_of(name: str) -> Challenge:
    """Return a challenge by name; a `SettingsError` names them all."""
    if name not in CHALLENGES:
        raise SettingsError(f"challenge '{name}' does not exist; choose one of {', '.join(CHALLENGES)}")
    return CHALLENGES[name]


def write_submission(
    catalog: Catalog,
    name: str,
    predict: Predict,
    target: Path,
    batch: int = 8,
    partial: bool = False,
    on_progress: OnProgress | None = None,
) -> int:
    """Write a challenge's file: a zip of TIFFs of 512 by 512 pixels, uint8, without a place on the earth.

    The values are those of FLAIR's masks less one, 0 to 11, and 12 for all that the challenge calls "other": 13 to 19.

    Args:
        catalog: images, with FLAIR's classes.
        name: key of `CHALLENGES`.
        predict: the network.
        target: path of the zip. It appears when it is whole and has been checked.
        batch: images that are predicted at once.
        partial: allow a catalog that has only some of the challenge's images, such as FLAIR's toy data.
        on_progress: called with the images that are done, and their number.

    Returns:
        Number of predictions.

    Raises:
        DataError: the classes are not FLAIR's, images of the test are missing, or one has another size.
        SettingsError: there is no such challenge.
    """
    challenge = challenge_of(name)
    if catalog.classes not in (FLAIR_13, FLAIR_19):
        raise DataError(
            f"the challenge has the classes of FLAIR's masks, and {catalog.name} those of {catalog.classes.name}"
        )
    if (catalog.patch_size, catalog.scale) != (_SIZE, 1):
        raise DataError(
            f"{catalog.name}: the challenge has images of {_SIZE} x {_SIZE} pixels, which are read as they are"
        )
    rows = catalog.patches[catalog.patches["id"].isin({f"IMG_{number:06}" for number in challenge.numbers})]
    _check_count(catalog.name, {int(each[4:]) for each in rows["id"]}, challenge, partial)
    values = np.array([min(each.values[0] - 1, _OTHER) for each in catalog.classes.evaluated], np.uint8)
    with whole_file(target) as half:
        with zipfile.ZipFile(half, "w") as archive:
            for start in range(0, len(rows), batch):
                part = rows.iloc[start : start + batch]
                images = np.concatenate([read_patches(catalog, part.iloc[[row]]).images for row in range(len(part))])
                for image, classes in zip(part["id"], values[predict(images)], strict=True):
                    archive.writestr(zipfile.ZipInfo(challenge.file(int(image[4:])), _DAY), _tiff(classes))
                if on_progress:
                    on_progress(min(start + batch, len(rows)), len(rows))
        check_submission(half, name, partial)
    return len(rows)


def check_submission(path: Path, name: str, partial: bool = False) -> int:
    """Check a challenge's file: count, names, type, size and values of the predictions.

    Args:
        path: the zip.
        name: key of `CHALLENGES`.
        partial: allow some of the predictions to be missing.

    Returns:
        Number of predictions.

    Raises:
        DataError: something is wrong; the message names the first file.
        SettingsError: there is no such challenge.
    """
    challenge = challenge_of(name)
    numbers = {challenge.file(number): number for number in challenge.numbers}
    try:
        with zipfile.ZipFile(path) as archive:
            files = archive.namelist()
            for file in files:
                if file not in numbers:
                    raise DataError(f"{path}: {file} is none of the challenge's files, such as {next(iter(numbers))}")
                if fault := _fault(archive.read(file)):
                    raise DataError(f"{path}: {file}: {fault}")
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    _check_count(str(path), {numbers[file] for file in files}, challenge, partial)
    return len(files)


def _check_count(where: str, seen: set[int], challenge: Challenge, partial: bool) -> None:
    missing = [number for number in challenge.numbers if number not in seen]
    if not seen or (missing and not partial):
        raise DataError(
            f"{where}: has {len(seen):,} of the {len(challenge.numbers):,} images of the challenge's test; "
            f"{challenge.file(missing[0])} would be missing"
        )


def _tiff(classes: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(classes).save(content, "TIFF", compression="tiff_lzw")
    return content.getvalue()


def _fault(content: bytes) -> str:
    """Return what is wrong with a prediction, "" for nothing."""
    try:
        with Image.open(io.BytesIO(content), formats=("TIFF",)) as picture:
            if (picture.mode, picture.size) != ("L", (_SIZE, _SIZE)):
                return f"is {picture.size[0]} x {picture.size[1]} of {picture.mode}, not {_SIZE} x {_SIZE} of uint8 (L)"
            largest = int(np.asarray(picture).max())
    except (OSError, SyntaxError, ValueError) as error:
        return f"is no TIFF: {error}"
    return f"has the value {largest}, above {_OTHER}" if largest > _OTHER else ""
