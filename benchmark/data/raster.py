"""Reading image and mask files, and cutting them into patches."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from benchmark.common.errors import DataError
from benchmark.data.archives import gdal_path, source_file
from benchmark.data.catalog import Catalog
from benchmark.data.classes import IGNORE, ClassSet

_TIFF = (".tif", ".tiff")
# All that the two raise; pillow's plugins let out whatever a damaged header leads them to.
_UNREADABLE = (
    *(OSError, RasterioError, ValueError, SyntaxError, Image.DecompressionBombError),
    *(EOFError, MemoryError, TypeError, KeyError, IndexError, OverflowError, struct.error, zlib.error),
)
PICTURES = ("PNG", "JPEG", "JPEG2000", "WEBP", "BMP")
"""What pillow is asked for. It has readers for 40 more, one of which runs another program on the file."""

_GDAL = {
    # GDAL lists the whole folder on each opening, to look for side files, if not told otherwise; and opens them.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    # The one address that may be asked for is none: whatever names an address inside a file gets no answer.
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "/none",
}
MOST_BYTES = 4 << 30  # of one image in memory
_SUSPICIOUS = 256 << 20, 20_000  # bytes in memory, and how many times those on disk: no image is as empty as that
_BYTES = {"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "float32": 4}  # else 8 or 16
_MIN_CONTENT = 0.25  # of a window; what holds less image than this is nearly all padding


class BandsError(DataError):
    """A file has another number of bands than it should."""


@dataclass(frozen=True)
class Patches:
    """The decoded patches of one image.

    Attributes:
        images: (N, C, S, S) uint8; 16-bit values are brought down by the catalog's `maximum`.
        masks: (N, S, S) uint8 class indices; `IGNORE` in padding, in ignored and unknown classes, and everywhere if
            the image has no mask.
        has_mask: whether the image has a mask.
        unknown: number of pixels of each value (or packed colour, see `ClassSet.describe`) of the mask file that is no
            known class.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    has_mask: bool
    unknown: dict[int, int]


@contextmanager
def _open_raster(path: Path, driver: str = "GTiff") -> Iterator[rasterio.DatasetReader]:
    """A GeoTIFF for one read. A kept handle cannot cross a fork and 77,412 of them meet the limit of open files.

    No other driver than the one named is tried: GDAL would read a file named .tif that holds XML, which names further
    files or addresses, and a path that is an address itself.
    """
    if not Path(source_file(str(path))).is_file():
        raise DataError(f"{path}: no such file")
    with warnings.catch_warnings(), rasterio.Env(**_GDAL):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(gdal_path(str(path)), driver=driver) as file:
            _check_size(path, file)
            yield file


