"""Cloud-optimised GeoTIFFs: the blocks of a map put together into one file, with overviews, colours, names and tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

import rasterio
from rasterio import MemoryFile
from rasterio.crs import CRS
from rasterio.shutil import copy
from rasterio.transform import Affine
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.data.classes import color_value
from benchmark.data.raster import open_raster, readable
from benchmark.maps.legend import NO_DATA, Legend
from benchmark.maps.map_file import LEGEND, NAMESPACE, MapFile

Kind = Literal["classes", "confidence", "probabilities"]
SIDE_FILE = ".aux.xml"
"""What is appended to the name of a map for the file in which GDAL keeps names of classes; a GeoTIFF has no place."""
_CACHE_MIB = 256  # of GDAL; its default is a share of the machine's memory
_OFF_GRID = 0.1  # of a pixel; what rounding of coordinates makes is far less


@dataclass(frozen=True)
class _Block:
    """Pixels of a map: their place in it, their size, and their place in the file that holds them."""

    path: Path
    row: int
    column: int
    height: int
    width: int
    file_row: int = 0
    file_column: int = 0


def assemble(
    blocks: Sequence[Path], target: Path, legend: Legend, facts: Mapping[str, str], kind: Kind = "classes"
) -> None:
    """Write blocks of one grid as one cloud-optimised GeoTIFF; the same blocks give the same bytes.

    Memory does not grow with the map: GDAL's COG driver copies a virtual raster of the blocks tile by tile. Overviews
    of classes are the most frequent class, so they have no value that the map has not; those of percents are means.

    Args:
        blocks: GeoTIFFs of uint8, nodata `NO_DATA`, which cover a rectangle without gap or overlap: one band, or for
            probabilities a band for each class.
        target: path of the file. It appears when it is whole; until then there is ``target.part``.
        legend: classes of the map; kept as a tag, in a map of classes also as colour table and names of categories.
        facts: tags of the map by the names in `benchmark.maps.map_file.FACTS`.
        kind: what the numbers are: values of classes, or percent of confidence or of each class.

    Raises:
        DataError: a block is damaged, or not on the grid of the first; the blocks leave a gap, or overlap.
    """
    placed, place, crs = _placed(blocks, len(legend.classes) if kind == "probabilities" else 1)
    _write(placed, place, crs, target, legend, facts, kind)


def cut(made: MapFile, window: Window, target: Path) -> None:
    """Write a part of a map of classes as one of its own, as `assemble` does.

    Raises:
        DataError: the map cannot be read.
    """
    block = _Block(made.path, 0, 0, window.height, window.width, window.row_off, window.col_off)
    place = made.transform @ Affine.translation(window.col_off, window.row_off)
    facts = {name: text for name, text in made.facts.items() if name != "no_data_share"}  # that is of the whole map
    _write([block], place, made.crs, target, made.legend, facts, "classes")


def _write(
    blocks: Sequence[_Block],
    place: Affine,
    crs: CRS | None,
    target: Path,
    legend: Legend,
    facts: Mapping[str, str],
    kind: Kind,
) -> None:
    half = target.with_name(f"{target.name}.part")
    options = {
        "compress": "DEFLATE",
        "predictor": "NO" if kind == "classes" else "YES",
        "blocksize": 512,
        "overview_resampling": "MODE" if kind == "classes" else "AVERAGE",
        "bigtiff": "IF_SAFER",
        "src_mdd": NAMESPACE,
    }
    tags = {LEGEND: legend.as_text(), **facts}
    with (
        readable(target.parent),
        MemoryFile(_virtual(blocks, place, crs, legend, tags, kind), ext=".vrt") as memory,
        rasterio.Env(GDAL_CACHEMAX=_CACHE_MIB),
    ):
        copy(memory.name, half, driver="COG", **options)
    if kind == "classes":
        _write_names(target, legend)
    half.replace(target)


def _placed(paths: Sequence[Path], bands: int) -> tuple[list[_Block], Affine, CRS | None]:
    """Return the blocks on the grid of the map, and the map's place."""
    blocks: list[_Block] = []
    origin, crs = Affine.identity(), None
    for path in paths:
        with readable(path), open_raster(path) as file:
            kind = file.count, *sorted(set(file.dtypes)), file.nodata
            if kind != (bands, "uint8", NO_DATA):
                raise DataError(f"{path}: is no block of {bands} band(s) of uint8 with nodata {NO_DATA}, but {kind}")
            if not blocks:
                origin, crs = file.transform, file.crs
            across, skew, right, turn, down, below = tuple(~origin @ file.transform)[:6]
            row, column = round(below), round(right)
            off = abs(across - 1) * file.width, abs(down - 1) * file.height, abs(skew) + abs(turn)
            if max(abs(below - row), abs(right - column), *off) > _OFF_GRID or file.crs != crs:
                raise DataError(f"{path}: is not on the grid of {paths[0]}, a block of the same map")
            blocks.append(_Block(path, row, column, file.height, file.width))
    top, left = min(block.row for block in blocks), min(block.column for block in blocks)
    placed = [_Block(b.path, b.row - top, b.column - left, b.height, b.width) for b in blocks]
    height, width = _size(placed)
    covered = sum(block.height * block.width for block in placed)
    if covered != height * width or len({(b.row, b.column) for b in placed}) < len(placed):
        raise DataError(
            f"{paths[0].parent}: its {len(paths)} blocks have {covered:,} pixels, the {width:,} x {height:,} map has "
            f"{height * width:,}; a block is missing, or two overlap"
        )
    return placed, origin @ Affine.translation(left, top), crs


