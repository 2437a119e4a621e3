"""Catalogs: one row a patch. Every dataset on disk becomes one, and protocols and the store look at nothing else."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from benchmark.common.errors import DataError
from benchmark.common.texts import unfit
from benchmark.data.classes import MOST_LETTERS, ClassSet, PolygonKeys, slug
from protocols.distances import ON_EARTH

_TEXT = ("id", "image", "mask", "place", "time", "zone", "date", "clock", "camera")
_NEVER_EMPTY = ("id", "image", "place", "zone")
_NUMBERS, _INTEGERS = ("x", "y", "z"), ("row", "column")
_DTYPES = dict.fromkeys(_TEXT, "str") | dict.fromkeys(_NUMBERS, "float64") | dict.fromkeys(_INTEGERS, "int64")

LARGEST_PATCH = 8192
COLUMNS = ("id", "image", "mask", "place", "time", "zone", "date", "clock", "x", "y", "z", "camera", "row", "column")
"""The columns that `Catalog.patches` always has, in order."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """A dataset on disk, described but not read.

    Attributes:
        name: name of the dataset.
        classes: classes, and their codes in the masks.
        bands: names of the patches' bands, in order: all of the files, or some of ``file_bands``.
        patch_size: height and width of a patch, in pixels of the rescaled image.
        patches: one row a patch, sorted by id (validated and brought into order on construction):

            - ``id``: unique text.
            - ``image``, ``mask``: absolute paths; mask is ``""`` where there is none.
            - ``place``, ``time``: the two parts of the domain; time is ``""`` where unknown.
            - ``zone``: patches of one zone are so close together that they are never split between two parts of a fold.
            - ``date``: ISO date, ``""`` where unknown; ``clock``: time of day ``"09:05"``, ``""`` where unknown.
            - ``x``, ``y``: float64, NaN where unknown; metres (EPSG:2154) for FLAIR, else the dataset's own unit.
            - ``z``: float64, metres above the sea, NaN where unknown.
            - ``camera``: ``""`` where unknown.
            - ``row``, ``column``: top-left pixel of the patch's window in the rescaled image.
            - ``longitude``, ``latitude``: only where files in several coordinate systems give them; see
              `protocols.distances`.
            - further columns: texts that a protocol may select by, as the published splits of FLAIR-HUB.
        scale: factor in (0, 1] by which images and masks are shrunk when read.
        unknown_share: largest tolerated share of mask pixels of a file that are no known class.
        file_bands: names of all bands of the image files, in their order, where a patch has only some; () if all.
        footprints: ``west``, ``south``, ``east``, ``north`` of each id, from the files; None if unknown. No result
            depends on them: they show which patches are of one ground. In metres (see `in_metres`).
        pieces: windows down and across a piece of each image that is too large to be read at once, by its path.
        members: catalog of the source of each image, by its path, where a data set has several: how it is read.
        files: paths of the further files of each image that has several, by the path of the first.
        polygons: meaning of masks that are polygons; None if masks are images.
        heights: whether the last of the further files holds elevations, of which the last band is made (see
            `benchmark.data.heights`).
        series: layout of series of satellite images, if there are any (``flair`` or ``hub``, see
            `benchmark.data.series.patches`), and folder that is searched for them; None in other layouts.

    Raises:
        DataError: on construction; no patches, missing columns, empty or repeated ids, values outside their range.
    """

    name: str
    classes: ClassSet
    bands: tuple[str, ...]
    patch_size: int
    patches: pd.DataFrame
    scale: float = 1.0
    unknown_share: float = 0.0
    file_bands: tuple[str, ...] = ()
    footprints: pd.DataFrame | None = None
    pieces: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    polygons: PolygonKeys | None = None
    members: Mapping[str, "Catalog"] = field(default_factory=dict)
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    heights: bool = False
    series: tuple[str, Path] | None = None

    def __post_init__(self) -> None:
        problem = self._settings_problem() or _table_problem(self.patches)
        if problem:
            raise DataError(f"dataset {self.name}: {problem}")
        own = [str(column) for column in self.patches if column not in COLUMNS]
        kinds = {column: "float64" if column in ON_EARTH else "str" for column in own}
        patches = self.patches.loc[:, [*COLUMNS, *own]].astype(_DTYPES | kinds)
        patches = patches.sort_values("id").reset_index(drop=True)
        object.__setattr__(self, "patches", patches)

    def __len__(self) -> int:
        return len(self.patches)

    def member(self, image: str) -> "Catalog":
        """Return the catalog that says how an image is read: that of its source, or this one."""
        return self.members.get(image, self)

    @property
    def domain(self) -> "pd.Series[str]":
        """Domains of the patches: ``place@time``, or the place where the time is unknown; indexed like `patches`."""
        place, time = self.patches["place"], self.patches["time"]
        return place.where(time == "", place + "@" + time).rename("domain")

    def select(self, ids: Iterable[str]) -> "Catalog":
        """Return the catalog of these patches only (still sorted by id).

        Raises:
            DataError: an id is not in this catalog; the message names the first ones.
        """
        wanted = set(ids)
        if unknown := sorted(wanted - set(self.patches["id"])):
            raise DataError(f"dataset {self.name}: {len(unknown)} of {len(wanted)} ids are unknown: {_first(unknown)}")
        return replace(self, patches=self.patches[self.patches["id"].isin(wanted)])

    def of_domains(self, domains: Iterable[str]) -> "Catalog":
        """Return the catalog of all patches of some domains."""
        return replace(self, patches=self.patches[self.domain.isin(set(domains))])

    def _settings_problem(self) -> str:
        if not re.fullmatch(r"[\w.-]+", self.name) or self.name.startswith("."):
            return "the name of a dataset holds letters, digits, '.', '-' and '_' only, and '.' is not the first"
        if len(self.name) > MOST_LETTERS:
            return f"the name of a dataset has {len(self.name)} characters; at most {MOST_LETTERS} are possible"
        for bands in (self.bands, self.file_bands or self.bands):
            if not bands or len(set(bands)) < len(bands) or not all(bands):
                return f"band names must be unique and not empty, not {list(bands)}"
        if lacking := [band for band in self.bands if self.file_bands and band not in self.file_bands]:
            return f"the files have no band {lacking[0]!r}, but {', '.join(self.file_bands)}"
        if not 1 <= self.patch_size <= LARGEST_PATCH:
            return f"patch_size must be at least 1 and at most {LARGEST_PATCH}, not {self.patch_size}"
        if not 0 < self.scale <= 1:
            return f"scale must be above 0 and at most 1, not {self.scale}"
        if not 0 <= self.unknown_share <= 1:
            return f"unknown_share must be between 0 and 1, not {self.unknown_share}"
        return ""


def _table_problem(patches: pd.DataFrame) -> str:
    if missing := [column for column in COLUMNS if column not in patches]:
        return f"the table of patches lacks the columns {', '.join(missing)}"
    if patches.empty:
        return "no patches"
    for column in _TEXT:
        if patches[column].isna().any():
            return f"column {column} has missing values; unknown text is written ''"
        if fault := unfit(map(str, patches[column].unique())):
            return f"column {column}: {fault}"
    for column in _NEVER_EMPTY:
        empty = patches.loc[patches[column].astype(str) == "", "image"].astype(str)
        if len(empty):
            return f"{len(empty)} patches have an empty {column}, first in {empty.iloc[0]}"
    repeated = patches.loc[patches["id"].duplicated(), "id"].astype(str).unique()
    if len(repeated):
        files = patches.loc[patches["id"] == repeated[0], "image"].astype(str)
        return f"{len(repeated)} ids are not unique: {_first(repeated)} ({_first(files.unique())})"
    domains = patches["place"].astype(str) + "@" + patches["time"].astype(str)
    if long := [name for name in domains.unique() if len(slug(name)) > MOST_LETTERS]:
        return f"the domain {long[0][:60]!r}... is too long for the names of files and metrics, at most {MOST_LETTERS}"
    paths = {*patches["image"].astype(str), *patches["mask"].astype(str)} - {""}
    relative = sorted(path for path in paths if not os.path.isabs(path))  # noqa: PTH117 - quicker than 77,412 Paths
    return f"paths must be absolute: {_first(relative)}" if relative else ""


def _first(items: Iterable[str], count: int = 3) -> str:
    items = list(items)
    return ", ".join(items[:count]) + (" …" if len(items) > count else "")
