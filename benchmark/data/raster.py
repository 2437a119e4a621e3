"""Image and mask files of any of the kinds that data sets are published in."""

import struct
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio._err import CPLE_BaseError  # properties of a damaged file raise it as it is
from rasterio.enums import MaskFlags
from rasterio.env import getenv, hasenv
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.data.archives import gdal_path, source_file
from benchmark.data.areas import Area, bytes_of_blocks, bytes_of_pixel, is_scene, present
from benchmark.data.bands import (
    BandsError,
    Pixels,
    both,
    check_bands,
    from_gdal,
    from_picture,
    refuse_pages,
    refuse_scaled,
    table_colors,
)
from benchmark.data.drivers import described_content, gdal_driver, grey_bits
from benchmark.data.georeference import Georeference, georeference_of
from benchmark.data.numbers import check_kind
from benchmark.data.orientation import UPRIGHT, picture_orientation, tiff_orientation, turned, turned_size

# All that the two raise; pillow's plugins let out whatever a damaged header leads them to.
_UNREADABLE = (
    *(OSError, RasterioError, CPLE_BaseError, ValueError, SyntaxError, Image.DecompressionBombError),
    *(EOFError, MemoryError, TypeError, KeyError, IndexError, OverflowError, struct.error, zlib.error),
)
PICTURES = ("PNG", "JPEG", "JPEG2000", "WEBP", "BMP")
"""The formats that pillow may read. It has readers for 40 more, one of which runs another program on the file."""

_GDAL = {
    # Without this GDAL lists the whole folder on each opening, to look for side files, and opens them.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    # The one address that is allowed is none: an address that a file names gets no answer.
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "/none",
}
MOST_BYTES = 4 << 30  # of one image in memory
AreaOf = Callable[[tuple[int, int], Georeference | None], Window | None]
_SUSPICIOUS = 256 << 20, 20_000  # bytes in memory, and how many times those on disk: no image is as empty as that


@dataclass(frozen=True)
class MaskPixels:
    """Pixels of a mask file.

    Attributes:
        values: (H, W) uint8 or uint16 as stored; (H, W, 3) uint8 where masks are colours.
        valid: (H, W) bool, False where the file says that there is no label; None where it says so nowhere.
        doubt: reason why a value that is nevertheless a class there must not be guessed; "" where ``valid`` is certain.
    """

    values: NDArray[np.uint8] | NDArray[np.uint16]
    valid: NDArray[np.bool_] | None = None
    doubt: str = ""


def prepare_thread() -> None:
    """Set what GDAL may do in this thread, for as long as it lives; else that is done for each file again."""
    rasterio.Env(**_GDAL).__enter__()


@contextmanager
def open_raster(path: Path, driver: str = "GTiff") -> Iterator[rasterio.DatasetReader]:
    """Open a GeoTIFF for one read. A kept handle cannot cross a fork and 77,412 of them meet the limit of open files.

    No other driver than the one named is tried: GDAL would read a file named .tif that holds XML, which names further
    files or addresses, and a path that is an address itself.
    """
    if not Path(source_file(str(path))).is_file():
        raise DataError(f"{path}: no such file")
    known = getenv() if hasenv() else {}
    with warnings.catch_warnings(), nullcontext() if _GDAL.items() <= known.items() else rasterio.Env(**_GDAL):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # Not `rasterio.open`, which makes an environment and a session of its own for each file.
        with rasterio.DatasetReader(gdal_path(str(path)), driver=driver) as file:
            yield file


def _part(path: Path, file: rasterio.DatasetReader, area: Window | None) -> rasterio.DatasetReader | Area:
    """Return an area of an open raster, or the whole; an absurd size is refused before any memory is taken."""
    if area is None:
        _check_size(path, file, bytes_of_blocks(file))
        return file
    _check_size(path, file, int(area.height * area.width) * bytes_of_pixel(file))
    return Area(file, area)


