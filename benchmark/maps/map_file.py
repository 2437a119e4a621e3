"""Files of a map: their names, their tags, and what is read back from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.data.raster import open_raster, readable
from benchmark.maps.legend import Legend

CLASSES, CONFIDENCE, PROBABILITIES = ".classes.tif", ".confidence.tif", ".probabilities.tif"
PICTURE, PAGE = ".preview.png", ".preview.html"
"""Endings of the files of a map and of its previews. Confidence and probabilities are in percent, uint8, 0 to 100."""
NAMESPACE, LEGEND = "LANDSHIFT", "legend"
FACTS = (
    *("run", "method", "protocol", "fold", "seed", "training_domains", "weights", "image", "image_date", "bands"),
    *("resolution", "resampled_from", "tiling", "adapted_on_the_way", "no_data_share", "software"),
    *("compared", "doubts"),  # of a map of change
)
"""Tags of a map beside its legend, all of them texts; one that is not known is left out."""


@dataclass(frozen=True)
class MapFile:
    """A finished map of classes.

    Attributes:
        path: path of the GeoTIFF.
        legend: its classes.
        facts: its tags, by the names in `FACTS`.
        height, width: its size in pixels.
        transform, crs: its place; ``crs`` is None where the image had none.
        confidence: path of the map of confidence beside it; None where there is none.
    """

    path: Path
    legend: Legend
    facts: Mapping[str, str]
    height: int
    width: int
    transform: Affine
    crs: CRS | None
    confidence: Path | None

    @property
    def window(self) -> Window:
        """The whole of it."""
        return Window(0, 0, self.width, self.height)


def name_of(path: Path) -> str:
    """Return the name of a map: that of its file without `CLASSES`."""
    return path.name.removesuffix(CLASSES)


def read_map(path: Path) -> MapFile:
    """Read what a map of classes says of itself; no pixels are read.

    Raises:
        DataError: the file is missing, damaged or no map of landshift, or its confidence has another size.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give the file *{CLASSES} in it")
    with readable(path), open_raster(path) as file:
        tags = file.tags(ns=NAMESPACE)
        if LEGEND not in tags or file.count != 1 or file.dtypes[0] != rasterio.uint8:
            raise DataError(f"{path}: is no map of classes that landshift has made; give a file *{CLASSES}")
        facts = {name: tags[name] for name in FACTS if name in tags}
        place = file.height, file.width, file.transform, file.crs
        legend = Legend.from_text(tags[LEGEND])
    beside = path.with_name(name_of(path) + CONFIDENCE)
    if not beside.is_file():
        return MapFile(path, legend, facts, *place, None)
    with readable(beside), open_raster(beside) as file:
        if (file.height, file.width) != place[:2]:
            raise DataError(f"{beside}: has another size than {path}; make both again")
    return MapFile(path, legend, facts, *place, beside)
