"""Check of a copy of FLAIR: what is missing, damaged or other than published."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.errors import NotGeoreferencedWarning

from benchmark.common.errors import DataError
from benchmark.data.archives import check_member
from benchmark.data.bands import BandsError
from benchmark.data.flair import BANDS, TEST_2, belongs, metadata_faults
from benchmark.data.flair_files import domain_and_zone, find_files, read_metadata
from benchmark.data.heights import HEIGHT
from benchmark.data.layers import read_files
from benchmark.data.raster import read_image, read_mask
from benchmark.data.series.check import check_series
from protocols.columns import read_table
from protocols.files import FOLDER

SIZE = 512
VALUES = range(1, 20)
EASTINGS, NORTHINGS = (0, 1_300_000), (6_000_000, 7_200_000)  # metres in EPSG:2154; the mainland and some sea
AT_ONCE = 2000  # files waiting to be read: more would only take memory


@dataclass(frozen=True)
class Expected:
    """Expected content of files: bands of the images, values of the masks, and the number of the masks' band."""

    bands: tuple[str, ...] = BANDS
    values: range = VALUES
    mask_band: int = 0


@dataclass
class DomainCheck:
    """Results of the check of one domain.

    Attributes:
        domain: name of the domain, such as ``D004_2021``.
        expected: number of patches that were published; NaN where only the number of a group of domains is known.
        patches: number of patches in the copy.
        faults: paths or ids by kind of fault.
    """

    domain: str
    expected: float = math.nan
    patches: int = 0
    faults: dict[str, list[str]] = field(default_factory=dict)

    def fault(self, kind: str, name: str) -> None:
        """Add a fault."""
        self.faults.setdefault(kind, []).append(name)


@dataclass(frozen=True)
class Check:
    """Results of the check of a copy.

    Attributes:
        domains: checks of the domains, in order of their names.
        groups: (domains, patches in the copy, patches expected) of those of which only the sum is known.
        faults: names by kind of fault, of files that belong to no domain.
        undated: images without an entry in the metadata.
        misdated: ids whose date is of another year than the folder's name.
        others: number of images that are not of this data set.
        notes: lines about what is no fault.
    """

    domains: list[DomainCheck]
    groups: list[tuple[str, int, int]]
    faults: dict[str, list[str]]
    undated: list[str]
    misdated: list[str]
    others: int
    notes: tuple[str, ...] = ()

    def missing(self) -> dict[str, int]:
        """Return the number of patches that were published and are missing, by domain or group of domains."""
        lacks = {domain.domain: int(domain.expected) - domain.patches for domain in self.domains if domain.expected > 0}
        lacks |= {name: expected - patches for name, patches, expected in self.groups}
        return {name: count for name, count in lacks.items() if count > 0}

    def verdict(self) -> tuple[bool, str]:
        """Return whether the copy is as published, and one line that says what to do otherwise."""
        counts = Counter({kind: len(names) for kind, names in self.faults.items()})
        for domain in self.domains:
            counts.update({kind: len(names) for kind, names in domain.faults.items()})
        counts["missing patches"] = sum(self.missing().values())
        patches = sum(domain.patches for domain in self.domains)
        wrong = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()) if count)
        notes = {
            "patches have no metadata, so no protocol by date or camera": len(self.undated),
            "patches are dated in another year than their folder's": len(self.misdated),
            "images are of another data set (see --dataset)": self.others,
        }
        noted = "".join(f"; {count:,} {note}" for note, count in notes.items() if count)
        if wrong:
            advice = "Mend what is named above, or unpack or download it again"
            return False, f"{patches:,} patches, not as published: {wrong}{noted}. {advice}"
        counted = self.groups or any(domain.expected > 0 for domain in self.domains)
        state = "as published" if counted else "without a fault; how many were published is not known"
        return True, f"{patches:,} patches, {state}{noted}"


