"""Series of the patches of a data set, as a training reads them: cut around each window, filtered, padded, turned."""

import datetime
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.common.errors import DataError
from benchmark.data.catalog import Catalog
from benchmark.data.raster import image_header
from benchmark.data.series.corruptions import Corruption
from benchmark.data.series.dates import SeriesView, select
from benchmark.data.series.files import find_series, read_centroids, zone_of
from benchmark.data.series.hub import hub_sources
from benchmark.data.series.series import BANDS, METRES, Series, centre_of_window, crop, turn
from benchmark.data.series.store import SeriesStore, centres_of, open_series_store, zone_sources
from methods.parts.series import SeriesBatch

HUB_METRES, HUB_CENTRE = 10.24, (5, 5)
"""Side of a pixel of FLAIR-HUB's series, and the middle of its 10 x 10 pixels."""


@dataclass(frozen=True, eq=False)
class PatchSeries:
    """The series of the patches of a data set.

    Attributes:
        store: stored series.
        keys: name of each patch's series in the store, in the order of the rows of the patches' own store.
        centres: (n, 2) int64, row and column of each patch's centre in its series.
        cells: side of a pixel of an image in pixels of a series.
        view: what of a series a training sees.
        corruption: what is missing of all series; None for nothing.
    """

    store: SeriesStore
    keys: tuple[str, ...]
    centres: NDArray[np.int64]
    cells: float
    view: SeriesView
    corruption: Corruption | None = None

    @cached_property
    def digest(self) -> str:
        """Digest of the series and of the patches' places in them."""
        places = repr((self.store.digest, self.keys, self.centres.tolist(), self.cells))
        return hashlib.sha256(places.encode()).hexdigest()

    def moments(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation (B,) of the series of some patches, without clouds and snow."""
        return self.store.moments({self.keys[row] for row in rows.tolist()})

    def read(
        self,
        rows: NDArray[np.int64],
        whole: int,
        corners: NDArray[np.int64] | None = None,
        side: int = 0,
        symmetries: NDArray[np.int64] | None = None,
    ) -> SeriesBatch:
        """Return the series around windows of patches.

        Args:
            rows: (N,) rows of the patches.
            whole: side of a patch, in pixels.
            corners: (N, 2) upper row and left column of each window; None for whole patches.
            side: side of the windows, in pixels.
            symmetries: (N,) 0 to 7, how each window is turned (see `benchmark.data.series.series.turn`); None for not.
        """
        if self.corruption and not self.corruption.choose:
            return SeriesBatch.empty(len(rows), len(BANDS), self.view.side)
        found = []
        for number, row in enumerate(rows.tolist()):
            upper, left = (0, 0) if corners is None else corners[number].tolist()
            series, centre = self.store.read(self.keys[row]), (int(self.centres[row, 0]), int(self.centres[row, 1]))
            centre = centre_of_window(centre, (upper, left), side or whole, whole, self.cells, series.values.shape[-2:])
            kept = self._kept(crop(series, centre, self.view.side), row)
            symmetry = 0 if symmetries is None else int(symmetries[number])
            found.append((_filled(kept, symmetry), _positions(kept), kept.valid.any((1, 2))))
        most = max(len(days) for _, days, _ in found)
        values = np.zeros((len(found), most, len(BANDS), self.view.side, self.view.side), np.float32)
        days, valid = np.zeros((len(found), most), np.float32), np.zeros((len(found), most), np.bool_)
        for number, (images, positions, seen) in enumerate(found):
            values[number, : len(positions)], days[number, : len(positions)] = images, positions
            valid[number, : len(positions)] = seen
        return SeriesBatch(*map(torch.from_numpy, (values, days, valid)))

    def _kept(self, window: Series, row: int) -> Series:
        """Return the dates that are seen of a patch's crop, or the means of their months."""
        if self.corruption and self.corruption.choose:
            patch = f"{self.keys[row]} {self.centres[row].tolist()}"
            window = window.take(self.corruption.choose(window, patch))
        return select(window, self.view.rule, monthly=self.view.monthly)[0]


def _filled(series: Series, symmetry: int) -> NDArray:
    """Return the values, turned; pixels without data have their date's mean, which is no colour of its own."""
    values, valid = turn(series.values, symmetry), turn(series.valid, symmetry)
    if valid.all():
        return values
    counts = np.maximum(valid.sum((1, 2)), 1)[:, None]
    means = (values * valid[:, None]).sum((2, 3), dtype=np.float64) / counts
    return np.where(valid[:, None], values, means[..., None, None].astype(np.float32))


def _positions(series: Series) -> NDArray[np.int32]:
    """Return the days after the 15th of May of the year of the middle date."""
    middle = datetime.date(1970, 1, 1) + datetime.timedelta(days=int(np.median(series.days)))
    return series.days_after(datetime.date(middle.year, 5, 15))


def open_patch_series(
    catalog: Catalog,
    ids: Sequence[str],
    stores: Path,
    view: SeriesView,
    progress: Callable[[int, int], None] | None = None,
) -> PatchSeries:
    """Open the series of a data set in a layout of FLAIR #2 or FLAIR-HUB; those not stored yet are read.

    Args:
        catalog: catalog of the patches.
        ids: ids of the patches in the order of the rows of their store.
        stores: folder of the stores.
        progress: see `open_series_store`.

    Raises:
        DataError: there are no series, or not of all patches; a file is wrong, or images have no georeference.
    """
    if catalog.series is None:
        raise DataError(
            f"dataset {catalog.name} has no series, which the config's network sees; FLAIR #2, FLAIR-HUB and a world "
            "made with landshift world --series have some"
        )
    layout, root = catalog.series
    images = catalog.patches.set_index("id")["image"]
    _, place = image_header(Path(images.iloc[0]))
    if place is None:
        raise DataError(f"{images.iloc[0]}: has no georeference, so that its size in pixels of a series is not known")
    metres = abs(place.transform.a) / catalog.scale
    if layout == "hub":
        store = open_series_store(catalog.name, hub_sources(root, ids), stores, progress)
        return PatchSeries(store, tuple(ids), np.tile(HUB_CENTRE, (len(ids), 1)), metres / HUB_METRES, view)
    files = find_series(root)
    if not files.zones:
        raise DataError(
            f"{root}: has no Sentinel-2 series (SEN2_sp_..._data.npy), which the config's network sees; get those of "
            "FLAIR #2, make a world with landshift world --series, or train on images alone"
        )
    zones = {patch: zone_of(images[patch]) for patch in ids}
    store = open_series_store(catalog.name, zone_sources(files, zones.values()), stores, progress)
    centres = centres_of(store, zones, read_centroids(files.centroids))
    places = np.array([centres[patch] for patch in ids], np.int64)
    return PatchSeries(store, tuple(zones[patch] for patch in ids), places, metres / METRES, view)
