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
_DOMAIN = re.compile(r"(?<=[\\/])D\d{3}_\d{4}(?=[\\/])")
_ZONE = re.compile(r"(?<=[\\/])Z\d+_[A-Z]{2}(?=[\\/])")


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
        DataError: no images, an unknown class set, two images or masks of one number, unreadable metadata, or
            metadata that contradicts the path of its image.

    Source: Garioud et al., FLAIR #1 (2022), and github.com/IGNF/FLAIR-1.
    """
    if class_set not in CLASS_SETS:
        raise DataError(f"class set {class_set!r} is unknown; allowed are {', '.join(CLASS_SETS)}")
    root = Path(root).resolve()
    files = _find(root)
    images = {f"IMG_{number}": path for number, path in sorted(files["IMG"].items())}
    if not images:
        raise DataError(f"{root}: no FLAIR images here; looked for **/D004_2021/**/Z10_AU/**/IMG_000826.tif")
    metadata = _read_metadata(root)
    if absent := metadata.keys() - images.keys():
        _LOG.warning("%s: the metadata has %d ids without an image, such as %s", root, len(absent), min(absent))
    rows = [
        _row(patch, path, files["MSK"].get(patch.removeprefix("IMG_"), ""), metadata.get(patch, {}))
        for patch, path in images.items()
    ]
    first = next(iter(images.values()))
    height, width = image_size(Path(first))
    if height != width:
        raise DataError(f"{first}: {width} x {height} pixels; FLAIR's patches are square")
    patches = pd.DataFrame(rows, columns=list(COLUMNS))
    return Catalog(name=name, classes=CLASS_SETS[class_set], bands=BANDS, patch_size=height, patches=patches)


def _find(root: Path) -> dict[str, dict[str, str]]:
    """Paths of all images ("IMG") and masks ("MSK") by their number, from one walk over the tree.

    Paths stay texts here: a `Path` for each of the 155,000 files would take twice the time of all the rest.
    """
    files: dict[str, dict[str, str]] = {"IMG": {}, "MSK": {}}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            if match := _PATCH.fullmatch(name):
                kind, number = match.groups()
                path = f"{folder}{os.sep}{name}"
                if files[kind].setdefault(number, path) != path:
                    raise DataError(f"{kind}_{number} is there twice: {files[kind][number]} and {path}")
    return files


def _row(patch: str, image: str, mask: str, entry: dict[str, Any]) -> dict[str, object]:
    domain, zone = _nearest(_DOMAIN, image), _nearest(_ZONE, image)
    for key, found in (("domain", domain), ("zone", zone)):
        if entry.get(key, found) != found:
            raise DataError(f"metadata of {patch}: {key} is {entry[key]!r}, but its path says {found!r}: {image}")
    place, time = domain.split("_")
    return {
        "id": patch,
        "image": image,
        "mask": mask,
        "place": place,
        "time": time,
        "zone": f"{place}/{zone}",
        "date": _date(patch, entry.get("date")),
        "x": _number(patch, "patch_centroid_x", entry),
        "y": _number(patch, "patch_centroid_y", entry),
        "camera": str(entry.get("camera") or ""),
        "row": 0,
        "column": 0,
    }


def _nearest(pattern: re.Pattern[str], path: str) -> str:
    """The name of the folder nearest to the file that matches."""
    if folders := pattern.findall(path):
        return folders[-1]
    raise DataError(f"{path}: no folder of its path is named like {'D004_2021' if pattern is _DOMAIN else 'Z10_AU'}")


def _date(patch: str, value: object) -> str:
    if not value:
        return ""
    try:
        return datetime.date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise DataError(f"metadata of {patch}: date is {value!r}; expected is YYYY-MM-DD") from None


def _number(patch: str, key: str, entry: dict[str, Any]) -> float:
    value = entry.get(key)
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"metadata of {patch}: {key} is {value!r}; expected is a number of metres") from None


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
