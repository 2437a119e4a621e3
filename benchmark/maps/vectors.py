"""Polygons of a map of classes, as a GeoPackage."""

import math
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes, sieve
from rasterio.windows import Window

from benchmark.common.errors import DataError, SettingsError
from benchmark.maps.files import whole_file
from benchmark.maps.legend import NO_DATA
from benchmark.maps.map_file import MapFile
from benchmark.maps.pieces import OnProgress, pieces, read_band, tracked
from benchmark.maps.polygon_file import Columns, PolygonFile, described
from benchmark.maps.polygon_parts import MapPatches, Parts
from benchmark.maps.zone_counts import row_areas

SIDE, MARGIN = 2048, 512
"""Side of the tiles of which polygons are made, and what is read around them where small patches are removed."""


def write_vectors(
    made: MapFile,
    target: Path,
    min_area: float = 0.0,
    simplify: float = 0.0,
    window: Window | None = None,
    columns: Columns = described,
    on_progress: OnProgress | None = None,
) -> int:
    """Write the polygons of a map: one for each patch of one class whose pixels share edges. No data is no polygon.

    The map is read tile by tile, and a polygon is written as soon as no later row of tiles can add to it. In memory are
    those of one row of tiles and those that go on below it: a road network or a plain that goes through the whole map
    is there whole before it is written.

    Attributes are those that ``columns`` gives: see `benchmark.maps.polygon_file.described`. The area is that of the
    polygon's pixels, also where its outline is simplified, so that areas of a map add up to those of its pixels.

    Args:
        made: the map.
        target: path of the GeoPackage. It appears when it is whole; its layer has its name.
        min_area: area in m² below which a patch is removed before: its pixels get the class of its largest neighbour
            (GDAL's sieve). It sees a tile and `MARGIN` pixels around it. Small patches between patches that are all
            small may stay, and so do those in the midst of no data.
        simplify: length in m; 0 keeps the outlines of the pixels. Else corners are left out by Visvalingam and Whyatt's
            algorithm, which removes triangles of an area below the square of this length, from lines that both
            neighbours share: neither gap nor overlap arises. Where two polygons meet at a tile's edge, a corner stays.
        window: part of the map; the whole if None.
        columns: function that gives the attributes.
        on_progress: called with the tiles that are done, and their number.

    Returns:
        Number of polygons.

    Raises:
        DataError: the map has no coordinate system, or cannot be read.
        SettingsError: the area or the length is negative or no number.
    """
    for name, given in (("smallest area", min_area), ("length of simplification", simplify)):
        if not (0 <= given < math.inf):
            raise SettingsError(f"the {name} of polygons must be a number of at least 0, not {given}")
    if made.crs is None:
        raise DataError(f"{made.path}: names no coordinate system, so its polygons have no place and no area in m²")
    window = window or made.window
    areas = row_areas(made.transform, made.crs, window)
    tiles = pieces(window, SIDE)
    parts = Parts(window)
    with whole_file(target) as half:
        written = PolygonFile(half, target.stem, made, columns)
        for tile in tracked(tiles, on_progress):
            top = tile.row_off - window.row_off
            rows = areas[top : top + tile.height]
            pixel = float(rows.mean())
            smallest = math.ceil(min_area / pixel - 1e-6)  # less what rounding adds to a whole number of pixels
            polygons, classes, owners = _polygons(_sieved(made, tile, smallest), simplify / math.sqrt(pixel))
            percents = read_band(made.confidence, tile) if made.confidence else np.full(owners.shape, NO_DATA, np.uint8)
            sums = _sums(owners, len(polygons), rows, percents)
            moved = shapely.transform(polygons, lambda points, by=(tile.col_off, tile.row_off): points + by)
            written.add(parts.add(tile, MapPatches(moved, classes, sums), owners))
            if tile.col_off + tile.width == window.col_off + window.width:
                written.add(parts.close_row(last=tile is tiles[-1]))
        written.finish()
    return written.number


def _sieved(made: MapFile, tile: Window, smallest: int) -> NDArray[np.uint8]:
    """Return the values (h, w) of a tile in which patches of fewer pixels have the class of a neighbour."""
    if smallest < 2:
        return read_band(made.path, tile)
    around = Window(tile.col_off - MARGIN, tile.row_off - MARGIN, tile.width + 2 * MARGIN, tile.height + 2 * MARGIN)
    values = read_band(made.path, around)
    values = sieve(values, smallest, mask=values != NO_DATA, connectivity=4)
    return values[MARGIN:-MARGIN, MARGIN:-MARGIN]


def _polygons(
    values: NDArray[np.uint8], length: float
) -> tuple[NDArray[np.object_], NDArray[np.uint8], NDArray[np.int32]]:
    """Return the polygons (n,) of a tile in pixels, their values (n,), and the polygon of each pixel (h, w)."""
    found = list(shapes(values, connectivity=4))
    owners = rasterize(((outline, number) for number, (outline, _) in enumerate(found)), values.shape, dtype="int32")
    polygons = np.array([shapely.geometry.shape(outline) for outline, _ in found], object)
    if length:
        # With a corner at each pixel, neighbours have all corners in common, as a coverage must.
        corners = shapely.transform(shapely.segmentize(polygons, 1.0), np.rint)
        polygons = shapely.coverage_simplify(corners, length, simplify_boundary=False)
    return polygons, np.array([value for _, value in found], np.uint8), owners


def _sums(
    owners: NDArray[np.int32], polygons: int, rows: NDArray[np.float64], percents: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return area in m², sum of the percents of confidence, and number of pixels that have one, (n, 3) by polygon."""
    areas, sure = np.broadcast_to(rows[:, None], owners.shape), percents != NO_DATA
    pairs = ((owners.ravel(), areas.ravel()), (owners[sure], percents[sure]), (owners[sure], None))
    return np.stack([np.bincount(chosen, weights, polygons) for chosen, weights in pairs], axis=1)
