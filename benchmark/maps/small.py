"""A map and its image as small as they are drawn: classes, confidence and colours on one grid, in memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.data.areas import Area
from benchmark.data.bands import Pixels, from_gdal
from benchmark.data.georeference import Georeference
from benchmark.data.patch_images import STRETCH
from benchmark.data.raster import band_counts, image_header, open_raster, read_pixels, readable, scene
from benchmark.experiments.image_record import metres_per_pixel
from benchmark.maps.map_file import MapFile

_CACHE_MIB = 256  # of GDAL; its default is a share of the machine's memory
_EDGE = 0.01  # of a map; it may be so much outside of its image, which resampling makes


@dataclass(frozen=True, eq=False)
class SmallMap:
    """A map at a size that fits in memory.

    Attributes:
        classes: (h, w) uint8, values of the legend; the most frequent one where the map has several pixels.
        confidence: (h, w) uint8 percent, their mean; None where the map has none.
        image: (h, w, 3) uint8 red, green and blue, white where it has no data; None without an image.
        pixel: side of its pixels in pixels of the map, a power of two.
    """

    classes: NDArray[np.uint8]
    confidence: NDArray[np.uint8] | None
    image: NDArray[np.uint8] | None
    pixel: int


def read_small(made: MapFile, image: Path | None, most: int) -> SmallMap:
    """Read a map, and its image on the map's grid, at a size of at most so many pixels.

    Overviews are used where files have them; memory does not grow with the map.

    Raises:
        DataError: a file is damaged, or the image is not that of the map.
    """
    pixel = 1
    while math.ceil(made.height / pixel) * math.ceil(made.width / pixel) > most:
        pixel *= 2
    shape = math.ceil(made.height / pixel), math.ceil(made.width / pixel)
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MIB):
        classes = _read_band(made.path, shape, Resampling.mode)
        confidence = _read_band(made.confidence, shape, Resampling.average) if made.confidence else None
        colors = None if image is None else read_image_on(made, image, shape)
    return SmallMap(classes, confidence, colors, pixel)


def read_image_on(made: MapFile, image: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the colours (h, w, 3) of the ground of a map in its image: red, green and blue, else the first bands.

    Other numbers than bytes are stretched band by band by the percentiles `STRETCH`.

    Raises:
        DataError: the image is damaged, has other bands than the map was made from, or shows other ground.
    """
    names = [name.strip() for name in made.facts.get("bands", "").split(",") if name.strip()]
    counts = band_counts(image)
    if len(names) not in counts:  # the file has more bands than the network takes
        names = [str(number) for number in range(max(counts))]
    window = _ground(made, image)
    with scene(image) as file:
        if file is None:
            pixels = read_pixels(image, names)
        else:
            pixels = from_gdal(image, _Shrunk(file, window, shape), names)
            window = Window(0, 0, shape[1], shape[0])
    box = (window.col_off, window.row_off, window.col_off + window.width, window.row_off + window.height)
    return np.asarray(Image.fromarray(_light(pixels, names)).resize(shape[::-1], Image.Resampling.BOX, box))


def _read_band(path: Path, shape: tuple[int, int], resampling: Resampling) -> NDArray[np.uint8]:
    with readable(path), open_raster(path) as file:
        return np.asarray(file.read(1, out_shape=shape, resampling=resampling))


def _ground(made: MapFile, image: Path) -> Window:
    """Return the part of an image, in its pixels, that a map shows; without georeferences all of it."""
    (height, width), place = image_header(image)
    if place is None or made.transform.is_identity:
        if height * made.width != width * made.height:
            raise DataError(
                f"{image}: is {width} x {height} pixels, its map {made.width} x {made.height}; give its own"
            )
        return Window(0, 0, width, height)
    across, skew, right, turn, down, below = tuple(~place.transform @ made.transform)[:6]
    window = Window(right, below, across * made.width, down * made.height)
    slack = _EDGE * window.width + 1, _EDGE * window.height + 1
    inside = (
        min(right, below) >= -max(slack)
        and right + window.width <= width + slack[0]
        and below + window.height <= height + slack[1]
    )
    if place.crs != made.crs or abs(skew) + abs(turn) > 1e-6 or min(across, down) <= 0 or not inside:
        raise DataError(
            f"{image}: does not show the ground of the map {made.path.name}; give the image it was made from"
        )
    left, top = max(right, 0.0), max(below, 0.0)
    return Window(left, top, min(right + window.width, width) - left, min(below + window.height, height) - top)


class _Shrunk(Area):
    """A part of an open raster that is read at another size."""

    def __init__(self, file: rasterio.DatasetReader, window: Window, shape: tuple[int, int]) -> None:
        super().__init__(file, window)
        palette = file.colorinterp[0].name == "palette"
        self._how: dict[str, Any] = {"resampling": Resampling.nearest if palette else Resampling.average}
        self._shape = shape

    def read(self, *bands: int) -> NDArray:
        if bands:
            return self._file.read(*bands, window=self._window, out_shape=self._shape, **self._how)
        shape = (self._file.count, *self._shape)
        return self._file.read(window=self._window, out_shape=shape, **self._how)

    def read_masks(self, band: int) -> NDArray[np.uint8]:
        return self._file.read_masks(band, window=self._window, out_shape=self._shape)


def _light(pixels: Pixels, names: Sequence[str]) -> NDArray[np.uint8]:
    named = [list(names).index(name) for name in ("red", "green", "blue") if name in names]
    bands = pixels.bands[named if len(named) == 3 else [0, 1, 2] if len(names) >= 3 else [0, 0, 0]]
    valid = np.isfinite(bands).all(axis=0) if pixels.valid is None else pixels.valid
    if bands.dtype != np.uint8 and valid.any():
        low, high = np.percentile(bands[:, valid], STRETCH, axis=1)[..., None, None]
        with np.errstate(invalid="ignore"):
            shares = (bands - low) / np.where(high > low, high - low, 1)
            bands = np.rint(255 * np.nan_to_num(shares).clip(0, 1)).astype(np.uint8)
    return np.where(valid, bands, np.uint8(255)).transpose(1, 2, 0).astype(np.uint8)


def ground_pixel(made: MapFile) -> float | None:
    """Return the width of a map's pixels in metres, in its middle; None where that is not known."""
    if made.crs is None or made.transform.is_identity:
        return None
    sides = metres_per_pixel(Georeference(made.transform, made.crs), (made.height, made.width))
    return sides and sides[1]


def north(transform: Affine) -> float:
    """Return the direction of grid north on a map, in degrees clockwise from up."""
    right, down = (np.subtract((~transform) @ (0.0, 1.0), (~transform) @ (0.0, 0.0))).tolist()
    return math.degrees(math.atan2(right, -down))
