"""Files of series as FLAIR #2 has them: arrays, names of products, and centroids of the patches."""

import datetime
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import read_array
from numpy.typing import NDArray

from benchmark.common.errors import DataError
from benchmark.common.files import TEXT_BYTES, leads_out, parse_json
from benchmark.common.texts import shown
from benchmark.data.archives import read_bytes, source_file
from benchmark.data.flair_files import FlairFiles, check_once, domain_and_zone, keep, walk
from benchmark.data.series.series import BANDS, Series
from benchmark.data.tables import decoded

KINDS = ("uint16", "int16", "int32", "float32", "float64")
PARTS = ("data.npy", "masks.npy", "products.txt")
"""Ends of the names of the three files of a series."""

_FILE = re.compile(rf"SEN2_sp_(D\d{{3}}_\d{{4}})-(Z\d+_[A-Z]{{2}})_({'|'.join(map(re.escape, PARTS))})")
_PRODUCT = re.compile(r"S2[A-D]_MSIL[12][AC]_([0-9]{4})([0-9]{2})([0-9]{2})T[0-9]{6}(_[0-9A-Z]+)*(\.SAFE)?")
_EXAMPLE = "S2B_MSIL2A_20210114T105309_N0214_R051_T31TFJ_20210114T131427"
_FIRST, _LAST = datetime.date(2015, 6, 23), datetime.date(2099, 12, 31)  # Sentinel-2A flew in June 2015
_EPOCH = datetime.date(1970, 1, 1)


@dataclass(frozen=True)
class SeriesFiles:
    """Files of FLAIR #2's series below a folder, in zip archives or not.

    Attributes:
        zones: paths by the end of their names (one of `PARTS`), by zone, such as ``D004_2021/Z10_AU``.
        centroids: paths of the JSON files of centroids.
        misplaced: messages about files whose names say another zone than their folders, or that lead out of the folder.
        walked: archives that cannot be read, and files that are there twice.
    """

    zones: dict[str, dict[str, str]] = field(default_factory=dict)
    centroids: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    walked: FlairFiles = field(default_factory=FlairFiles)


def find_series(root: Path) -> SeriesFiles:
    """Walk a folder of FLAIR #2, and the zip archives in it, for ``SEN2_sp_D004_2021-Z10_AU_data.npy`` and the like."""
    files, root = SeriesFiles(), Path(root).resolve()
    for path in walk(root, files.walked):
        name = path[max(path.rfind("/"), path.rfind(os.sep)) + 1 :]
        if "centroids" in name and name.endswith(".json") and name[0] != ".":
            files.centroids.append(path)
        elif match := _FILE.fullmatch(name):
            zone = f"{match[1]}/{match[2]}"
            if fault := _place_fault(path, zone, root):
                files.misplaced.append(fault)
                continue
            keep(files.zones.setdefault(zone, {}), match[3], path, files.walked.twice)
    files.centroids.sort()
    return files


def zone_of(image: str) -> str:
    """Return the key in `SeriesFiles.zones` of an image, from its path.

    Raises:
        DataError: no folder of the path is named so.
    """
    return "/".join(domain_and_zone(image))


def _place_fault(path: str, zone: str, root: Path) -> str:
    if leads_out(Path(source_file(path)), root):
        return f"{path}: is a link that leads out of the data set's folder"
    try:
        folder = zone_of(path)
    except DataError:  # the name alone says it
        return ""
    return "" if folder == zone else f"{path}: its name says {zone}, but its folders say {folder}"


def read_series(data: str, masks: str, products: str) -> Series:
    """Read a series of FLAIR #2.

    Args:
        data: path of the values, ``_data.npy``: (T, 10, H, W) of one of `KINDS`. All paths may be in zip archives.
        masks: path of the covers, ``_masks.npy``: (T, 2, H, W) whole numbers from 0 to 100, snow and cloud.
        products: path of the names of ESA's products, ``_products.txt``: T lines.

    Raises:
        DataError: a file is missing or damaged, or two contradict each other; the message names it.
    """
    days = read_days(products)
    values, covers = _read_array(data), _read_array(masks)
    if values.dtype.name not in KINDS:
        raise DataError(f"{data}: numbers are {values.dtype.name}; expected is one of {', '.join(KINDS)}")
    _check_shape(data, values, len(BANDS))
    _check_shape(masks, covers, 2)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{data}: holds numbers that are not finite, perhaps damaged")
    return joined((data, values), (masks, covers), (products, days))


def read_days(products: str) -> NDArray[np.int32]:
    """Return the dates (T,) of a file of product names, one a line, as days since 1970-01-01.

    Raises:
        DataError: it cannot be read, is empty, or a line is no name of a Sentinel-2 product with a date that exists.
    """
    lines = decoded(products, _content(products, TEXT_BYTES)).rstrip("\r\n ").split("\n")
    days = []
    for number, line in enumerate(lines, 1):
        match = _PRODUCT.fullmatch(line.rstrip("\r "))
        if not match:
            text = repr(line[:100])
            raise DataError(f"{products}: line {number} is {text}; expected is a product's name such as {_EXAMPLE}")
        days.append(day_of(f"{products}: line {number}", "".join(match.groups()[:3])))
    return np.array(days, np.int32)


