"""Images to be mapped: checked against what a run was trained on, and read by parts at the run's resolution."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.windows import Window
from scipy.sparse import csr_array

from benchmark.common.errors import DataError, SettingsError
from benchmark.data.areas import present
from benchmark.data.bands import Pixels, both
from benchmark.data.drivers import TIFF, gdal_driver
from benchmark.data.georeference import Size
from benchmark.data.mosaics import mosaic_of
from benchmark.data.numbers import without_gaps
from benchmark.data.raster import band_counts, image_header, open_raster, read_pixels, readable, scene
from benchmark.data.scaling import Scaling
from benchmark.experiments.image_record import ImageRecord, metres_per_pixel
from benchmark.maps.map_file import CLASSES, CONFIDENCE, PICTURE, PROBABILITIES
from benchmark.maps.windows import Span, reflected

ENDINGS = (*TIFF, ".png", ".jpg", ".jpeg", ".jp2", ".webp", ".bmp")
SAME = 0.02  # two resolutions that differ by less are one
MOST_TIMES = 8  # that an image is shrunk or enlarged
LOOKS, LOOK_SIDE = 5, 128  # of an image, down and across, to compare its numbers with the run's; pixels
FAR = 6.0  # standard deviations between the means
CACHE_MIB = 256
FLAT = 0.01  # of the run's standard deviation: so little varies only what is on another scale


@dataclass(eq=False)
class MapImage:
    """An image on the pixel grid of its map.

    Attributes:
        path: its file.
        height, width: size of the map.
        transform, crs: place of the map; the identity and None where the image has none.
        resolution: sides of a pixel of the image on the ground, down and across, in metres; None where not known.
        steps: pixels of the image in one of the map, down and across.
        other_names: names that the file gives bands where the run's are others: neither known as the same, nor refused.
    """

    path: Path
    height: int
    width: int
    transform: Affine
    crs: CRS | None
    resolution: tuple[float, float] | None
    steps: tuple[float, float]
    other_names: Sequence[str]
    _names: Sequence[str]
    _used: list[int]
    _whole: Size
    _pixels: Pixels | None = field(default=None, repr=False)
    _file: rasterio.DatasetReader | None = field(default=None, repr=False)

    @contextmanager
    def kept_open(self, reader: Executor) -> Iterator[None]:
        """Keep the file open in the one thread that reads it meanwhile: what parts share of its blocks is decoded once.

        GDAL remembers blocks, else in a share of the machine's memory.
        """

        def keep() -> None:
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_MIB))
            self._file = stack.enter_context(scene(self.path))

        stack = ExitStack()
        reader.submit(keep).result()
        try:
            yield
        finally:
            self._file = None
            reader.submit(stack.close).result()

    @property
    def is_resampled(self) -> bool:
        """The map has pixels of another size than the image."""
        return self.steps != (1.0, 1.0)

    def read(self, rows: Span, columns: Span) -> tuple[NDArray, NDArray[np.bool_]]:
        """Return a part of the image, mirrored beyond its borders.

        Returns:
            (C, H, W) stored numbers, float32 if they are resampled, and (H, W) where there are data.

        Raises:
            DataError: the file cannot be read there; the message names the part.
        """
        lines = [
            reflected(span.first, span.size, length)
            for span, length in zip((rows, columns), (self.height, self.width), strict=True)
        ]
        ranges = [(int(line.min()), int(line.max()) + 1) for line in lines]
        weights = [
            _weights(first, stop, step, length)
            for (first, stop), step, length in zip(ranges, self.steps, self._whole, strict=True)
        ]
        (top, bottom), (left, right) = ((int(first), int(first) + matrix.shape[1]) for first, matrix in weights)
        try:
            image, valid = self._stored(top, bottom, left, right)
        except DataError as error:
            raise DataError(f"{error} (rows {top}-{bottom - 1}, columns {left}-{right - 1})") from error
        if self.is_resampled:
            image, valid = _resampled(image, valid, weights[0][1], weights[1][1])
        down, across = (line - first for line, (first, _) in zip(lines, ranges, strict=True))
        if len(down) != image.shape[1] or len(across) != image.shape[2] or down[0] or across[0]:
            image, valid = image[:, down[:, None], across], valid[down[:, None], across]
        return image, valid

    def _stored(self, top: int, bottom: int, left: int, right: int) -> tuple[NDArray, NDArray[np.bool_]]:
        """Return the used bands of a part of the file, and where it has data."""
        area = Window(left, top, right - left, bottom - top)
        if self._file is not None or (self._pixels is None and self._by_areas()):
            pixels = read_pixels(self.path, self._names, area, self._file)
            bands, valid = pixels.bands, pixels.valid
        else:
            self._pixels = self._pixels or self._read_whole()
            bands, valid = self._pixels.bands[:, top:bottom, left:right], self._pixels.valid
            valid = None if valid is None else valid[top:bottom, left:right]
        bands = bands if len(self._used) == len(bands) else bands[self._used]
        bands, valid = without_gaps(self.path, bands, valid)
        return bands, np.ones(bands.shape[1:], np.bool_) if valid is None else valid

    def _read_whole(self) -> Pixels:
        """Read all of the file; what is in no block of it has no data."""
        pixels, driver = read_pixels(self.path, self._names), gdal_driver(self.path)
        if not driver:
            return pixels
        with readable(self.path), open_raster(self.path, driver) as file:
            held = present(file, Window(0, 0, file.width, file.height))
        return pixels if held is None else replace(pixels, valid=both(pixels.valid, held))

    def _by_areas(self) -> bool:
        with scene(self.path) as file:
            return file is not None

    def check_numbers(self, scaling: Scaling, mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        """Compare samples of the image with the images of a run.

        Args:
            scaling: scaling of the run.
            mean, std: (C,) of its images, scaled.

        Raises:
            DataError: its numbers are on another scale.
        """
        looks = [self.read(rows, columns) for rows in _looks(self.height) for columns in _looks(self.width)]
        values = np.concatenate([image[:, valid] for image, valid in looks], axis=1).astype(np.float64)
        if not values.size:
            return
        own_mean, own_std = scaling.moments(values.mean(1), values.std(1))
        far = np.abs(own_mean - mean) / std
        flat = (own_std < FLAT * std).all() and far.max() > 1
        if far.max() > FAR or flat:
            band = int(far.argmax())
            low, high = values[band].min(), values[band].max()
            own = (values[band].mean(), values[band].std())
            low_of_run, factor = scaling.moments(np.zeros(len(mean)), np.ones(len(mean)))
            theirs = (mean[band] - low_of_run[band]) / factor[band], std[band] / factor[band]
            raise DataError(
                f"{self.path}: band {self._names[self._used[band]]!r} has numbers of {low:g} to {high:g} (mean "
                f"{own[0]:.4g}, deviation {own[1]:.3g}), but the run was trained on a mean of {theirs[0]:.4g} and a "
                f"deviation of {theirs[1]:.3g}; bring it to that scale (gdal_translate -scale), or check its bands"
            )


def _looks(length: int) -> list[Span]:
    size = min(LOOK_SIDE, length)
    firsts = sorted({round(share * (length - size)) for share in np.linspace(0, 1, LOOKS)})
    return [Span(first, size, first, first + size) for first in firsts]


def open_image(path: Path, images: ImageRecord, *, no_crs: bool = False) -> MapImage:
    """Open an image for a run.

    Args:
        images: the images of the run.
        no_crs: whether the image may lack a place on the earth, so that its map has none.

    Raises:
        DataError: it cannot be read, has no coordinate system, other bands than the run's, or pixels of a far other
            size.
    """
    size, place = image_header(path)
    if (place is None or place.crs is None) and not no_crs:
        what = "no georeference" if place is None else "no coordinate system"
        raise DataError(
            f"{path}: has {what}; set it (gdal_edit.py -a_srs EPSG:2154 -a_ullr ...), or let its map have none, too "
            "(--no-crs)"
        )
    names, used = _bands(path, images)
    resolution, steps = metres_per_pixel(place, size), (1.0, 1.0)
    if resolution is not None and not all(1e-6 < side < math.inf for side in resolution):
        raise DataError(
            f"{path}: by its georeference a pixel is {resolution[1]:g} m wide and {resolution[0]:g} m high; correct it"
        )
    if resolution is not None and images.resolution is not None:
        steps = (images.resolution / resolution[0], images.resolution / resolution[1])
        if max(*steps, 1 / steps[0], 1 / steps[1]) > MOST_TIMES:
            raise DataError(
                f"{path}: has pixels of {resolution[1]:.3g} m, but the run was trained on {images.resolution:.3g} m; "
                f"more than {MOST_TIMES} times as small or as large shows other things"
            )
        if max(abs(step - 1) for step in steps) <= SAME:
            steps = (1.0, 1.0)
    # A border of less than a hundredth of a pixel is rounding.
    height, width = (max(1, math.ceil(pixels / step - 0.01)) for pixels, step in zip(size, steps, strict=True))
    transform = Affine.identity() if place is None else place.transform @ Affine.scale(steps[1], steps[0])
    crs = None if place is None else place.crs
    others = _other_names(path, names)
    return MapImage(path, height, width, transform, crs, resolution, steps, others, names, used, size)


def _other_names(path: Path, names: Sequence[str]) -> list[str]:
    """Return what a file calls bands that have another name in a run, if it calls others as the run does."""
    with readable(path):
        if not (driver := gdal_driver(path)):
            return []
        with open_raster(path, driver) as file:
            called = [text or "" for text in file.descriptions]
    known = {name.lower() for name in names}
    if not known & {text.lower() for text in called}:
        return []
    return [text for text in called if text and text.lower() not in known]


def _bands(path: Path, images: ImageRecord) -> tuple[Sequence[str], list[int]]:
    """Return the names of the file's bands, and which of them the run takes."""
    counts = band_counts(path)
    if len(images.bands) in counts:
        return images.bands, list(range(len(images.bands)))
    if images.file_bands and len(images.file_bands) in counts:
        return images.file_bands, [images.file_bands.index(band) for band in images.bands]
    has = f"{max(counts)} band{'s' * (max(counts) > 1)}"
    raise DataError(
        f"{path}: has {has}, but the run was trained on {len(images.bands)}: {', '.join(images.bands)}; give an image "
        "of these, in this order"
    )


