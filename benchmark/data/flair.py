"""FLAIR #1, the aerial part of #2, and other data in their layout (such as the synthetic world) as a catalog."""

import datetime
import logging
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.common.errors import DataError
from benchmark.common.texts import unfit
from benchmark.data.catalog import COLUMNS, Catalog
from benchmark.data.catalog_cache import Made, cached
from benchmark.data.classes import CLASS_SETS
from benchmark.data.flair_files import domain_and_zone, find_files, read_metadata
from benchmark.data.raster import image_size

_LOG = logging.getLogger(__name__)

BANDS = ("red", "green", "blue", "nir", "height")
"""The five uint8 bands of FLAIR's images; height above ground in about 0.2 m a count."""

TRAINING, TEST_1, TEST_2 = range(1, 61_713), range(61_713, 77_413), range(77_413, 93_463)
"""Numbers of the patches: the training part of both, and the two tests. Five departments (D022, D026, D064, D068,
D071) are in both tests, with other areas: a method that is tested on one must not have seen the other."""

_CLOCK = re.compile(r"([01]?\d|2[0-3])h([0-5]\d)")


def read_flair(
    root: Path, class_set: str = "flair-13", name: str = "flair1", numbers: Sequence[range] | None = None
) -> Catalog:
    """Find the patches of a copy of FLAIR, unpacked or not.

    An image is any ``…/D004_2021/…/Z10_AU/…/IMG_000826.tif``; its mask is the ``MSK_000826.tif`` anywhere below the
    root. The folders of the zip files, of the toy data set and of the copy on Hugging Face (a zip a domain, with
    ``aerial`` and ``labels``) are all read, and so are these zip files themselves. Missing masks are normal.

    The metadata, any ``*metadata*.json``, gives date, time of day, x, y (EPSG:2154, metres), z (metres above the sea)
    and camera. It may be absent, or lack entries or fields: these are then unknown. Coordinates are not taken from the
    images instead, since opening 77,412 of them takes too long for a catalog.

    Place is the department (``D004``), time the year (``2021``), zone ``D004/Z10_AU``: without the year, since the same
    ground flown in two years must not be on both sides of a split.

    Args:
        root: folder that holds the unpacked folders, or the zip files.
        class_set: key of `CLASS_SETS`.
        name: name of the dataset.
        numbers: numbers of the patches that belong to it; all if None.

    Returns:
        One row an image, with id ``IMG_000826``. The patch size is that of the first image.

    Raises:
        DataError: no images, an unknown class set, two images or masks of one number, unreadable metadata, or
            metadata that contradicts the path of its image.

    Source: Garioud et al., FLAIR #1 (2022), and github.com/IGNF/FLAIR-1.
    """
    if class_set not in CLASS_SETS:
        raise DataError(f"class set {class_set!r} is unknown; allowed are {', '.join(CLASS_SETS)}")
    root = Path(root).resolve()
    patches, size = cached((str(root), numbers), lambda: _make_table(root, numbers))
    return Catalog(name, CLASS_SETS[class_set], BANDS, size, patches, series=("flair", root))


def _make_table(root: Path, numbers: Sequence[range] | None) -> Made:
    files = find_files(root)
    if files.unreadable:
        raise DataError(files.unreadable[0])
    if files.twice:
        again = Path(files.twice[0])
        first = (files.images if again.stem.startswith("IMG_") else files.masks)[again.stem[4:]]
        raise DataError(f"{again.stem} is there twice: {first} and {again}")
    images = {number: path for number, path in sorted(files.images.items()) if belongs(number, numbers)}
    if not images:
        raise DataError(
            f"{root}: no FLAIR images here; looked for **/D004_2021/**/Z10_AU/**/IMG_000826.tif. Images of "
            f"your own need a description: landshift data describe {root}"
        )
    if fault := unfit([*images.values(), *files.masks.values()]):
        raise DataError(f"{root}: the path {fault}")
    if files.hidden:
        count, first = len(files.hidden), files.hidden[0]
        _LOG.warning("%s: %d files are hidden, and left out, such as %s", root, count, first)
    metadata = read_metadata(files.metadata)
    if metadata and not any(f"IMG_{number}" in metadata for number in images):
        _LOG.warning(
            "%s: not one of the %d entries of the metadata is of an image here: they are named like %s, images like "
            "%s; dates, coordinates and cameras are unknown",
            *(root, len(metadata), min(metadata), f"IMG_{next(iter(images))}"),
        )
    absent = {entry for entry in metadata if belongs(entry[4:], numbers)} - {f"IMG_{number}" for number in images}
    if absent:
        _LOG.warning("%s: the metadata has %d ids without an image, such as %s", root, len(absent), min(absent))
    first = next(iter(images.values()))
    height, width = image_size(Path(first))
    if height != width:
        raise DataError(f"{first}: {width} x {height} pixels; FLAIR's patches are square")
    return _table(images, files.masks, metadata), height, files.stamps


