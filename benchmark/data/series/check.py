"""Check of the series of a copy of FLAIR #2: what is missing, damaged or elsewhere, and what the clouds leave."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.common.errors import DataError
from benchmark.data.series.dates import FLAIR2, DateFilter, choose_dates
from benchmark.data.series.files import PARTS, find_series, read_centroids, read_series
from benchmark.data.series.series import CLOUD, NO_DATA, SNOW, Series, crop

Fault = tuple[str, str, str]
"""Domain, or "" where the fault is of none; kind of fault; path, or what else names it."""


NO_SERIES = "no Sentinel-2 series here; only networks with a series need them"


@dataclass(frozen=True)
class CoverCounts:
    """Counts of one series: dates, first and last day, pixels, those with clouds and snow; dates kept, by patch."""

    dates: int
    first: int
    last: int
    pixels: int
    clouds: int
    snow: int
    kept: list[int]
    fallbacks: int


def check_series(
    root: Path,
    zones: Mapping[str, str],
    progress: Callable[[int, int], None] | None = None,
    *,
    names_only: bool = False,
) -> tuple[list[Fault], list[str]]:
    """Read the series of all zones that have images, and look for the centre of each image in them.

    Args:
        root: folder of the copy, unpacked or in its zip files.
        zones: zone, such as ``D004_2021/Z10_AU``, of each image by its id, ``IMG_000826``.
        progress: function called with (series done, series in all).
        names_only: whether only names and centroids are looked at, and no series is opened.

    Returns:
        faults, and lines about what is no fault. A copy without any series has no fault.
    """
    files = find_series(root)
    faults: list[Fault] = [("", "series files in another zone's folder", text) for text in files.misplaced]
    faults += [("", "files that are there twice", path) for path in files.walked.twice]
    if not files.zones:
        return faults, [NO_SERIES]
    patches: dict[str, list[str]] = {zone: [] for zone in sorted({*zones.values()})}
    for patch, zone in sorted(zones.items()):
        patches[zone].append(patch)
    if not files.centroids:
        faults.append(("", "missing files of centroids", "flair-2_centroids_sp_to_patch.json"))
    centroids: dict[str, tuple[int, int]] = {}
    try:
        centroids = read_centroids(files.centroids)
        lacking = sorted(zones.keys() - centroids.keys()) if files.centroids else []
        faults += [(_domain(zones[patch]), "patches without a centroid", patch) for patch in lacking]
    except DataError as error:
        faults.append(("", "files of centroids that cannot be used", str(error)))
    whole = []
    for zone in patches:
        missing = [part for part in PARTS if part not in files.zones.get(zone, {})]
        if len(missing) == len(PARTS):
            faults.append((_domain(zone), "zones without a series", zone))
        else:
            name = f"SEN2_sp_{zone.replace('/', '-')}_"
            faults += [(_domain(zone), "missing files of series", name + part) for part in missing]
        if not missing:
            whole.append(zone)
    counts: list[CoverCounts] = []
    for number, zone in enumerate([] if names_only else whole, 1):
        paths = files.zones[zone]
        try:
            series = read_series(*(paths[part] for part in PARTS))
        except DataError as error:
            faults.append((_domain(zone), "series that cannot be used", str(error)))
        else:
            centres = {patch: centroids[patch] for patch in patches[zone] if patch in centroids}
            rows, columns = series.values.shape[-2:]
            for patch in [patch for patch, (row, column) in centres.items() if row >= rows or column >= columns]:
                row, column = centres.pop(patch)
                text = f"{patch}: row {row}, column {column} of {rows} x {columns} pixels in {paths[PARTS[0]]}"
                faults.append((_domain(zone), "centroids outside of their series", text))
            counts.append(count_covers(series, (crop(series, centre) for centre in centres.values()), FLAIR2))
        if progress:
            progress(number, len(whole))
    return faults, [
        f"Sentinel-2 series of {len(whole)} of {len(patches)} zones",
        *cover_notes(counts, FLAIR2, "FLAIR #2", "zone"),
    ]


def _domain(zone: str) -> str:
    return zone.partition("/")[0]


def count_covers(series: Series, parts: Iterable[Series], rule: DateFilter) -> CoverCounts:
    """Count the dates and covers of a series, and the dates that a rule keeps of the parts that belong to patches."""
    chosen = [choose_dates(part.covers, rule) for part in parts]
    known = series.covers != NO_DATA
    covered = ((series.covers >= rule.probability) & known).sum((0, 2, 3))
    return CoverCounts(
        dates=len(series.days),
        first=int(series.days.min()),
        last=int(series.days.max()),
        pixels=int(known[:, CLOUD].sum()),
        clouds=int(covered[CLOUD]),
        snow=int(covered[SNOW]),
        kept=[len(kept) for kept, _ in chosen],
        fallbacks=sum(fell_back for _, fell_back in chosen),
    )


def cover_notes(counts: Sequence[CoverCounts], rule: DateFilter, of: str, each: str) -> list[str]:
    """Return lines about all series: their dates, clouds and snow, and what a rule keeps.

    Args:
        of: data set whose rule it is.
        each: what has a series of its own.
    """
    if not counts:
        return []
    first, last = np.array([min(one.first for one in counts), max(one.last for one in counts)]).astype("datetime64[D]")
    pixels = max(sum(one.pixels for one in counts), 1)
    clouds, snow = (100 * sum(getattr(one, cover) for one in counts) / pixels for cover in ("clouds", "snow"))
    lines = [
        f"{_span([one.dates for one in counts])} dates a {each}, from {first} to {last}; {clouds:.0f} % of the pixels "
        f"are clouds, {snow:.0f} % snow (probability {rule.probability} % and above)"
    ]
    if kept := [count for one in counts for count in one.kept]:
        lines.append(
            f"{of}'s filter keeps {_span(kept)} dates a patch, {np.mean(kept):.1f} on average; of "
            f"{sum(one.fallbacks for one in counts)} patches it keeps none: the clearest date is taken"
        )
    return lines


def _span(counts: list[int]) -> str:
    return f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(counts[0])
