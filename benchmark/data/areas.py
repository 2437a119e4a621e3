"""Areas of rasters that are too large to be read at once, and how these are cut into pieces of whole blocks."""

import math
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Interleaving, MaskFlags
from rasterio.windows import Window

LARGE = 1 << 24  # pixels; an image with more is read by areas, if its blocks allow it
PIECE_BYTES = 16 << 20  # of what is read at once; some for each thread are in memory
PIECE_PATCHES = 500
_BYTES = {"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "float32": 4}  # else 8 or 16


class Area:
    """A part of an open raster: it is read as if it were the whole; all else it says is what the file says."""

    def __init__(self, file: rasterio.DatasetReader, window: Window) -> None:
        self._file, self._window = file, window

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, *bands: int) -> NDArray:
        """Return the pixels of the area, of all bands (C, H, W) or of one (H, W)."""
        return self._file.read(*bands, window=self._window)

    def read_masks(self, band: int) -> NDArray[np.uint8]:
        """Return the file's mask (H, W) of the area, 0 where it holds no data."""
        return self._file.read_masks(band, window=self._window)


def bytes_of_pixel(file: rasterio.DatasetReader) -> int:
    """Return the bytes that a pixel of all bands takes in memory."""
    return sum(_BYTES.get(kind, 16) for kind in file.dtypes)


def bytes_of_blocks(file: rasterio.DatasetReader) -> int:
    """Return the bytes in memory of all blocks; GDAL reads whole ones, however little is in one."""
    rows, columns = file.block_shapes[0]
    height, width = (-(-size // block) * block for size, block in ((file.height, rows), (file.width, columns)))
    return height * width * bytes_of_pixel(file)


def is_scene(file: rasterio.DatasetReader, on_disk: int) -> bool:
    """Return whether a raster is to be read by areas: it is large, its blocks are small, and its file lists them all.

    Args:
        file: open raster.
        on_disk: bytes of its file. A list of blocks takes six bytes for each or more: a damaged header that claims
            a huge size is known by it, although a file may be nearly empty.
    """
    rows, columns = file.block_shapes[0]
    blocks = math.ceil(file.height / rows) * math.ceil(file.width / columns)
    listed = file.driver != "GTiff" or blocks * 6 <= on_disk
    return (
        file.driver in ("GTiff", "JP2OpenJPEG", "VRT")
        and file.height * file.width > LARGE
        and rows * columns * bytes_of_pixel(file) <= PIECE_BYTES
        and listed
    )


def piece_of(file: rasterio.DatasetReader, step: float) -> tuple[int, int]:
    """Return how many windows down and across a piece holds: few bytes, at most 500 windows, and whole blocks.

    Args:
        file: open raster.
        step: side of a window in pixels of the file.
    """
    rows, columns = file.block_shapes[0]
    most = PIECE_BYTES / bytes_of_pixel(file) / step**2  # windows
    if columns >= file.width:  # strips: each is decoded whole, so a piece is as wide as the raster
        across = max(1, min(math.ceil(file.width / step), int(most), PIECE_PATCHES))
        return max(1, min(int(most) // across, PIECE_PATCHES // across)), across
    side = max(1, min(math.isqrt(int(most)), math.isqrt(PIECE_PATCHES)))
    return _of_whole_blocks(side, step, rows), _of_whole_blocks(side, step, columns)


def _of_whole_blocks(most: int, step: float, block: int) -> int:
    """Return the largest number of windows that ends where a block ends; the most, if none does."""
    return next((count for count in range(most, 0, -1) if count * step % block == 0), most)


def blocks_present(file: rasterio.DatasetReader, area: Window) -> NDArray[np.bool_] | None:
    """Return which blocks (rows, columns) of an area of a sparse GeoTIFF are in the file; None where all are."""
    if file.driver != "GTiff":
        return None
    rows, columns = file.block_shapes[0]
    down = range(area.row_off // rows, -(-(area.row_off + area.height) // rows))
    across = range(area.col_off // columns, -(-(area.col_off + area.width) // columns))
    bands = file.indexes if file.interleaving is Interleaving.band else (1,)
    blocks = np.array([[any(_offset(file, row, column, band) for band in bands) for column in across] for row in down])
    return None if blocks.all() else blocks


def present(file: rasterio.DatasetReader, area: Window) -> NDArray[np.bool_] | None:
    """Return which pixels (H, W) of an area of a sparse GeoTIFF are in the file; None where all are."""
    blocks = blocks_present(file, area)
    if blocks is None:
        return None
    rows, columns = file.block_shapes[0]
    above, before = area.row_off % rows, area.col_off % columns
    return blocks.repeat(rows, 0).repeat(columns, 1)[above : above + area.height, before : before + area.width]


def _offset(file: rasterio.DatasetReader, row: int, column: int, band: int) -> bool:
    return file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is not None


def may_lack_data(file: rasterio.DatasetReader) -> bool:
    """Return whether a raster says of some pixels that they hold no data: by a tag, a mask or an alpha band."""
    flags = file.mask_flag_enums[0]
    alpha = file.colorinterp[-1].name == "alpha"
    return file.nodata is not None or alpha or (MaskFlags.per_dataset in flags)