def _check_size(path: Path, file: rasterio.DatasetReader, needed: int) -> None:
    on_disk = _bytes_on_disk(path)
    large, times = _SUSPICIOUS
    if needed > MOST_BYTES or (needed > large and needed > times * on_disk):
        raise DataError(
            f"{path}: its header says {file.width} x {file.height} pixels in {file.count} bands, {needed:,} bytes from "
            f"{on_disk:,} on disk; at most {MOST_BYTES:,} are read; it is damaged, or must be stored in blocks "
            "(gdal_translate -co TILED=YES)"
        )


def _bytes_on_disk(path: Path) -> int:
    return Path(source_file(str(path))).stat().st_size


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Open one of the `PICTURES`, whatever its size."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from twice as much on it is an error
        with Image.open(path, formats=PICTURES) as picture:
            yield picture


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes the readers raise in a block into a `DataError` that names it."""
    try:
        yield
    except _UNREADABLE as error:
        if not Path(source_file(str(path))).exists():
            raise DataError(f"{path}: no such file") from error
        reason = str(error.__cause__ or error).replace("\n", " ")[:300]
        content = described_content(path)
        raise DataError(f"{path}: cannot be read, perhaps truncated: {reason}{content and f' ({content})'}") from error


def image_size(path: Path) -> tuple[int, int]:
    """Return height and width of an image, see `image_header`."""
    return image_header(path)[0]


def image_header(path: Path) -> tuple[tuple[int, int], Georeference | None]:
    """Return height and width of an image in pixels, as a viewer shows it, and its place, from its header alone.

    Raises:
        DataError: the file is missing, no image, or of absurd size.
    """
    with readable(path):
        if driver := gdal_driver(path):
            with open_raster(path, driver) as file:
                if not is_scene(file, _bytes_on_disk(path)):
                    _check_size(path, file, bytes_of_blocks(file))
                return turned_size(file.height, file.width, _orientation(path, file)), georeference_of(file)
        with open_picture(path) as picture:
            return turned_size(picture.height, picture.width, picture_orientation(picture)), None


def band_counts(path: Path) -> set[int]:
    """Return the numbers of bands that an image can be read as, by its header: an alpha band may be one or none."""
    with readable(path):
        if driver := gdal_driver(path):
            with open_raster(path, driver) as file:
                kinds = [kind.name for kind in file.colorinterp]
                return {1, 3} if kinds == ["palette"] else {file.count, file.count - (kinds[-1] == "alpha")} - {0}
        with open_picture(path) as picture:
            bands = len(picture.getbands())
            return {"P": {1, 3}, "PA": {1, 3}, "RGBA": {3, 4}, "LA": {1, 2}}.get(picture.mode, {bands})


@contextmanager
def opened_tiff(path: Path) -> Iterator[rasterio.DatasetReader]:
    """Open a GeoTIFF of which the tags say nothing that a virtual raster of it would not say."""
    with readable(path), open_raster(path) as file:
        refuse_pages(path, file)
        refuse_scaled(path, file)
        structure = file.tags(ns="IMAGE_STRUCTURE")
        light = structure.get("SOURCE_COLOR_SPACE", "YCbCr") == "YCbCr" and structure.get("MINISWHITE") != "YES"
        if not light or _orientation(path, file) != UPRIGHT:
            raise DataError(f"{path}: is turned, in inks or with white as zero, of which no mosaic is made; convert it")
        yield file


@contextmanager
def scene(path: Path) -> Iterator[rasterio.DatasetReader | None]:
    """Open a raster that is to be read by areas (see `benchmark.data.areas`); None for every other image."""
    with readable(path):
        driver = gdal_driver(path)
        if not driver:
            yield None
            return
        with open_raster(path, driver) as file:
            large = is_scene(file, _bytes_on_disk(path)) and _orientation(path, file) == UPRIGHT
            yield file if large else None


def read_image(path: Path, bands: int | Sequence[str]) -> NDArray:
    """Return the bands of an image alone, see `read_pixels`; where only their number is given, in the file's order."""
    names = [str(number) for number in range(bands)] if isinstance(bands, int) else bands
    return read_pixels(path, names).bands