def check_flair(
    root: Path,
    numbers: Sequence[range],
    progress: Callable[[int, int], None] | None = None,
    *,
    names_only: bool = False,
) -> Check:
    """Walk a copy, read every file, and compare with what was published.

    Args:
        root: folder of the copy, unpacked or in its zip files.
        numbers: numbers of the patches that belong to the data set.
        progress: function called with (files done, files in all).
        names_only: whether only names and metadata are looked at, and no image is opened.

    Raises:
        DataError: there is no patch at all, or a file of the metadata cannot be read.
    """
    files = find_files(Path(root).resolve())
    images = {number: path for number, path in files.images.items() if belongs(number, numbers)}
    masks = {number: path for number, path in files.masks.items() if belongs(number, numbers)}
    if not images and not files.unreadable:
        raise DataError(
            f"{root}: no FLAIR images here; looked for **/D004_2021/**/Z10_AU/**/IMG_000826.tif. Images of "
            f"your own need a description: landshift data describe {root}"
        )
    table = _published(numbers)
    domains: dict[str, DomainCheck] = {name: DomainCheck(name, expected) for name, expected, _ in table}
    loose: dict[str, list[str]] = {}
    for archive in files.unreadable:
        loose.setdefault("unreadable archives", []).append(archive)
    for path in files.twice:
        loose.setdefault("files that are there twice", []).append(path)
    homes: dict[str, DomainCheck] = {}
    metadata = {entry: fields for entry, fields in read_metadata(files.metadata).items() if belongs(entry[4:], numbers)}
    allowed = _domains_by_number(table)
    for number, path in sorted(images.items()):
        try:
            name, zone = domain_and_zone(path)
        except DataError:
            loose.setdefault("images in no domain's folder", []).append(path)
            continue
        homes[number] = domains.setdefault(name, DomainCheck(name))
        homes[number].patches += 1
        if name not in allowed.get(int(number), {name}):
            homes[number].fault("images in another domain's folder", path)
        fields = metadata.get(f"IMG_{number}", {})
        if fields.get("domain", name) != name or fields.get("zone", zone) != zone:
            homes[number].fault("images that the metadata puts elsewhere", path)
        for fault in metadata_faults(f"IMG_{number}", fields):
            homes[number].fault("values of the metadata that cannot be used", fault)
        if not _in_france(fields):
            homes[number].fault("coordinates outside France", path)
        if number not in masks:
            homes[number].fault("missing masks", path)
    for number in sorted(masks.keys() - images.keys()):
        loose.setdefault("masks without an image", []).append(masks[number])
    for entry in sorted(metadata.keys() - {f"IMG_{number}" for number in images}):
        loose.setdefault("metadata entries without an image", []).append(entry)
    undated = [path for number, path in sorted(images.items()) if f"IMG_{number}" not in metadata]
    misdated = [
        f"IMG_{number}: {metadata[f'IMG_{number}']['date']}"
        for number, home in sorted(homes.items())
        if str(metadata.get(f"IMG_{number}", {}).get("date") or home.domain[-4:])[:4] != home.domain[-4:]
    ]
    if not names_only:
        pairs = [(number, images[number], masks.get(number, "")) for number in sorted(homes)]
        for number, kind, path in read_all(pairs, progress):
            homes[number].fault(kind, path)
    notes: list[str] = []
    if TEST_2 in numbers:
        zones = {f"IMG_{number}": "/".join(domain_and_zone(images[number])) for number in homes}
        found, notes = check_series(root, zones, progress, names_only=names_only)
        for domain, kind, name in found:
            faults = domains[domain].faults if domain else loose
            faults.setdefault(kind, []).append(name)
    return Check(
        [domains[name] for name in sorted(domains)],
        _groups(table, numbers, images),
        loose,
        undated,
        misdated,
        len(files.images) - len(images),
        tuple(notes),
    )


