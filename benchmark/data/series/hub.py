"""Series of FLAIR-HUB: two rasters a patch, and a GeoPackage of dates."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.common.errors import DataError
from benchmark.common.files import parse_json
from benchmark.data.flair_files import FlairFiles, keep, walk
from benchmark.data.geopackage import read_columns
from benchmark.data.raster import read_pixels
from benchmark.data.series.files import day_of, joined
from benchmark.data.series.series import BANDS, NO_DATA, Series
from benchmark.data.series.store import SeriesSource

VALUES, COVERS = "SENTINEL2_TS", "SENTINEL2_MSK-SC"
PACKAGE = "GLOBAL_SENTINEL2_MTD_DATES.gpkg"

_FILE = re.compile(rf"(D[0-9]+-[0-9]{{4}})_({VALUES}|{COVERS})_([A-Za-z0-9-]+_[0-9]+-[0-9]+)\.tif")


@dataclass(frozen=True)
class HubSeriesFiles:
    """Files of FLAIR-HUB's series below a folder, in zip archives or not.

    Attributes:
        rasters: path by modality (`VALUES` and `COVERS`) and by id of the patch.
        packages: paths of the GeoPackage of dates, by its name; empty if it is not there.
        walked: archives that cannot be read, and files that are there twice.
    """

    rasters: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in (VALUES, COVERS)})
    packages: dict[str, str] = field(default_factory=dict)
    walked: FlairFiles = field(default_factory=FlairFiles)


def find_hub_series(root: Path) -> HubSeriesFiles:
    """Walk a folder of FLAIR-HUB, and the zip archives in it, for its series and their dates."""
    files = HubSeriesFiles()
    for path in walk(Path(root).resolve(), files.walked):
        name = path[max(path.rfind("/"), path.rfind(os.sep)) + 1 :]
        if match := _FILE.fullmatch(name):
            keep(files.rasters[match[2]], f"{match[1]}_{match[3]}", path, files.walked.twice)
        elif name == PACKAGE:
            keep(files.packages, name, path, files.walked.twice)
    return files


def hub_sources(root: Path, patches: Iterable[str]) -> list[SeriesSource]:
    """Return the sources of patches of FLAIR-HUB, each of which has a series of its own.

    Args:
        root: folder of the copy, unpacked or in its zip files.
        patches: ids, such as ``D012-2019_AF-S1-27_5-10``; they are the keys of the series.

    Raises:
        DataError: a patch lacks a raster or its dates, a file is there twice, or an archive cannot be read.
    """
    files = find_hub_series(root)
    if faults := [*files.walked.unreadable, *(f"{path}: is there twice" for path in files.walked.twice)]:
        raise DataError(faults[0])
    if not files.packages:
        raise DataError(f"{root}: has no {PACKAGE} (of GLOBAL_ALL_MTD.zip), which says the dates of the series")
    package, rasters = files.packages[PACKAGE], files.rasters
    days, sources = read_hub_days(package), []
    for patch in sorted(set(patches)):
        if missing := [kind for kind in rasters if patch not in rasters[kind]]:
            raise DataError(f"{root}: {patch} has no {missing[0]}; get {patch.partition('_')[0]}_{missing[0]}.zip")
        dates = days_of(patch, days)
        if dates is None:
            raise DataError(f"{package}: has no dates of {patch}")
        paths = rasters[VALUES][patch], rasters[COVERS][patch]
        read = partial(read_rasters, *paths, dates)
        sources.append(SeriesSource(patch, patch.partition("_")[0], (*paths, package), read))
    return sources


def read_rasters(values: str, covers: str, days: NDArray[np.int32]) -> Series:
    """Read a series of FLAIR-HUB, which is that of one patch.

    Args:
        values: path of a ``SENTINEL2_TS`` raster: T times ten bands, date by date; 10 x 10 pixels of 10.24 m.
        covers: path of the ``SENTINEL2_MSK-SC`` raster beside it: T times snow and cloud, 0 to 100.
        days: (T,) int32, the patch's dates, see `read_hub_days`.

    Returns:
        the series. A pixel that a file marks as without data in one band has none at any date.

    Raises:
        DataError: a file is missing or damaged, or has another number of dates.
    """
    layers = []
    for path, each in ((values, len(BANDS)), (covers, 2)):
        pixels = read_pixels(Path(path), [str(number) for number in range(len(days) * each)])
        layers.append((pixels.bands.reshape(len(days), each, *pixels.bands.shape[1:]), pixels.valid))
    (stored, valid), (probabilities, known) = layers
    series = joined((values, stored), (covers, probabilities), (values, days))
    for mask in (valid, known):
        if mask is not None:
            series.covers[..., ~mask], series.values[..., ~mask] = NO_DATA, 0
    return series


def read_hub_days(package: str) -> dict[str, NDArray[np.int32]]:
    """Return the dates of FLAIR-HUB's series by patch or region, from ``GLOBAL_SENTINEL2_MTD_DATES.gpkg``.

    Raises:
        DataError: it is no such GeoPackage, or an entry is not ``{"1": "20210114", ...}``, counted without a gap.
    """
    table = read_columns(package, "patch_id", "acquisition_dates")
    days: dict[str, NDArray[np.int32]] = {}
    for patch, text in table["acquisition_dates"].items():
        origin = f"{package}: dates of {patch}"
        entry = parse_json(text, origin)
        if not isinstance(entry, dict) or set(entry) != {str(number + 1) for number in range(len(entry))} or not entry:
            raise DataError(f'{origin}: expected is an object like {{"1": "20210114", "2": "20210119"}}')
        ordered = (entry[str(number + 1)] for number in range(len(entry)))
        days[str(patch)] = np.array([day_of(origin, date) for date in ordered], np.int32)
    return days


def days_of(patch: str, days: Mapping[str, NDArray[np.int32]]) -> NDArray[np.int32] | None:
    """Return the dates of a patch, or else of its region; None if neither has any."""
    return days.get(patch, days.get(patch.rpartition("_")[0]))