def _size(blocks: Sequence[_Block]) -> tuple[int, int]:
    return max(b.row + b.height for b in blocks), max(b.column + b.width for b in blocks)


def _virtual(
    blocks: Sequence[_Block], place: Affine, crs: CRS | None, legend: Legend, tags: Mapping[str, str], kind: Kind
) -> bytes:
    """Return GDAL's description of the map (https://gdal.org/drivers/raster/vrt.html)."""
    names = [each.name for each in legend.classes] if kind == "probabilities" else [""]
    bands = []
    for number, name in enumerate(names, 1):
        about = f"<NoDataValue>{NO_DATA}</NoDataValue><Description>{escape(name)}</Description>"
        about += _colors(legend) if kind == "classes" else "<ColorInterp>Gray</ColorInterp>"
        sources = "".join(_source(block, number) for block in blocks)
        bands.append(f'<VRTRasterBand dataType="Byte" band="{number}">{about}{sources}</VRTRasterBand>')
    items = "".join(f"<MDI key={quoteattr(key)}>{escape(text)}</MDI>" for key, text in sorted(tags.items()))
    about = f'<Metadata domain="{NAMESPACE}">{items}</Metadata>'
    about += f"<SRS>{escape(crs.to_wkt())}</SRS>" if crs else ""
    about += "" if place.is_identity else f"<GeoTransform>{', '.join(map(repr, place.to_gdal()))}</GeoTransform>"
    height, width = _size(blocks)
    text = f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{about}{"".join(bands)}</VRTDataset>'
    return text.encode()


def _colors(legend: Legend) -> str:
    packed = {each.value: color_value(each.color) for each in legend.classes}
    entries = (
        (packed.get(value, 0) >> 16, packed.get(value, 0) >> 8 & 255, packed.get(value, 0) & 255)
        for value in range(256)
    )
    table = "".join(f'<Entry c1="{red}" c2="{green}" c3="{blue}" c4="255"/>' for red, green, blue in entries)
    return f"<ColorInterp>Palette</ColorInterp><ColorTable>{table}</ColorTable>"


def _source(block: _Block, band: int) -> str:
    size = f'xSize="{block.width}" ySize="{block.height}"'
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(str(block.path.resolve()))}</SourceFilename>'
        f'<SourceBand>{band}</SourceBand><SrcRect xOff="{block.file_column}" yOff="{block.file_row}" {size}/>'
        f'<DstRect xOff="{block.column}" yOff="{block.row}" {size}/></SimpleSource>'
    )


def _write_names(target: Path, legend: Legend) -> None:
    """Write GDAL's side file, from which GDAL and QGIS take the names of the classes: one for each value from 0 on."""
    names = {each.value: each.name for each in legend.classes}
    entries = "".join(f"<Category>{escape(names.get(value, ''))}</Category>" for value in range(max(names) + 1))
    text = (
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{entries}</CategoryNames></PAMRasterBand></PAMDataset>\n'
    )
    half = target.with_name(f"{target.name}{SIDE_FILE}.part")
    half.write_text(text, encoding="utf-8")
    half.replace(target.with_name(f"{target.name}{SIDE_FILE}"))