def read_centroids(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return row and column of each patch's centre in the series of its zone, by id, such as ``IMG_000826``.

    Args:
        paths: JSON files, ``{"IMG_000826.tif": [row, column]}``.

    Raises:
        DataError: a file is no such JSON, has an id twice, or contradicts another.
    """
    centroids: dict[str, tuple[int, int]] = {}
    for path in paths:
        text = decoded(path, _content(path, TEXT_BYTES))
        entries = parse_json(text, path)
        if not isinstance(entries, dict):
            raise DataError(f'{path}: expected is one object like {{"IMG_000001.tif": [100, 60]}}')
        if text.count('"IMG_') > len(entries):
            check_once(path, text)
        for name, place in entries.items():
            patch, centre = name.removesuffix(".tif"), _centre(path, name, place)
            if centroids.setdefault(patch, centre) != centre:
                raise DataError(f"{path}: {patch} is at {list(centre)}, and at {list(centroids[patch])} elsewhere")
    return centroids


def _content(path: str, most: int | None = None) -> bytes:
    try:
        return read_bytes(path, *([most] if most else []))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_array(path: str) -> NDArray:
    """Return the array of a ``.npy`` file in the processor's order of bytes; never anything that is pickled."""
    content = BytesIO(_content(path))
    try:
        array = read_array(content, allow_pickle=False)
    except Exception as error:  # numpy has a dozen kinds for damaged headers, and one for too little memory
        reason = shown((str(error).strip().splitlines() or [type(error).__name__])[0][:200])
        raise DataError(f"{path}: no readable .npy file, perhaps damaged ({reason})") from error
    if content.read(1):
        raise DataError(f"{path}: is longer than its header says, perhaps damaged")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _check_shape(path: str, array: NDArray, layers: int) -> None:
    if array.ndim != 4 or array.shape[1] != layers or not array.size:
        raise DataError(f"{path}: has the shape {array.shape}; expected is (dates, {layers}, rows, columns)")


def joined(values: tuple[str, NDArray], covers: tuple[str, NDArray], days: tuple[str, NDArray[np.int32]]) -> Series:
    """Return the series of values, covers and dates, each with its path.

    Raises:
        DataError: their numbers of dates or pixels differ, or the covers are not whole numbers from 0 to 100.
    """
    (data, stored), (masks, probabilities), (products, dates) = values, covers, days
    if not len(stored) == len(probabilities) == len(dates):
        counts = f"{len(stored)} dates, {masks} {len(probabilities)} and {products} {len(dates)}"
        raise DataError(f"{data}: has {counts}; all three must be of one series")
    if probabilities.shape[2:] != stored.shape[2:]:
        raise DataError(f"{masks}: {_pixels(probabilities)} pixels, where {data} has {_pixels(stored)}")
    if probabilities.dtype.kind not in "iuf":
        raise DataError(f"{masks}: numbers are {probabilities.dtype.name}; expected are probabilities from 0 to 100")
    right = (probabilities >= 0) & (probabilities <= 100)  # False for NaN
    if probabilities.dtype.kind == "f":
        right &= probabilities == np.rint(probabilities)
    if not right.all():
        strange = probabilities[~right].flat[0]
        raise DataError(f"{masks}: holds {strange:g}; expected are probabilities in whole percent, 0 to 100")
    return Series(stored, dates, probabilities.astype(np.uint8))


def _pixels(array: NDArray) -> str:
    return f"{array.shape[-1]} x {array.shape[-2]}"


def day_of(origin: str, text: object) -> int:
    """Return a date, ``20210114``, as days since 1970-01-01; the message of `DataError` begins with the origin."""
    wrong = DataError(f"{origin}: has the date {str(text)[:20]!r}; expected is YYYYMMDD, from {_FIRST} on")
    try:
        date = datetime.datetime.strptime(str(text), "%Y%m%d").date()
    except ValueError as error:
        raise wrong from error
    if not re.fullmatch("[0-9]{8}", str(text)) or not _FIRST <= date <= _LAST:
        raise wrong
    return (date - _EPOCH).days


def _centre(path: str, name: str, place: Any) -> tuple[int, int]:
    numbers: Sequence[Any] = place if isinstance(place, list) else []
    if len(numbers) == 2 and all(
        type(each) in (int, float) and 0 <= each < 1e6 and each == int(each) for each in numbers
    ):
        return int(numbers[0]), int(numbers[1])
    raise DataError(f"{path}: the centroid of {name[:50]!r} is {str(place)[:50]}; expected are its row and column")
