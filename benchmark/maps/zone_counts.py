"""Figures of zones: the pixels, areas and confidence of each class of maps in each zone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import geometry_mask
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.experiments.image_record import AXIS, FLATTENING, PLANE
from benchmark.maps.map_file import MapFile
from benchmark.maps.pieces import OnProgress, pieces, read_classes, tracked
from benchmark.maps.zones import Zones, box_of, in_system, outline


@dataclass(frozen=True, eq=False)
class ZoneCounts:
    """Counts of a zone over all maps.

    Attributes:
        name: name of the zone.
        pixels: (C,) int64 pixels of each class whose centre is in the zone.
        area: (C,) area of these in m²; NaN where the maps name no coordinate system.
        confidence: (C,) their mean confidence in percent; NaN where there is none.
        no_data: pixels without data.
        coverage: share of the zone's area that is inside the maps, with data or without.
    """

    name: str
    pixels: NDArray[np.int64]
    area: NDArray[np.float64]
    confidence: NDArray[np.float64]
    no_data: int
    coverage: float

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share (C,) of each class among the pixels with data, 0 to 1."""
        return self.pixels / max(self.pixels.sum(), 1)

    @property
    def by_frequency(self) -> list[int]:
        """Numbers of the classes that occur, the most frequent first."""
        return [number for number in np.argsort(-self.pixels, kind="stable").tolist() if self.pixels[number]]


def count_zones(
    maps: Sequence[MapFile], zones: Zones | None = None, on_progress: OnProgress | None = None
) -> list[ZoneCounts]:
    """Count the pixels of each class in each zone; a pixel is of every zone that holds its centre.

    The maps are read in pieces, so that memory does not grow with them.

    Args:
        maps: maps of one legend, on grounds of their own.
        zones: the zones; None for one zone that is the whole of all maps.
        on_progress: called with the number of pieces that are done, and of all.

    Raises:
        DataError: the maps have unlike legends or common ground, hold what is no class, their confidence does not
            fit, or all zones are outside of them.
    """
    _check_maps(maps)
    if zones is None:
        zones, placed = outline(maps), [_whole(each) for each in maps]
    else:
        placed = [zones.on(each) for each in maps]
    coverage = np.sum([_coverage(each, polygons) for each, polygons in zip(maps, placed, strict=True)], axis=0)
    if not coverage.any():
        raise DataError(f"{maps[0].path}: all {len(zones.names)} zones are outside of it; compare their coordinates")
    trees = [shapely.STRtree(polygons) for polygons in placed]
    parts = [
        (each, polygons, window, zone_numbers)
        for each, polygons, tree in zip(maps, placed, trees, strict=True)
        for window in pieces(each.window)
        if len(zone_numbers := tree.query(box_of(each, window), predicate="intersects"))
    ]
    classes = len(maps[0].legend.classes)
    sums = np.zeros((3, len(zones.names), classes + 1))  # pixels, areas, percents of confidence; last is no data
    for each, polygons, window, zone_numbers in tracked(parts, on_progress):
        numbers, percent = read_classes(each, window)
        areas = np.broadcast_to(row_areas(each.transform, each.crs, window)[:, None], numbers.shape)
        for zone in zone_numbers:
            inside = _inside(each, window, polygons[zone])
            chosen = numbers[inside]
            sums[0, zone] += np.bincount(chosen, minlength=classes + 1)
            sums[1, zone] += np.bincount(chosen, areas[inside], classes + 1)
            if percent is not None:
                sums[2, zone] += np.bincount(chosen, percent[inside], classes + 1)
    pixels, area, percents = sums
    known = (pixels > 0) & all(each.confidence for each in maps)
    means = np.divide(percents, pixels, out=np.full_like(percents, np.nan), where=known)
    counted = pixels.astype(np.int64)
    return [
        ZoneCounts(
            name, counted[zone, :-1], area[zone, :-1], means[zone, :-1], int(counted[zone, -1]), float(coverage[zone])
        )
        for zone, name in enumerate(zones.names)
    ]


def _check_maps(maps: Sequence[MapFile]) -> None:
    """Refuse maps of unlike legends, and maps that show common ground, whose pixels would count twice.

    Raises:
        DataError: that, or one of several maps names no coordinate system.
    """
    first = maps[0]
    for each in maps:
        if each.legend != first.legend:
            raise DataError(f"{each.path}: has another legend than {first.path}; give maps of one coding")
        if len(maps) > 1 and each.crs is None:
            raise DataError(f"{each.path}: names no coordinate system; give one such map at a time")
    boxes = np.concatenate([in_system(_whole(each), each.crs, first.crs, first.path) for each in maps])
    pairs = shapely.STRtree(boxes).query(boxes, predicate="intersects").T
    for one, other in pairs[pairs[:, 0] > pairs[:, 1]].tolist():
        row = boxes[one].length / 4 * math.sqrt(boxes[one].area / (maps[one].height * maps[one].width))
        if boxes[one].intersection(boxes[other]).area > row:  # more than a row of pixels
            raise DataError(f"{maps[one].path}: shows ground that {maps[other].path} shows; give maps without overlap")


def row_areas(transform: Affine, crs: CRS | None, window: Window) -> NDArray[np.float64]:
    """Return the area of a pixel of each row (H,) of a window, in m²; NaN without a coordinate system.

    It is measured in the plane of the projection, as national maps are; of degrees, and of a projection that keeps no
    areas, on the ellipsoid GRS80: M N cos(latitude) for each radian squared, with its two radii of curvature.
    """
    if crs is None:
        return np.full(window.height, np.nan)
    rows = window.row_off + np.arange(window.height) + 0.5
    column = window.col_off + window.width / 2
    corners = [
        transform @ (np.full_like(rows, column + right), rows + down) for right, down in ((0, 0), (1, 0), (0, 1))
    ]
    (x, y), (x_right, y_right), (x_down, y_down) = (
        np.radians(transform_points(crs, CRS.from_epsg(4326), east.tolist(), north.tolist())[:2])
        for east, north in corners
    )
    square = FLATTENING * (2 - FLATTENING)
    bend = 1 - square * np.sin(y) ** 2
    on_earth = AXIS**2 * (1 - square) / bend**2 * np.cos(y)
    areas = np.abs((x_right - x) * (y_down - y) - (x_down - x) * (y_right - y)) * on_earth
    plane = abs(transform.determinant) * (crs.linear_units_factor[1] ** 2 if crs.is_projected else np.nan)
    return np.where(np.abs(plane / areas - 1) < PLANE, plane, areas) if crs.is_projected else areas


def _whole(each: MapFile) -> NDArray[np.object_]:
    return np.array([box_of(each)], object)


def _inside(each: MapFile, window: Window, polygon: Any) -> NDArray[np.bool_]:
    """Return which pixels (H, W) of a window have their centre in a polygon."""
    shape = window.height, window.width
    if shapely.covers(polygon, box_of(each, window)):
        return np.ones(shape, np.bool_)
    # GDAL gives a centre on a horizontal edge to both neighbours; a millionth of a pixel away it is of one.
    corner = each.transform @ Affine.translation(window.col_off + 1e-6, window.row_off + 1e-6)
    return geometry_mask([polygon], shape, corner, invert=True)


def _coverage(each: MapFile, polygons: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return the share (n,) of the area of each polygon that is inside a map."""
    whole, common = shapely.area(polygons), shapely.area(shapely.intersection(polygons, box_of(each)))
    return np.divide(common, whole, out=np.zeros(len(polygons)), where=whole > 0)