def image_date(path: Path) -> str:
    """Return the date of the photograph that a GeoTIFF's tag names, as ``"2021-06-30"``; "" where there is none."""
    with readable(path):
        driver = gdal_driver(path)
        if not driver:
            return ""
        with open_raster(path, driver) as file:
            text = file.tags().get("TIFFTAG_DATETIME", "")[:10].replace(":", "-")
    return text if len(text) == 10 and text[:4].isdigit() else ""


def images_of(places: Sequence[Path], mosaic: str = "") -> dict[str, Path]:
    """Return the images in files, patterns and folders, by the names of their maps.

    Args:
        places: files, folders or patterns such as ``tiles/*.tif``.
        mosaic: name of the one map of all images, which are tiles of it; "" for a map of each.

    Raises:
        DataError: there is none, two have one name, or they are no tiles of one mosaic.
        SettingsError: the name of the mosaic is no name of a file.
    """
    if mosaic != Path(mosaic).name:
        raise SettingsError(f"--mosaic is the name of a map, without a folder, not {mosaic!r}; --output is its folder")
    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            found = [path for path in sorted(place.rglob("*")) if path.suffix.lower() in ENDINGS and not _is_map(path)]
        elif not place.exists() and set("*?[") & set(place.name):
            found = [path for path in sorted(place.parent.glob(place.name)) if not _is_map(path)]
        else:
            found = [place]
        if not found:
            raise DataError(f"{place}: holds no image ({', '.join(ENDINGS)})")
        paths += found
    if mosaic:
        return {mosaic: mosaic_of([path.resolve() for path in paths])}
    named: dict[str, Path] = {}
    for path in paths:
        if named.setdefault(path.stem, path) != path:
            raise DataError(
                f"{path} and {named[path.stem]} would give maps of one name; make their maps in two folders"
            )
    return named