def read_pixels(
    path: Path, names: Sequence[str], area: Window | None = None, opened: rasterio.DatasetReader | None = None
) -> Pixels:
    """Read a JPEG, PNG, JPEG 2000 or GeoTIFF image, turned as its orientation tag says.

    Args:
        path: path of the file; ``.tif`` and ``.tiff`` are GeoTIFFs, everything else is one of `PICTURES`.
        names: names of the bands that it must have. A file that names its own bands is brought into this order.
        area: part of a `scene` to read; the whole if None. What is in no block of its file has no data.
        opened: the file, if it is open already.

    Returns:
        The stored numbers, and where there are any; see `benchmark.data.bands` for what tags change. Its place is that
        of the whole file.

    Raises:
        DataError: the file is missing or truncated, has another number of bands, numbers of a type that is not among
            `benchmark.data.numbers.KINDS`, or numbers that mean something else than light and height.
    """
    with readable(path):
        driver = gdal_driver(path)
        if driver:
            with nullcontext(opened) if opened else open_raster(path, driver) as file:
                part = _part(path, file, area)
                check_kind(path, file.dtypes[0])
                orientation = _orientation(path, file)
                pixels = from_gdal(path, part, names)
                if area is not None:
                    pixels = replace(pixels, valid=both(pixels.valid, present(file, area)))
        else:
            with open_picture(path) as picture:
                orientation = picture_orientation(picture)
                if (bits := grey_bits(path)) and bits > 1:
                    raise DataError(f"{path}: has {bits} bits a band; images of 8 and 16 bits can be used")
                pixels = from_picture(path, picture, names)
    check_kind(path, str(pixels.bands.dtype))
    check_bands(path, len(pixels.bands), len(names))
    if orientation == UPRIGHT:
        return pixels
    valid = pixels.valid if pixels.valid is None else turned(pixels.valid, orientation)
    return Pixels(np.ascontiguousarray(turned(pixels.bands, orientation)), valid)