def _published(numbers: Sequence[range]) -> list[tuple[str, float, range]]:
    """Return domains with their patches (NaN where unknown) and the numbers that they, or a group with them, have.

    Of FLAIR #2's test the number of all patches is known, and its departments are not listed.
    """
    header, rows = read_table(FOLDER / "tables" / "flair1-departments.csv")
    table = []
    for entry in (dict(zip(header, row, strict=True)) for row in rows):
        span = range(int(entry["first_id"]), int(entry["last_id"]) + 1)
        if any(span[0] in part for part in numbers):
            table.append((f"{entry['place']}_{entry['time']}", float(entry["patches"] or math.nan), span))
    return table


def _domains_by_number(table: Iterable[tuple[str, float, range]]) -> dict[int, set[str]]:
    """Return the domains that a patch of each number may belong to: one, or those of its group."""
    names: dict[range, set[str]] = {}
    for name, _, span in table:
        names.setdefault(span, set()).add(name)
    return {number: names[span] for span in names for number in span}


def _groups(
    table: Iterable[tuple[str, float, range]], numbers: Sequence[range], images: Iterable[str]
) -> list[tuple[str, int, int]]:
    """Return the sums that are known where the single counts are not."""
    spans: dict[range, list[str]] = {TEST_2: ["test of FLAIR #2"]} if TEST_2 in numbers else {}
    for name, expected, span in table:
        if math.isnan(expected):
            spans.setdefault(span, []).append(name)
    there = np.array([int(number) for number in images])
    return [
        (
            names[0] if len(names) == 1 else f"{len(names)} domains, {names[0]} to {names[-1]}",
            int(((there >= span[0]) & (there <= span[-1])).sum()),
            len(span),
        )
        for span, names in spans.items()
    ]


def _in_france(fields: dict[str, Any]) -> bool:
    """Return whether the coordinates, where any can be read, are in the Lambert-93 frame of the mainland."""
    try:
        x, y = float(fields["patch_centroid_x"]), float(fields["patch_centroid_y"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return True
    return EASTINGS[0] <= x <= EASTINGS[1] and NORTHINGS[0] <= y <= NORTHINGS[1]


def read_all(
    pairs: Sequence[tuple[str, ...]], progress: Callable[[int, int], None] | None, expected: Expected = Expected()
) -> Iterable[tuple[str, str, str]]:
    """Yield the faults (number, kind, path) of all files (number, image, mask, elevation or ""), read by all cores."""
    done = 0
    # Threads that change the filters of warnings, each for itself, mix them up; here they are put back at the end.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for start in range(0, len(pairs), AT_ONCE):
            jobs = [pool.submit(_read_pair, expected, *pair) for pair in pairs[start : start + AT_ONCE]]
            for job in jobs:  # in their order, so that two calls give the same faults in the same order
                yield from job.result()
                done += 1
                if progress:
                    progress(done, len(pairs))


def _read_pair(
    expected: Expected, number: str, image: str, mask: str, elevation: str = ""
) -> list[tuple[str, str, str]]:
    """Return the faults of one patch."""
    faults, values = [], expected.values
    for path in filter(None, (image, mask, elevation)):
        try:
            check_member(path)
            file = Path(path)
            if path == elevation:
                pixels = read_files([Path(image), file], [*expected.bands, HEIGHT], heights=True).bands
            else:
                pixels = read_image(file, expected.bands) if path == image else read_mask(file, band=expected.mask_band)
        except BandsError as error:
            faults.append((number, "files with another number of bands", str(error)))
            continue
        except DataError as error:
            faults.append((number, "unreadable files", str(error)))
            continue
        if pixels.shape[-2:] != (SIZE, SIZE) or pixels.dtype != np.uint8:
            size = " x ".join(map(str, pixels.shape[::-1]))
            faults.append((number, "files of another size", f"{path}: {size} of {pixels.dtype}"))
        elif path == mask and (strange := sorted({*np.unique(pixels).tolist()} - {*values})):
            faults.append((number, f"masks with values outside {values[0]} to {values[-1]}", f"{path}: {strange}"))
    return faults