def _check_size(path: Path, file: rasterio.DatasetReader) -> None:
    """Before any memory is taken: a header may say anything. GDAL reads whole blocks, however little is in one."""
    needed = 0
    for (rows, columns), kind in zip(file.block_shapes, file.dtypes, strict=True):
        height, width = (-(-size // block) * block for size, block in ((file.height, rows), (file.width, columns)))
        needed += height * width * _BYTES.get(kind, 16)
    on_disk = Path(source_file(str(path))).stat().st_size
    large, times = _SUSPICIOUS
    if needed > MOST_BYTES or (needed > large and needed > times * on_disk):
        raise DataError(
            f"{path}: its header says {file.width} x {file.height} pixels in {file.count} bands, {needed:,} bytes from "
            f"{on_disk:,} on disk; at most {MOST_BYTES:,} are read; it is damaged, or must be cut into smaller images"
        )


@contextmanager
def _open_picture(path: Path) -> Iterator[Image.Image]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from twice as much on it is an error
        with Image.open(path, formats=PICTURES) as picture:
            yield picture


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        if not Path(source_file(str(path))).exists():
            raise DataError(f"{path}: no such file") from error
        reason = str(error.__cause__ or error).replace("\n", " ")[:300]
        raise DataError(f"{path}: cannot be read, perhaps truncated: {reason}") from error


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image in pixels, from its header alone.

    Raises:
        DataError: the file is missing, no image, or of absurd size.
    """
    with _readable(path):
        if path.suffix.lower() in _TIFF:
            with _open_raster(path) as file:
                return file.height, file.width
        with _open_picture(path) as picture:
            return picture.height, picture.width


def read_image(path: Path, bands: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a JPEG, PNG or GeoTIFF image.

    Args:
        path: the file; ``.tif`` and ``.tiff`` are GeoTIFFs, everything else is one of `PICTURES`.
        bands: the number of bands it must have. The alpha channel of a PNG is no band unless this number includes it.

    Returns:
        (bands, H, W) uint8 or uint16.

    Raises:
        DataError: the file is missing or truncated, has another number of bands, or other than 8 or 16 bits per band.
    """
    with _readable(path):
        if path.suffix.lower() in _TIFF or _is_16_bit_png(path):
            with _open_raster(path, "GTiff" if path.suffix.lower() in _TIFF else "PNG") as file:
                _check_bands(path, file.count, bands)
                _check_depth(path, file.dtypes[0])
                image = file.read()
        else:
            with _open_picture(path) as picture:
                no_bands = picture.mode == "P" or (picture.mode == "RGBA" and bands == 3)
                pixels = np.asarray(picture.convert("RGB") if no_bands else picture)
                image = np.atleast_3d(pixels).transpose(2, 0, 1)
    _check_depth(path, str(image.dtype))
    _check_bands(path, len(image), bands)
    return image


def _check_depth(path: Path, kind: str) -> None:
    if kind not in ("uint8", "uint16"):
        raise DataError(f"{path}: pixels are {kind}; uint8 and uint16 images can be used")


def _check_bands(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise BandsError(f"{path}: has {found} bands where {expected} are expected")


def read_mask(path: Path, colors: bool = False) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a mask as it is on disk.

    Georeferencing is the image's: a mask's is not looked at (that of FLAIR's masks has no EPSG code).

    Args:
        path: PNG or GeoTIFF.
        colors: whether the mask is colour-coded. A palette PNG then gives its colours, else its indices.

    Returns:
        (H, W) uint8 or uint16; (H, W, 3) uint8 where `colors`.

    Raises:
        DataError: the file is missing or truncated, has another number of bands, or values that are no integers in
            0..65535.
    """
    with _readable(path):
        if path.suffix.lower() in _TIFF:
            with _open_raster(path) as file:
                if file.count > 4:
                    raise BandsError(f"{path}: {file.count} bands where one band of class values is expected")
                mask = file.read().transpose(1, 2, 0)
        else:
            with _open_picture(path) as picture:
                mask = np.atleast_3d(np.asarray(picture.convert("RGB") if colors else picture))
    if colors:
        if mask.shape[2] not in (3, 4) or mask.dtype != np.uint8:
            raise DataError(f"{path}: {mask.shape[2]} bands of {mask.dtype} where colours, 3 of uint8, are expected")
        return mask[..., :3]
    if mask.shape[2] != 1:
        raise BandsError(f"{path}: {mask.shape[2]} bands where one band of class values is expected")
    if mask.dtype.kind not in "uib":
        raise DataError(f"{path}: values are {mask.dtype} where integers are expected")
    if mask.dtype not in (np.uint8, np.uint16):
        if mask.min() < 0 or mask.max() > 65535:
            raise DataError(f"{path}: values {mask.min()}..{mask.max()} where 0..65535 are expected")
        mask = mask.astype(np.uint16)
    return mask[..., 0]


def _is_16_bit_png(path: Path) -> bool:
    """Whether pillow would silently read the upper eight bits only (PNG specification, section 11.2.2)."""
    if not path.is_file():  # opening a pipe might never end
        return False
    with path.open("rb") as file:
        header = file.read(25)
    return len(header) == 25 and header[:8] == b"\x89PNG\r\n\x1a\n" and header[24] == 16


def rescaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width in pixels after `rescale`."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def rescale(array: NDArray, scale: float, resampling: Image.Resampling = Image.Resampling.BOX) -> NDArray:
    """Shrink a (..., H, W) array by the mean over each new pixel's area or, with ``NEAREST``, by picking one."""
    if scale == 1:
        return array
    height, width = rescaled_size(array.shape[-2], array.shape[-1], scale)
    planes = array.reshape(-1, *array.shape[-2:])
    if array.dtype != np.uint8:
        planes = planes.astype(np.float32)  # pillow averages 8-bit and float planes only
    small = [np.asarray(Image.fromarray(plane).resize((width, height), resampling)) for plane in planes]
    stack = np.stack(small).reshape(*array.shape[:-2], height, width)
    return stack if array.dtype == np.uint8 else np.rint(stack).astype(array.dtype)


def windows(height: int, width: int, size: int) -> list[tuple[int, int]]:
    """Cut an image into a grid of square windows that do not overlap.

    The last row and column may stick out of the image. Windows of which less than a quarter is image are dropped,
    unless none would be left.

    Returns:
        (row, column) of each window's top-left pixel, in reading order.
    """
    grid = [(row, column) for row in range(0, height, size) for column in range(0, width, size)]

    def content(row: int, column: int) -> float:
        return min(size, height - row) * min(size, width - column) / size**2

    return [corner for corner in grid if content(*corner) >= _MIN_CONTENT] or grid


def read_patches(catalog: Catalog, rows: pd.DataFrame) -> Patches:
    """Read the patches of one image.

    Args:
        catalog: where the rows come from.
        rows: some rows of ``catalog.patches``, all on the same image.

    Returns:
        One patch a row, in the order of the rows. Where a window sticks out of the image, the image is continued by its
        border pixels (black would be a new colour of its own) and the mask by `IGNORE`.

    Raises:
        DataError: a file is missing, truncated or of another kind than the catalog says; mask and image differ in
            size; too many mask pixels are no known class.
    """
    image_path, mask_path = Path(rows["image"].iloc[0]), rows["mask"].iloc[0]
    if rows["image"].nunique() != 1:
        raise ValueError("the rows of read_patches must be on one image")
    image = read_image(image_path, len(catalog.file_bands or catalog.bands))
    if catalog.file_bands:
        image = image[[catalog.file_bands.index(band) for band in catalog.bands]]
    original_size = image.shape[1:]
    image = _to_uint8(rescale(image, catalog.scale), catalog.maximum, image_path)
    height, width = image.shape[1:]
    mask = np.full((height, width), IGNORE, np.uint8)
    unknown: dict[int, int] = {}
    if mask_path:
        raw = read_mask(Path(mask_path), catalog.classes.colors_in_mask)
        if raw.shape[:2] != original_size:
            sizes = f"{_size(raw.shape[:2])} pixels, but its image {image_path} has {_size(original_size)}"
            raise DataError(f"{mask_path}: {sizes}")
        indices, unknown = catalog.classes.encode(raw)
        _check_unknown(Path(mask_path), catalog.classes, unknown, indices.size, catalog.unknown_share)
        mask = rescale(indices, catalog.scale, Image.Resampling.NEAREST)
    corners = list(zip(rows["row"].tolist(), rows["column"].tolist(), strict=True))
    if any(row >= height or column >= width for row, column in corners):
        raise DataError(f"{image_path}: smaller than when the catalog was made; make the catalog again")
    size = catalog.patch_size
    return Patches(
        images=np.stack([_cut(image, *corner, size, mode="edge") for corner in corners]),
        masks=np.stack([_cut(mask, *corner, size, mode="constant", constant_values=IGNORE) for corner in corners]),
        has_mask=bool(mask_path),
        unknown=unknown,
    )


def _size(shape: tuple[int, ...]) -> str:
    height, width = shape
    return f"{width} x {height}"


def _cut(array: NDArray, row: int, column: int, size: int, **padding: object) -> NDArray:
    window = array[..., row : row + size, column : column + size]
    height, width = window.shape[-2:]
    if (height, width) == (size, size):
        return window
    ends = [(0, 0)] * (array.ndim - 2) + [(0, size - height), (0, size - width)]
    return np.pad(window, ends, **padding)  # type: ignore[call-overload]


def _to_uint8(image: NDArray, maximum: int, path: Path) -> NDArray[np.uint8]:
    if maximum == 255 and image.max() <= 255:
        return image.astype(np.uint8, copy=False)
    if image.dtype == np.uint8:
        raise DataError(f"{path}: has 8 bits a band, where 'maximum' = {maximum} is for 16; it would be nearly black")
    if maximum == 255:
        raise DataError(f"{path}: 16-bit values up to {image.max()}; say with 'maximum' which value is to become 255")
    return np.rint(np.minimum(image, maximum) * (255 / maximum)).astype(np.uint8)


def _check_unknown(path: Path, classes: ClassSet, unknown: dict[int, int], pixels: int, allowed: float) -> None:
    share = sum(unknown.values()) / pixels
    if share <= allowed:
        return
    most = sorted(unknown.items(), key=lambda item: -item[1])
    found = ", ".join(f"{classes.describe(value)} ({count / pixels:.3%})" for value, count in most[:5])
    more = f" and {len(most) - 5} more" if len(most) > 5 else ""
    known = ", ".join(classes.describe(value) for value in sorted(classes.known_values))
    raise DataError(
        f"{path}: {share:.3%} of the pixels are no class of {classes.name}, at most {allowed:.3%} are allowed; "
        f"found {found}{more}; known are {known}"
    )
