"""Check of the series of a copy of FLAIR-HUB: what is missing, damaged or undated, and what the clouds leave."""

import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from benchmark.common.errors import DataError
from benchmark.data.archives import check_member
from benchmark.data.series.check import NO_SERIES, CoverCounts, Fault, count_covers, cover_notes
from benchmark.data.series.dates import FLAIRHUB
from benchmark.data.series.hub import COVERS, PACKAGE, VALUES, days_of, find_hub_series, read_hub_days, read_rasters

AT_ONCE = 2000  # patches waiting to be read


def check_hub_series(
    root: Path,
    patches: Iterable[str],
    progress: Callable[[int, int], None] | None = None,
    *,
    names_only: bool = False,
) -> tuple[list[Fault], list[str]]:
    """Read the series of all patches that have images.

    Args:
        root: folder of the copy, unpacked or in its zip files.
        patches: ids, such as ``D012-2019_AF-S1-27_5-10``.
        progress: function called with (series done, series in all).
        names_only: whether only names and dates are looked at, and no raster is opened.

    Returns:
        faults, and lines about what is no fault. A copy without any series has no fault.
    """
    files, patches = find_hub_series(root), sorted(patches)
    faults: list[Fault] = [("", "files that are there twice", path) for path in files.walked.twice]
    if not any(files.rasters.values()):
        return faults, [NO_SERIES]
    for kind, rasters in files.rasters.items():
        here = {_domain(patch) for patch in rasters}
        lacking = sorted({_domain(patch) for patch in patches} - here)
        faults += [("", "missing archives", f"{domain}_{kind}.zip") for domain in lacking]
        for patch in patches:
            domain, _, rest = patch.partition("_")
            if domain in here and patch not in rasters:
                faults.append((domain, "missing files of series", f"{domain}_{kind}_{rest}.tif"))
    dates: dict[str, NDArray[np.int32]] = {}
    try:
        if not files.packages:
            faults.append(("", "missing files of dates", PACKAGE))
        for package in files.packages.values():
            days = read_hub_days(package)
            dates = {patch: of_patch for patch in patches if (of_patch := days_of(patch, days)) is not None}
            undated = sorted({*patches} - {*dates})
            faults += [(_domain(patch), "patches without dates", patch) for patch in undated]
    except DataError as error:
        faults.append(("", "files of dates that cannot be used", str(error)))

    def count(patch: str) -> CoverCounts | DataError:
        values, covers = (files.rasters[kind][patch] for kind in (VALUES, COVERS))
        try:
            check_member(values)
            check_member(covers)
            series = read_rasters(values, covers, dates[patch])
            return count_covers(series, [series], FLAIRHUB)
        except DataError as error:
            return error

    found = [patch for patch in patches if all(patch in rasters for rasters in files.rasters.values())]
    whole = [] if names_only else [patch for patch in found if patch in dates]
    counts: list[CoverCounts] = []
    # As in `benchmark.data.flair_check`: threads mix up the filters of warnings, here they are put back at the end.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for start in range(0, len(whole), AT_ONCE):
            part = whole[start : start + AT_ONCE]
            for number, (patch, counted) in enumerate(zip(part, pool.map(count, part), strict=True), start + 1):
                if isinstance(counted, DataError):
                    faults.append((_domain(patch), "series that cannot be used", str(counted)))
                else:
                    counts.append(counted)
                if progress:
                    progress(number, len(whole))
    return faults, [
        f"Sentinel-2 series of {len(found)} of {len(patches)} patches",
        *cover_notes(counts, FLAIRHUB, "FLAIR-HUB", "patch"),
    ]


def _domain(patch: str) -> str:
    return patch.partition("_")[0]
