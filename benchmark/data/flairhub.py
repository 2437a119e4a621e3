"""FLAIR-HUB, aerial images of 74 departments and years with land cover or crops, as a catalog."""

import datetime
import logging
import math
import os
import re
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from rasterio.errors import NotGeoreferencedWarning

from benchmark.common.errors import DataError
from benchmark.common.texts import unfit
from benchmark.data.archives import source_file
from benchmark.data.catalog import COLUMNS, Catalog
from benchmark.data.catalog_cache import Made, cached
from benchmark.data.classes import ClassSet
from benchmark.data.flair_files import FlairFiles, add_stamp, keep, walk
from benchmark.data.flairhub_classes import COSIA, LPIS
from benchmark.data.geopackage import read_columns
from benchmark.data.heights import HEIGHT
from benchmark.data.raster import image_header
from protocols.ground import overlaps

_LOG = logging.getLogger(__name__)

IMAGES, ELEVATION = "AERIAL_RGBI", "DEM_ELEV"
AERIAL = ("red", "green", "blue", "nir")
"""The four uint8 bands of AERIAL_RGBI."""


@dataclass(frozen=True)
class Content:
    """Part of FLAIR-HUB that a data set takes: the modality of its labels, their classes, and whether with heights."""

    labels: str
    classes: ClassSet
    heights: bool = False

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of the aerial images and, with heights, one as FLAIR #1's fifth."""
        return (*AERIAL, HEIGHT) if self.heights else AERIAL


CONTENTS = {
    f"flairhub{crops}{end}": Content(labels, classes, bool(end))
    for crops, labels, classes in (("", "AERIAL_LABEL-COSIA", COSIA), ("-lpis", "ALL_LABEL-LPIS", LPIS))
    for end in ("", "-height")
}
"""The content of each data set, by its name."""

SIDES = ("west", "south", "east", "north")
_KINDS = (IMAGES, ELEVATION, *sorted({content.labels for content in CONTENTS.values()}))
_FILE = re.compile(rf"(D[0-9]+-[0-9]{{4}})_({'|'.join(_KINDS)})_([A-Za-z0-9-]+_[0-9]+-[0-9]+)\.tif")
_SPLITS, _DATES = "_SPLIT.gpkg", "_AERIAL_MTD_DATES.gpkg"


@dataclass(frozen=True)
class HubFiles:
    """FLAIR-HUB's files below a folder, in zip archives or not.

    Attributes:
        paths: path by modality and by id of the patch, such as ``D012-2019_AF-S1-27_5-10``.
        packages: paths of the GeoPackages of splits and dates, by name.
        walked: what the walk found beside them: stamps, and what cannot be read or is there twice.
    """

    paths: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in _KINDS})
    packages: dict[str, str] = field(default_factory=dict)
    walked: FlairFiles = field(default_factory=FlairFiles)

    def missing(self, labels: str) -> list[str]:
        """Return the names of the archives that are missing of domains that have the images or the labels alone."""
        domains = {kind: {domain_of(patch) for patch in self.paths[kind]} for kind in (IMAGES, labels)}
        pairs = ((IMAGES, labels), (labels, IMAGES))
        return [f"{domain}_{kind}.zip" for kind, other in pairs for domain in sorted(domains[other] - domains[kind])]


def find_hub_files(root: Path) -> HubFiles:
    """Walk a folder, and the zip archives in it. Modalities that are not used are not looked at."""
    files = HubFiles()
    for path in walk(root, files.walked):
        name = path[max(path.rfind("/"), path.rfind(os.sep)) + 1 :]
        if match := _FILE.fullmatch(name):
            keep(files.paths[match[2]], f"{match[1]}_{match[3]}", path, files.walked.twice)
        elif name.endswith((_SPLITS, _DATES)) and not name.startswith("."):
            keep(files.packages, name, path, files.walked.twice)
            add_stamp(source_file(path), files.walked)
    return files


def domain_of(patch: str) -> str:
    """Return the department and year of a patch, ``D012-2019``, from its id."""
    return patch.partition("_")[0]


def read_flairhub(root: Path, name: str = "flairhub") -> Catalog:
    """Find the patches of a copy of FLAIR-HUB, unpacked or not; some of its domains are enough.

    An image is any ``D012-2019_AERIAL_RGBI_AF-S1-27_5-10.tif``, also in zip archives, which are not unpacked. The other
    modalities are not read, but for the elevations. Place is the department (``D012``), time the year, zone the region
    of interest without the year (``D012/AF-S1-27``); where regions of two years cover common ground, they are one zone.
    x and y (EPSG:2154, metres) come from the images. ``GLOBAL_AERIAL_MTD_DATES.gpkg`` gives dates, and
    ``GLOBAL_ALL_MTD_SPLIT.gpkg`` the columns of the published splits; both may be absent.

    Args:
        root: folder of the copy.
        name: key of `CONTENTS`.

    Returns:
        One row an image, with id ``D012-2019_AF-S1-27_5-10``.

    Raises:
        DataError: no images, images of several sizes or without elevations that the data set has, one patch twice, or
            an unreadable archive, image or GeoPackage.

    Source: Garioud et al., FLAIR-HUB (2025), arXiv 2506.07080, and github.com/IGNF/FLAIR-HUB.
    """
    root = Path(root).resolve()
    content = CONTENTS[name]
    patches, size = cached((str(root), content.labels, content.heights), lambda: _make_table(root, content))
    footprints = patches.set_index("id")[list(SIDES)]
    return Catalog(
        name,
        content.classes,
        content.bands,
        size,
        patches.drop(columns=[*SIDES, ELEVATION], errors="ignore"),
        footprints=footprints if footprints.notna().any(axis=None) else None,
        files={image: (path,) for image, path in zip(patches["image"], patches[ELEVATION], strict=True)}
        if content.heights
        else {},
        heights=content.heights,
        series=("hub", root),
    )


