"""Drivers of GDAL's by which files are read, where pillow would change their numbers or cannot read parts of them."""

from pathlib import Path

import rasterio

from benchmark.common.errors import DataError
from benchmark.data.catalog_cache import FOLDER
from benchmark.data.classes import POLYGONS
from benchmark.data.jpeg2000 import jpeg2000_depths

TIFF = (".tif", ".tiff")


_BEGINNINGS = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"II+\0": "a TIFF image",
    b"MM\0+": "a TIFF image",
    b"GIF8": "a GIF image",
    b"\x89HDF": "HDF5",
    b"PK\3\4": "a zip archive",
    b"version https://git-lfs": "a pointer of Git LFS, which fetches the file with 'git lfs pull'",
    b"<": "a page of HTML or XML",
}


def described_content(path: Path) -> str:
    """Return what an unreadable file is by its first bytes, for a message; "" where they say no more than its name."""
    try:
        with path.open("rb") as file:
            first = file.read(32)
    except OSError:
        return ""
    if not first:
        return "it is empty"
    kind = next((kind for begin, kind in _BEGINNINGS.items() if first.startswith(begin)), "")
    named = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower())
    return f"it begins as {kind}" if kind and not (named and named in kind) else ""


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
    depths = jpeg2000_depths(path)
    if not depths:
        return ""
    with rasterio.Env() as gdal:
        if "JP2OpenJPEG" in gdal.drivers():  # also of 8 bits: pillow calls some of three bands damaged
            return "JP2OpenJPEG"
    if depths != {8}:
        raise DataError(
            f"{path}: JPEG 2000 of {max(depths)} bits needs GDAL's driver JP2OpenJPEG, which is not installed; convert "
            "it to GeoTIFF"
        )
    return ""


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
