"""Polygons of a map of classes, as a GeoPackage."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes, sieve
from rasterio.windows import Window

from benchmark.common.errors import DataError, SettingsError
from benchmark.data.raster import open_raster, readable
from benchmark.maps.legend import NO_DATA
from benchmark.maps.map_file import MapFile
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
    on_progress: Callable[[int, int], None] | None = None,
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
    window = window or Window(0, 0, made.width, made.height)
    areas = row_areas(made.transform, made.crs, window)
    tiles = [
        Window(column, row, min(SIDE, window.width - column), min(SIDE, window.height - row))
        for row in range(0, window.height, SIDE)
        for column in range(0, window.width, SIDE)
    ]
    place = made.transform @ made.transform.translation(window.col_off, window.row_off)
    with ExitStack() as stack:
        stack.enter_context(readable(made.path))
        file = stack.enter_context(open_raster(made.path))
        percents = stack.enter_context(open_raster(made.confidence)) if made.confidence else None
        written = stack.enter_context(PolygonFile(target, made, place, columns))
        parts = Parts(window.width)
        for number, tile in enumerate(tiles, 1):
            rows = areas[tile.row_off : tile.row_off + tile.height]
            pixel = float(rows.mean())
            seen = Window(window.col_off + tile.col_off, window.row_off + tile.row_off, tile.width, tile.height)
            values = _sieved(file, seen, math.ceil(min_area / pixel))
            polygons, classes, owners = _polygons(values, simplify / math.sqrt(pixel))
            sums = _sums(owners, len(polygons), rows, None if percents is None else percents.read(1, window=seen))
            moved = shapely.transform(polygons, lambda points, by=(tile.col_off, tile.row_off): points + by)
            written.add(parts.add(tile, MapPatches(moved, classes, sums), owners))
            if tile.col_off + tile.width == window.width:
                written.add(parts.close_row(last=tile is tiles[-1]))
            if on_progress:
                on_progress(number, len(tiles))
        return written.number


def _sieved(file: rasterio.DatasetReader, window: Window, smallest: int) -> NDArray[np.uint8]:
    """Return the values (h, w) of a window in which patches of fewer pixels have the class of a neighbour."""
    if smallest < 2:
        return file.read(1, window=window)
    top, left = min(window.row_off, MARGIN), min(window.col_off, MARGIN)
    right = min(file.width, window.col_off + window.width + MARGIN)
    bottom = min(file.height, window.row_off + window.height + MARGIN)
    around = Window.from_slices((window.row_off - top, bottom), (window.col_off - left, right))
    values = file.read(1, window=around)
    values = sieve(values, smallest, mask=values != NO_DATA, connectivity=4)
    return values[top : top + window.height, left : left + window.width]


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
    owners: NDArray[np.int32], polygons: int, rows: NDArray[np.float64], percents: NDArray[np.uint8] | None
) -> NDArray[np.float64]:
    """Return area in m², sum of the percents of confidence, and number of pixels that have one, (n, 3) by polygon."""
    of_pixels = np.broadcast_to(rows[:, None], owners.shape)
    columns = [np.bincount(owners.ravel(), of_pixels.ravel(), polygons)]
    if percents is None:
        return np.stack([*columns, np.zeros(polygons), np.zeros(polygons)], axis=1)
    sure = percents != NO_DATA
    columns += [np.bincount(owners[sure], weights, polygons) for weights in (percents[sure], None)]
    return np.stack(columns, axis=1)
