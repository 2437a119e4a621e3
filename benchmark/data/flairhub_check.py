"""Check of a copy of FLAIR-HUB: what is missing or damaged, and whether two years of a department cover one ground."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pandas as pd

from benchmark.data.catalog import Catalog
from benchmark.data.flair_check import Check, DomainCheck, Expected, read_all
from benchmark.data.flairhub import AERIAL, CONTENTS, ELEVATION, IMAGES, domain_of, find_hub_files, read_flairhub
from benchmark.data.series.hub_check import check_hub_series
from protocols.columns import read_table
from protocols.files import FOLDER
from protocols.ground import overlaps

SAME, OTHER = 0.95, 0.05  # shares of the ground from which, and up to which, it is called the same, or another one


def check_flairhub(
    root: Path, name: str, progress: Callable[[int, int], None] | None = None, *, names_only: bool = False
) -> Check:
    """Walk a copy, read every file of a data set and the series, and measure the ground of departments flown twice.

    Args:
        root: folder of the copy, unpacked or in its zip files; some of the domains are enough.
        name: key of `CONTENTS`.
        progress: function called with (files done, files in all).
        names_only: whether only names are looked at, and no image is opened; the ground is then unknown.

    Raises:
        DataError: there is no patch at all, or a GeoPackage cannot be read.
    """
    files = find_hub_files(Path(root).resolve())
    content = CONTENTS[name]
    images, masks = files.paths[IMAGES], files.paths[content.labels]
    elevations = files.paths[ELEVATION] if content.heights else {}
    if not images and not files.walked.unreadable:
        read_flairhub(root, name)  # which says what it looked for
    loose = {
        "unreadable archives": files.walked.unreadable,
        "files that are there twice": files.walked.twice,
        "missing archives": files.missing(content.labels),
        "labels without an image": [masks[patch] for patch in sorted(masks.keys() - images.keys())],
    }
    domains = {domain: DomainCheck(domain) for domain in sorted({domain_of(patch) for patch in images})}
    for domain, count in Counter(map(domain_of, images)).items():
        domains[domain].patches = count
    for patch in sorted(images.keys() - masks.keys()):
        domains[domain_of(patch)].fault("missing masks", images[patch])
    for patch in sorted(images.keys() - elevations.keys()) if content.heights else ():
        domains[domain_of(patch)].fault("missing elevations", images[patch])
    if not names_only:
        expected = Expected(AERIAL, range(len(content.classes.classes)), content.classes.mask_band)
        pairs = [(patch, images[patch], masks.get(patch, ""), elevations.get(patch, "")) for patch in sorted(images)]
        for patch, kind, fault in read_all(pairs, progress, expected):
            domains[domain_of(patch)].fault(kind, fault)
    faulty = any(loose.values()) or any(kind != "missing masks" for each in domains.values() for kind in each.faults)
    whole = None if names_only or faulty else read_flairhub(root, name)
    found, series_notes = check_hub_series(root, images, progress, names_only=names_only)
    for domain, kind, fault in found:
        (domains[domain].faults if domain else loose).setdefault(kind, []).append(fault)
    published = {row[0].replace("@", "-") for row in read_table(FOLDER / "tables" / "flairhub-domains.csv")[1]}
    notes = [f"{len(published & domains.keys())} of {len(published)} published domains are here"]
    if strange := sorted(domains.keys() - published):
        loose["domains that were not published"] = strange
    return Check(
        list(domains.values()),
        [],
        {kind: names for kind, names in loose.items() if names},
        [] if whole is None else whole.patches.loc[whole.patches["date"] == "", "image"].tolist(),
        [],
        0,
        (*notes, *([] if whole is None else ground_notes(whole)), *series_notes),
    )


def ground_notes(catalog: Catalog) -> list[str]:
    """Return a line for each two times of a place: which share of their ground is common, and what that means."""
    if catalog.footprints is None:
        return []
    table = catalog.patches.set_index("id")[["place", "time"]].join(catalog.footprints)
    notes = []
    for place, patches in table.groupby("place"):
        for before, after in pairwise(sorted(patches["time"].unique())):
            share = common_ground(patches[patches["time"].isin([before, after])])
            meaning = "the same ground, so that only time differs" if share >= SAME else "partly the same ground"
            meaning = "other ground, so that time and ground differ" if share <= OTHER else meaning
            notes.append(f"{place}, {before} and {after}: {share:.0%} of the ground is common: {meaning}")
    return notes


def common_ground(patches: pd.DataFrame) -> float:
    """Return the share of the ground of two times (``time`` and footprints, indexed by id) that is common.

    Of two areas of unlike size it is the share of the larger one.
    """
    covered = pd.Series(0.0, patches.index)
    for one, other, share in overlaps(patches.assign(zone=patches["time"])):
        covered[one] += share
        covered[other] += share
    return float(covered.clip(upper=1).groupby(patches["time"]).mean().min())
