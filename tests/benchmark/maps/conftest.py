"""Small maps on disk, as a finished command leaves them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import from_origin

from benchmark.maps.legend import NO_DATA, Legend, MapClass
from benchmark.maps.map_file import CLASSES, CONFIDENCE, LEGEND, NAMESPACE, MapFile, read_map

SMALL = Legend(
    "small",
    (
        MapClass(1, "building", "#db0e9a", "bâtiment"),
        MapClass(3, "impervious surface", "#f80c00", "zone imperméable"),
        MapClass(7, "deciduous", "#46e483", "feuillus"),
        MapClass(10, "herbaceous vegetation", "#55ff00", "pelouse"),
    ),
)
WriteMap = Callable[..., MapFile]


@pytest.fixture
def write_map(tmp_path: Path) -> WriteMap:
    """Return a function that writes a map of classes (H, W) uint8, and one of confidence where it is given."""

    def write(
        values: NDArray[np.uint8],
        confidence: NDArray[np.uint8] | None = None,
        name: str = "town",
        legend: Legend = SMALL,
        *,
        resolution: float = 1.0,
        corner: tuple[float, float] = (700_000.0, 6_600_000.0),
        crs: str | None = "EPSG:2154",
        facts: dict[str, str] | None = None,
        folder: Path = tmp_path,
    ) -> MapFile:
        profile = {
            "driver": "GTiff",
            "height": values.shape[0],
            "width": values.shape[1],
            "count": 1,
            "dtype": "uint8",
            "nodata": NO_DATA,
            "crs": CRS.from_user_input(crs) if crs else None,
            "transform": from_origin(*corner, resolution, resolution),
        }
        for ending, pixels in ((CLASSES, values), (CONFIDENCE, confidence)):
            if pixels is not None:
                with rasterio.open(folder / f"{name}{ending}", "w", **profile) as file:
                    file.write(pixels, 1)
                    file.update_tags(ns=NAMESPACE, **{LEGEND: legend.as_text()}, **(facts or {}))
        return read_map(folder / f"{name}{CLASSES}")

    return write