def belongs(number: str, numbers: Sequence[range] | None) -> bool:
    """Return whether the patch of a number, as in a file's name, is of a data set."""
    if numbers is None:
        return True
    value = int(number) if number.isdigit() else -1
    return any(value in allowed for allowed in numbers)


def _table(images: dict[str, str], masks: dict[str, str], metadata: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return the table, made column by column: a third of the time of row by row for 77,412 patches."""
    ids = [f"IMG_{number}" for number in images]
    entries = [metadata.get(patch, {}) for patch in ids]
    homes = [domain_and_zone(path) for path in images.values()]
    for patch, image, entry, home in zip(ids, images.values(), entries, homes, strict=True):
        for key, folder in zip(("domain", "zone"), home, strict=True):
            if entry.get(key, folder) != folder:
                raise DataError(f"metadata of {patch}: {key} is {entry[key]!r}, but its path says {folder!r}: {image}")
    places = [domain.partition("_")[0] for domain, _ in homes]
    columns = {
        "id": ids,
        "image": list(images.values()),
        "mask": [masks.get(number, "") for number in images],
        "place": places,
        "time": [domain.partition("_")[2] for domain, _ in homes],
        "zone": [f"{place}/{zone}" for place, (_, zone) in zip(places, homes, strict=True)],
        **{column: _texts(ids, entries, *field) for column, field in _TEXTS.items()},
        **{column: _numbers(ids, entries, key) for column, key in _NUMBERS.items()},
        "row": 0,
        "column": 0,
    }
    return pd.DataFrame(columns, columns=list(COLUMNS))


def _texts(ids: list[str], entries: list[dict[str, Any]], key: str, read: Callable[[str, object], str]) -> list[str]:
    """Return one field of every entry; each of its values, of which there are few, is read once."""
    texts_by_value: dict[object, str] = {}
    texts = []
    for patch, entry in zip(ids, entries, strict=True):
        value = entry.get(key)
        if not isinstance(value, str):
            texts.append(read(patch, value))
            continue
        if value not in texts_by_value:
            texts_by_value[value] = read(patch, value)
        texts.append(texts_by_value[value])
    return texts


def _numbers(ids: list[str], entries: list[dict[str, Any]], key: str) -> list[float]:
    return [_number(key, patch, entry.get(key)) for patch, entry in zip(ids, entries, strict=True)]


def metadata_faults(patch: str, entry: dict[str, Any]) -> list[str]:
    """Return the faults of an entry of the metadata, field by field."""
    faults = []
    readers: list[tuple[str, Callable[[str, object], object]]] = [*_TEXTS.values()]
    readers += [(key, partial(_number, key)) for key in _NUMBERS.values()]
    for key, read in readers:
        try:
            read(patch, entry.get(key))
        except DataError as error:
            faults.append(str(error))
    return faults


def _date(patch: str, value: object) -> str:
    if not value:
        return ""
    try:
        return datetime.date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise DataError(f"metadata of {patch}: date is {value!r}; expected is YYYY-MM-DD") from None


def _clock(patch: str, value: object) -> str:
    if not value:
        return ""
    if match := _CLOCK.fullmatch(str(value)):
        return f"{int(match[1]):02d}:{match[2]}"
    raise DataError(f"metadata of {patch}: time is {value!r}; expected is HHhMM, such as 9h05 or 14h30")


def _camera(patch: str, value: object) -> str:
    if value is None or (isinstance(value, str) and not unfit([value])):
        return value or ""
    raise DataError(f"metadata of {patch}: camera is {repr(value)[:100]}; expected is a text")


def _number(key: str, patch: str, value: Any) -> float:
    if type(value) is float and math.isfinite(value):  # nearly all
        return value
    if value is None:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if isinstance(value, bool) or math.isinf(number):
        raise DataError(f"metadata of {patch}: {key} is {value!r}; expected is a number of metres")
    return number


_TEXTS: dict[str, tuple[str, Callable[[str, object], str]]] = {
    "date": ("date", _date),
    "clock": ("time", _clock),
    "camera": ("camera", _camera),
}
_NUMBERS = {"x": "patch_centroid_x", "y": "patch_centroid_y", "z": "patch_centroid_z"}
"""Columns of the catalog, and the metadata's fields that they are read from."""