def _make_table(root: Path, content: Content) -> Made:
    files = find_hub_files(root)
    if files.walked.unreadable:
        raise DataError(files.walked.unreadable[0])
    if again := files.walked.twice:
        raise DataError(f"{Path(again[0]).name} is there twice, the second time as {again[0]}")
    images, masks = dict(sorted(files.paths[IMAGES].items())), files.paths[content.labels]
    if not images:
        expected = f"D012-2019_{IMAGES}_AF-S1-27_5-10.tif, also in D012-2019_{IMAGES}.zip"
        raise DataError(f"{root}: no FLAIR-HUB images here; looked for {expected}")
    if fault := unfit([*images.values(), *masks.values(), *files.paths[ELEVATION].values()]):
        raise DataError(f"{root}: the path {fault}")
    if content.heights and (lacking := sorted(images.keys() - files.paths[ELEVATION].keys())):
        domains = dict.fromkeys(map(domain_of, lacking))
        raise DataError(
            f"{root}: {len(lacking)} of {len(images)} images have no elevation, such as {lacking[0]}; get the "
            f"{ELEVATION} of {_few([*domains])}, or take the data set without -height"
        )
    if missing := files.missing(content.labels):
        _LOG.warning(
            "%s: domains with images alone or labels alone, of which no patch has both: %d; missing are %s",
            *(root, len(missing), _few(missing)),
        )
    size, boxes = _headers(list(images.values()))
    dates, splits = _packages(files, images)
    places, times = zip(*(domain_of(patch).split("-") for patch in images), strict=True)
    table = pd.DataFrame(
        {
            "id": list(images),
            "image": list(images.values()),
            "mask": [masks.get(patch, "") for patch in images],
            "place": places,
            "time": times,
            "zone": [f"{place}/{patch.split('_')[1]}" for place, patch in zip(places, images, strict=True)],
            "date": [_date(patch, dates.get(patch, "")) for patch in images],
            "clock": "",
            "x": boxes[:, [0, 2]].mean(1),
            "y": boxes[:, [1, 3]].mean(1),
            "z": math.nan,
            "camera": "",
            "row": 0,
            "column": 0,
            **dict(zip(SIDES, boxes.T, strict=True)),
        },
        columns=[*COLUMNS, *SIDES],
    )
    if content.heights:
        table[ELEVATION] = [files.paths[ELEVATION][patch] for patch in images]
    return table.assign(zone=_one_zone_a_ground(table)).join(splits, on="id"), size, files.walked.stamps


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if names[5:] else "")


def _headers(images: list[str]) -> tuple[int, np.ndarray]:
    """Return the side of all images in pixels, and the box of each (n, 4), NaN where it has no georeference."""
    # As in `benchmark.data.flair_check`: threads mix up the filters of warnings, here they are put back at the end.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        headers = list(pool.map(lambda path: image_header(Path(path)), images))
    side = headers[0][0][0]
    if other := [(path, size) for path, (size, _) in zip(images, headers, strict=True) if size != (side, side)]:
        (path, (height, width)), *_ = other
        raise DataError(f"{path}: {width} x {height} pixels, where {side} x {side} are expected, as in {images[0]}")
    unknown = (math.nan,) * 4
    return side, np.array([place.box(0, 0, side, side) if place else unknown for _, place in headers], np.float64)


def _packages(files: HubFiles, images: Iterable[str]) -> tuple[dict[str, str], pd.DataFrame]:
    """Return dates by patch as they are written, and the columns of the published splits, "" where not in one."""
    dates: dict[str, str] = {}
    splits = pd.DataFrame(index=pd.Index(images, name="id"))
    for name, path in sorted(files.packages.items()):
        columns = read_columns(path, "patch_id", "date" if name.endswith(_DATES) else "split")
        if not columns.index.isin(splits.index).any():
            _LOG.warning("%s: names none of the patches here, but %s", path, ", ".join(columns.index[:2]))
        if name.endswith(_DATES):
            dates |= dict(zip(columns.index, columns["date"], strict=True))
        else:
            splits = splits.join(columns).fillna("")
    return dates, splits


def _date(patch: str, text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat() if text else ""  # 20190812 or 2019-08-12
    except ValueError:
        raise DataError(f"date of {patch}: {text!r}; expected is YYYYMMDD") from None


def _one_zone_a_ground(table: pd.DataFrame) -> list[str]:
    """Return the zones, with one name for those of a department at two times that cover common ground."""
    twice = table.groupby("place")["time"].transform("nunique") > 1
    if not twice.any():
        return table["zone"].tolist()
    ground = table[twice].set_index("id")
    zone_of = ground["zone"]
    joined: dict[str, str] = {}

    def first(zone: str) -> str:
        while zone in joined:
            zone = joined[zone]
        return zone

    for one, other, _ in overlaps(ground):
        kept, gone = sorted((first(zone_of[one]), first(zone_of[other])))
        if kept != gone:
            joined[gone] = kept
    return [first(zone) for zone in table["zone"]]
