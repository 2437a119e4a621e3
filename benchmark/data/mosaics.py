"""Mosaics: tiles with one grid that are read as one image, by a virtual raster that is kept beside the catalogs."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from rasterio.crs import CRS
from rasterio.transform import Affine

from benchmark.common.errors import DataError
from benchmark.data.catalog_cache import FOLDER
from benchmark.data.raster import opened_tiff
from benchmark.data.sources import stamps_of

_LEAST_COVERED = 0.001  # of a mosaic; all of it is looked through for pixels with data
_OFF_GRID = 0.1  # of a pixel; what rounding of coordinates makes is far less
_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "float32": "Float32"}


@dataclass(frozen=True)
class _Tile:
    """A file, its transform and size, and all that is to be the same in every tile."""

    path: Path
    transform: Affine
    height: int
    width: int
    crs: CRS | None
    bands: tuple[tuple[str, str, str | None], ...]
    nodata: float | None
    colors: str


def mosaic_of(paths: Sequence[Path]) -> Path:
    """Return the path of a virtual raster of some GeoTIFFs; where there is none, it holds no data.

    Its name depends on the tiles and their stamps, so that changed tiles give another.

    Raises:
        DataError: a tile has no georeference, or another grid, coordinate system, bands or nodata than the first, or is
            far from the others.
    """
    tiles = [_read(path) for path in paths]
    first = tiles[0]
    for tile in tiles:
        if tile.transform.is_identity or tile.transform[1] or tile.transform[3]:
            raise DataError(f"{tile.path}: has no georeference (or a turned one), so it cannot be a tile of a mosaic")
        if (tile.crs, tile.bands, tile.nodata, tile.colors) != (first.crs, first.bands, first.nodata, first.colors):
            raise DataError(
                f"{tile.path}: differs from {first.path}, a tile of the same mosaic, in coordinate system, bands, "
                "colour table or nodata"
            )
    place = FOLDER / f"{hashlib.sha256(repr(sorted(stamps_of(map(str, paths)).items())).encode()).hexdigest()[:16]}.vrt"
    half = place.with_name(f".{os.getpid()}.{place.name}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    half.write_text(_xml(tiles), encoding="utf-8")
    if place.is_file() and place.read_bytes() == half.read_bytes():  # its stamp stays, and so do its shards
        half.unlink()
    else:
        half.replace(place)
    return place.resolve()


def _read(path: Path) -> _Tile:
    with opened_tiff(path) as file:
        if set(file.dtypes) - set(_TYPES):
            raise DataError(f"{path}: has pixels of {file.dtypes[0]}, of which no mosaic is made")
        kinds = [kind.name.title() for kind in file.colorinterp]
        bands = tuple(zip((_TYPES[kind] for kind in file.dtypes), kinds, file.descriptions, strict=True))
        colors = ""
        if kinds == ["Palette"]:
            entries = (f'<Entry c1="{r}" c2="{g}" c3="{b}" c4="{a}"/>' for r, g, b, a in file.colormap(1).values())
            colors = f"<ColorTable>{''.join(entries)}</ColorTable>"
        return _Tile(path, file.transform, file.height, file.width, file.crs, bands, file.nodata, colors)


def _xml(tiles: Sequence[_Tile]) -> str:
    """Return GDAL's description of the mosaic (https://gdal.org/drivers/raster/vrt.html)."""
    first = tiles[0]
    corners = [_corner(first, tile) for tile in tiles]
    top, left = min(row for row, _ in corners), min(column for _, column in corners)
    placed = [(tile, row - top, column - left) for tile, (row, column) in zip(tiles, corners, strict=True)]
    height = max(row + tile.height for tile, row, _ in placed)
    width = max(column + tile.width for tile, _, column in placed)
    if sum(tile.height * tile.width for tile in tiles) < _LEAST_COVERED * height * width:
        raise DataError(
            f"{first.path}: the {len(tiles)} tiles of its mosaic are so far apart that they cover less than "
            f"{_LEAST_COVERED:.1%} of its {width:,} x {height:,} pixels; correct a wrong georeference, or make several "
            "mosaics"
        )
    place = first.transform @ Affine.translation(left, top)
    bands = []
    for number, (kind, color, name) in enumerate(first.bands, 1):
        about = f"<ColorInterp>{color}</ColorInterp>{first.colors}"
        about += f"<Description>{escape(name)}</Description>" if name else ""
        about += "" if first.nodata is None else f"<NoDataValue>{first.nodata!r}</NoDataValue>"
        about += _sources(placed, str(number))
        bands.append(f'<VRTRasterBand dataType="{kind}" band="{number}">{about}</VRTRasterBand>')
    if first.nodata is None and first.bands[-1][1] != "Alpha":
        bands.append(
            f'<MaskBand><VRTRasterBand dataType="Byte">{_sources(placed, "mask,1")}</VRTRasterBand></MaskBand>'
        )
    system = f"<SRS>{escape(first.crs.to_wkt())}</SRS>" if first.crs else ""
    where = f"<GeoTransform>{', '.join(map(repr, place.to_gdal()))}</GeoTransform>"
    return f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{system}{where}{"".join(bands)}</VRTDataset>'


def _corner(first: _Tile, tile: _Tile) -> tuple[int, int]:
    """Return row and column of a tile's top-left pixel on the grid of the first."""
    across, _, right, _, down, below = tuple(~first.transform @ tile.transform)[:6]
    row, column = round(below), round(right)
    size = max(abs(across - 1) * tile.width, abs(down - 1) * tile.height)
    if max(abs(below - row), abs(right - column), size) > _OFF_GRID:
        raise DataError(f"{tile.path}: is not on the grid of {first.path}, a tile of the same mosaic; warp it there")
    return row, column


def _sources(placed: Iterable[tuple[_Tile, int, int]], band: str) -> str:
    return "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(str(tile.path))}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand>"
        f'<SrcRect xOff="0" yOff="0" xSize="{tile.width}" ySize="{tile.height}"/>'
        f'<DstRect xOff="{column}" yOff="{row}" xSize="{tile.width}" ySize="{tile.height}"/></SimpleSource>'
        for tile, row, column in placed
    )


def joined(images: Mapping[Path, dict[str, Any]], names: Mapping[Path, str]) -> dict[Path, dict[str, Any]]:
    """Return the columns of each mosaic by its path, from those of its tiles.

    Args:
        images: columns that all windows of a tile share, by the tile's path.
        names: name of the mosaic that a tile belongs to.

    Raises:
        DataError: tiles of one mosaic differ in place, time or another column, or their masks are no GeoTIFFs.
    """
    mosaics: dict[str, list[Path]] = defaultdict(list)
    for path in images:
        mosaics[names[path]].append(path)
    rows = {}
    for name, tiles in mosaics.items():
        first = images[tiles[0]]
        for path in tiles:
            for column in set(first) - {"id", "image", "mask", "x", "y", "z", "files"}:
                if images[path][column] != first[column]:
                    raise DataError(
                        f"key 'mosaic': {path} and {tiles[0]} are of the mosaic '{name}', but have {column} "
                        f"'{images[path][column]}' and '{first[column]}'"
                    )
        masks = sorted({str(images[path]["mask"]) for path in tiles} - {""})
        mask = str(mosaic_of([Path(mask) for mask in masks])) if len(masks) > 1 else "".join(masks)
        image = mosaic_of(tiles)
        further = zip(*(images[path]["files"] for path in tiles), strict=True)
        files = tuple(str(mosaic_of([Path(file) for file in each])) for each in further)
        rows[image] = first | {"id": name, "image": str(image), "mask": mask, "files": files}
    return rows
