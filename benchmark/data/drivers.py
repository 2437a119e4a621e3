"""Drivers of GDAL's by which files are read, where pillow would change their numbers or cannot read parts of them."""

from pathlib import Path

import rasterio

from benchmark.common.errors import DataError
from benchmark.data.catalog_cache import FOLDER
from benchmark.data.classes import POLYGONS
from benchmark.data.jpeg2000 import jpeg2000_depths

TIFF = (".tif", ".tiff")


def by_areas(mask: str) -> bool:
    """Return whether a mask can be read by areas: a GeoTIFF, a mosaic, polygons, or none at all."""
    return Path(mask).suffix.lower() in ("", ".vrt", *TIFF, *POLYGONS)


def gdal_driver(path: Path) -> str:
    """Return the driver by which GDAL reads a file; "" for what pillow reads without changing a number."""
    if path.suffix.lower() in TIFF:
        return "GTiff"
    if path.suffix == ".vrt" and path.parent == FOLDER.resolve():  # a mosaic; others may name files or addresses
        return "VRT"
    if not path.is_file():  # opening a pipe might never end
        return ""
    if _png_header(path)[:1] == (16,):
        return "PNG"
    other_depths = jpeg2000_depths(path) - {8}
    if not other_depths:
        return ""
    with rasterio.Env() as gdal:
        if "JP2OpenJPEG" not in gdal.drivers():
            raise DataError(
                f"{path}: JPEG 2000 of {max(other_depths)} bits needs GDAL's driver JP2OpenJPEG, which is not "
                "installed; convert it to GeoTIFF"
            )
    return "JP2OpenJPEG"


def grey_bits(path: Path) -> int:
    """Return the bits a pixel of a grey PNG of less than 8; else 0."""
    bits, kind = _png_header(path)
    return bits if kind == 0 and bits < 8 else 0


def _png_header(path: Path) -> tuple[int, int]:
    """Return the bits a sample and the type of colour (PNG specification, section 11.2.2); zeros for other files."""
    with path.open("rb") as file:
        header = file.read(26)
    if len(header) < 26 or header[:8] != b"\x89PNG\r\n\x1a\n":
        return 0, -1
    return header[24], header[25]