def _is_map(path: Path) -> bool:
    return path.name.endswith((CLASSES, CONFIDENCE, PICTURE, PROBABILITIES)) or ".part" in "".join(path.suffixes)


def _weights(first: int, stop: int, step: float, length: int) -> tuple[int, csr_array]:
    """Return how pixels of a map are made of those of its image, along one axis.

    Shrunk pixels are means over what they cover; enlarged ones are interpolated linearly between centres.

    Args:
        first, stop: pixels of the map.
        step: pixels of the image in one of them.
        length: pixels of the image.

    Returns:
        the first pixel of the image, and the weights (pixels of the map, pixels of the image from that one on).
    """
    pixels = np.arange(first, stop)
    if step == 1:
        lows, weights = pixels, np.ones((len(pixels), 1))
    elif step > 1:
        start, end = pixels * step, np.minimum((pixels + 1) * step, length)
        lows = np.minimum(start.astype(np.int64), length - 1)
        cells = lows[:, None] + np.arange(math.ceil(step) + 1)
        weights = np.clip(np.minimum(cells + 1, end[:, None]) - np.maximum(cells, start[:, None]), 0, None)
    else:
        centres = np.clip((pixels + 0.5) * step - 0.5, 0, length - 1)
        lows = centres.astype(np.int64)
        weights = np.stack([1 - (centres - lows), centres - lows], 1)
    below = int(lows.min())
    count = min(int(lows.max()) + weights.shape[1], length) - below
    columns = np.minimum(lows[:, None] + np.arange(weights.shape[1]) - below, count - 1)  # those beyond weigh nothing
    rows = np.broadcast_to(np.arange(len(pixels))[:, None], columns.shape)
    shape = len(pixels), count
    return below, csr_array((weights.ravel().astype(np.float32), (rows.ravel(), columns.ravel())), shape)


def _resampled(
    image: NDArray, valid: NDArray[np.bool_], down: csr_array, across: csr_array
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return an image and where it has data on the map's pixels: a pixel has, where half of it has."""

    def applied(plane: NDArray) -> NDArray[np.float32]:
        return np.ascontiguousarray((across @ (down @ plane.astype(np.float32)).T).T)

    total = applied(valid)
    share = total / applied(np.ones_like(valid))
    total = np.maximum(total, np.float32(1e-6))
    bands = np.stack([applied(np.where(valid, band, 0)) / total for band in image], dtype=np.float32)
    return bands, share >= 0.5
