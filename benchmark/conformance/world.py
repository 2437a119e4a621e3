"""The world that methods are checked on: two places at two times, with or without its target masks."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio

from benchmark.data.flair import read_flair
from benchmark.data.metadata import cameras_of, metadata_of
from benchmark.data.series.dates import SeriesView
from benchmark.data.series.patches import open_patch_series
from benchmark.data.store import open_store
from benchmark.data.synthetic import World, generate
from benchmark.training.fold_data import FEW, FoldData, Part
from methods.base import Task
from protocols.base import Protocol, Split
from protocols.cutting import cut

WORLD = World(places=2, times=2, zones=8, zone_side=1)
PROTOCOL = Protocol("check", 1, "world", "", "", "", hold_out=("time",), split=Split(few=1))
CLASSES = 12


def open_world(
    folder: Path, hidden: Collection[str], shown: Collection[str], patch_size: int, view: SeriesView | None = None
) -> FoldData:
    """Make the world in a folder, and open its first fold.

    Args:
        folder: folder that it is written to.
        hidden: parts whose masks are noise.
        shown: parts of these whose masks are not.
        patch_size: side of a patch, in pixels.
        view: what of series of satellite images is seen; None for a world without any.
    """
    generate(replace(WORLD, patch_size=patch_size, series=view is not None), folder / "world")
    catalog = read_flair(folder / "world", name="check")
    fold = cut(PROTOCOL, catalog.patches)[0]
    members = {**fold.parts, FEW: fold.few}
    patches = catalog.patches.assign(domain=catalog.domain).set_index("id")
    noisy = {patch for part in hidden for patch in members[part]} - {patch for part in shown for patch in members[part]}
    for number, patch in enumerate(sorted(noisy)):
        _spoil(Path(str(patches.loc[patch, "mask"])), np.random.default_rng(number))
    store = open_store(catalog, folder / "stores")
    parts = {}
    for part, ids in members.items():
        rows = patches.loc[list(ids)]
        domains, zones = (rows[column].to_numpy(dtype=str) for column in ("domain", "zone"))
        parts[part] = Part(store.rows(list(ids)), domains, zones, metadata_of(rows, cameras_of(patches)))
    series = open_patch_series(catalog, store.ids, folder / "stores", view) if view else None
    return FoldData(store, parts, Task(tuple(catalog.classes.names), catalog.bands), series=series)


def _spoil(mask: Path, random: np.random.Generator) -> None:
    with rasterio.open(mask, "r+") as file:
        file.write(random.integers(1, CLASSES + 1, (1, file.height, file.width), dtype=np.uint8))