def read_mask(path: Path, colors: bool = False, band: int = 0) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the values of a mask alone, see `read_labels`."""
    return read_labels(path, colors, band=band).values


def read_labels(
    path: Path, colors: bool = False, known: Collection[int] = (), area: AreaOf | None = None, band: int = 0
) -> MaskPixels:
    """Read a mask: the stored numbers, or its colours, turned as its orientation tag says.

    Args:
        path: path of a PNG, a GeoTIFF or another of `PICTURES`.
        colors: whether the mask is colour-coded. A palette then gives its colours, else its indices.
        known: values that are expected; they decide whether a palette of greys means its indices or its greys.
        area: function of a raster's height and width, and of its place, that returns the part to read, None for all;
            the whole is read if it is None, and of other files.
        band: number, from 1 on, of the band of a GeoTIFF that holds the values; 0 where it has one band.

    Raises:
        DataError: the file is missing or truncated, has another number of bands, or values that are no integers in
            0..65535.
    """
    with readable(path):
        driver = gdal_driver(path)
        if driver:
            with open_raster(path, driver) as file:
                orientation = _orientation(path, file)
                window = None
                if area is not None and orientation == UPRIGHT:
                    window = area((file.height, file.width), georeference_of(file))
                part = _part(path, file, window)
                refuse_pages(path, file)
                refuse_scaled(path, file)
                if file.count > 4:
                    raise BandsError(f"{path}: {file.count} bands where one band of class values is expected")
                labels = _gdal_labels(path, part, colors, band)
        else:
            with open_picture(path) as picture:
                orientation = picture_orientation(picture)
                labels = _picture_labels(path, picture, colors, known)
    mask = labels.values
    if colors:
        if mask.shape[2] != 3 or mask.dtype != np.uint8:
            raise DataError(f"{path}: {mask.shape[2]} bands of {mask.dtype} where colours, 3 of uint8, are expected")
    else:
        if mask.shape[2] != 1:
            raise BandsError(f"{path}: {mask.shape[2]} bands where one band of class values is expected")
        if mask.dtype.kind not in "uib":
            raise DataError(f"{path}: values are {mask.dtype} where integers are expected")
        if mask.dtype not in (np.uint8, np.uint16):
            values = mask if labels.valid is None else mask[labels.valid]
            if values.size and (values.min() < 0 or values.max() > 65535):
                raise DataError(f"{path}: values {values.min()}..{values.max()} where 0..65535 are expected")
            mask = mask.astype(np.uint16)
        mask = mask[..., 0]
    if orientation != UPRIGHT:
        planes = mask[None] if mask.ndim == 2 else mask.transpose(2, 0, 1)
        mask = turned(planes, orientation)[0] if mask.ndim == 2 else turned(planes, orientation).transpose(1, 2, 0)
    valid = labels.valid if labels.valid is None else turned(labels.valid, orientation)
    return MaskPixels(mask, None if valid is None or valid.all() else valid, labels.doubt)


def _gdal_labels(path: Path, file: rasterio.DatasetReader, colors: bool, band: int) -> MaskPixels:
    if band > file.count:
        raise BandsError(f"{path}: {file.count} bands, where band {band} holds the class values")
    mask = file.read([band] if band else None)
    valid, doubt = None, ""
    if MaskFlags.per_dataset in file.mask_flag_enums[0] and MaskFlags.alpha not in file.mask_flag_enums[0]:
        valid = file.read_masks(1) > 0
    if file.nodata is not None and not colors:
        valid, doubt = both(valid, (mask != file.nodata).all(axis=0)), f"its nodata tag says {file.nodata:g}"
    mask = mask.transpose(1, 2, 0)
    if not colors:
        return MaskPixels(mask, valid, doubt)
    if file.count == 1 and file.colorinterp[0].name == "palette":
        mask = table_colors(path, file.colormap(1), mask[..., 0])
    if mask.shape[2] == 4:
        valid, doubt = both(valid, mask[..., 3] > 0), "they are transparent"
    return MaskPixels(mask[..., :3] if mask.shape[2] == 4 else mask, valid, doubt)


def _picture_labels(path: Path, picture: Image.Image, colors: bool, known: Collection[int]) -> MaskPixels:
    clear = picture.info.get("transparency")
    if colors:
        if picture.mode in ("RGBA", "LA", "PA") or clear is not None:
            mask = np.asarray(picture.convert("RGBA"))
            return MaskPixels(mask[..., :3], mask[..., 3] > 0, "they are transparent")
        return MaskPixels(np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB")))
    mask = np.atleast_3d(np.asarray(picture))
    if picture.mode == "P":
        return MaskPixels(_indices_or_greys(path, picture, mask, known))
    bits = grey_bits(path)
    if bits in (2, 4):  # pillow has spread them over 0..255
        mask = mask // (255 // ((1 << bits) - 1))
    if isinstance(clear, int) and picture.mode == "L" and not bits:
        return MaskPixels(mask, mask[..., 0] != clear, f"its transparent value is {clear}")
    return MaskPixels(mask)


def _indices_or_greys(path: Path, picture: Image.Image, mask: NDArray, known: Collection[int]) -> NDArray:
    """Return the values of a palette mask. A tool that makes files smaller may turn greys into a palette of them."""
    palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    used = np.unique(mask)
    if not len(known) or used.max() >= len(palette):
        return mask
    entries = palette[used]
    grey = (entries == entries[:, :1]).all()
    if not grey or not set(entries[:, 0].tolist()) <= set(known) or np.array_equal(entries[:, 0], used):
        return mask
    if set(used.tolist()) <= set(known):
        raise DataError(
            f"{path}: its palette turns the numbers {used.tolist()} into the greys {entries[:, 0].tolist()}, and both "
            "are class values; save the mask without a palette"
        )
    return palette[:, 0][mask]


def _orientation(path: Path, file: rasterio.DatasetReader) -> int:
    if file.driver == "PNG":
        with open_picture(path) as picture:
            return picture_orientation(picture)
    if file.driver != "GTiff" or source_file(str(path)) != str(path):
        return UPRIGHT
    orientation = tiff_orientation(path)
    if orientation != UPRIGHT and not file.transform.is_identity:
        raise DataError(
            f"{path}: has a georeference and an orientation tag ({orientation}), which contradict each other; remove "
            "the tag (tiffset -s 274 1)"
        )
    return orientation
