"""FLAIR #1, #2 and whatever is laid out like them (the synthetic world is) as a catalog."""

import datetime
import json
import logging
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.data.catalog import COLUMNS, Catalog
from benchmark.data.classes import CLASS_SETS
from benchmark.data.raster import image_size
from benchmark.errors import DataError

_LOG = logging.getLogger(__name__)

BANDS = ("red", "green", "blue", "nir", "height")
"""The five uint8 bands of FLAIR's images; height above ground in about 0.2 m a count."""

_PATCH = re.compile(r"(IMG|MSK)_(\d+)\.tif")
_DOMAIN = re.compile(r"D\d{3}_\d{4}")
_ZONE = re.compile(r"Z\d+_[A-Z]{2}")


def read_flair(root: Path, class_set: str = "flair-13", name: str = "flair1") -> Catalog:
    """Find the patches of an unpacked FLAIR.

    An image is any ``…/D004_2021/…/Z10_AU/…/IMG_000826.tif``; its mask is the ``MSK_000826.tif`` anywhere below the
    root. So the folders of the zip files, of the toy dataset and of the copy on Hugging Face are all read. Missing
    masks are normal.

    The metadata, any ``*metadata*.json`` in the root or one folder down, gives date, x, y (EPSG:2154, metres) and
    camera. It may be absent, or lack entries or fields: these are then unknown. Coordinates are not taken from the
    images instead, since opening 77,412 of them takes too long for a catalog.

    Place is the department (``D004``), time the year (``2021``), zone ``D004/Z10_AU``: without the year, since the same
    ground flown in two years must not lie on both sides of a split.

    Args:
        root: the folder that holds the unpacked folders.
        class_set: a key of `CLASS_SETS`.
        name: what to call the dataset.

    Returns:
        One row an image, with id ``IMG_000826``. The patch size is that of the first image.

    Raises:
        DataError: no images, an unknown class set, two masks for one image, unreadable metadata, or metadata that
            contradicts the path of its image.

    Source: Garioud et al., FLAIR #1 (2022), and github.com/IGNF/FLAIR-1.
    """
    if class_set not in CLASS_SETS:
        raise DataError(f"class set {class_set!r} is unknown; allowed are {', '.join(CLASS_SETS)}")
    root = Path(root).resolve()
    images, masks = _find(root)
    if not images:
        raise DataError(f"{root}: no FLAIR images here; looked for **/D004_2021/**/Z10_AU/**/IMG_000826.tif")
    metadata = _read_metadata(root)
    if absent := metadata.keys() - {path.stem for path in images}:
        _LOG.warning("%s: the metadata has %d ids without an image, such as %s", root, len(absent), min(absent))
    rows = [_row(path, masks.get(path.stem[4:], ""), metadata.get(path.stem, {})) for path in images]
    height, width = image_size(images[0])
    if height != width:
        raise DataError(f"{images[0]}: {width} x {height} pixels; FLAIR's patches are square")
    patches = pd.DataFrame(rows, columns=list(COLUMNS))
    return Catalog(name=name, classes=CLASS_SETS[class_set], bands=BANDS, patch_size=height, patches=patches)


def _find(root: Path) -> tuple[list[Path], dict[str, str]]:
    """All images, sorted, and the mask path of each number, by one walk over the tree."""
    images: list[Path] = []
    masks: dict[str, str] = {}
    for folder, _, files in os.walk(root, followlinks=True):
        for file in files:
            match = _PATCH.fullmatch(file)
            if match is None:
                continue
            kind, number = match.groups()
            path = Path(folder, file)
            if kind == "IMG":
                images.append(path)
            elif number in masks:
                raise DataError(f"two masks for IMG_{number}: {masks[number]} and {path}")
            else:
                masks[number] = str(path)
    return sorted(images), masks


def _row(image: Path, mask: str, entry: dict[str, Any]) -> dict[str, object]:
    domain, zone = _last(_DOMAIN, image), _last(_ZONE, image)
    for key, found in (("domain", domain), ("zone", zone)):
        if entry.get(key, found) != found:
            raise DataError(f"metadata of {image.stem}: {key} is {entry[key]!r}, but its path says {found!r}: {image}")
    place, time = domain.split("_")
    return {
        "id": image.stem,
        "image": str(image),
        "mask": mask,
        "place": place,
        "time": time,
        "zone": f"{place}/{zone}",
        "date": _date(image.stem, entry.get("date")),
        "x": _number(image.stem, "patch_centroid_x", entry),
        "y": _number(image.stem, "patch_centroid_y", entry),
        "camera": str(entry.get("camera") or ""),
        "row": 0,
        "column": 0,
    }


def _last(pattern: re.Pattern[str], path: Path) -> str:
    """The folder nearest to the file whose name matches."""
    for part in reversed(path.parts):
        if pattern.fullmatch(part):
            return part
    raise DataError(f"{path}: no folder of its path is named like {'D004_2021' if pattern is _DOMAIN else 'Z10_AU'}")


def _date(name: str, value: object) -> str:
    if not value:
        return ""
    try:
        return datetime.date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise DataError(f"metadata of {name}: date is {value!r}; expected is YYYY-MM-DD") from None


def _number(name: str, key: str, entry: dict[str, Any]) -> float:
    value = entry.get(key)
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"metadata of {name}: {key} is {value!r}; expected is a number of metres") from None


def _metadata_files(root: Path) -> Iterator[Path]:
    yield from sorted(root.glob("*metadata*.json"))
    yield from sorted(root.glob("*/*metadata*.json"))


def _read_metadata(root: Path) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for path in _metadata_files(root):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: no readable JSON ({error})") from error
        if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
            raise DataError(f"{path}: expected is one object with an object for each id, like {{'IMG_000001': {{…}}}}")
        entries |= content
    return entries
