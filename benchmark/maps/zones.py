"""Zones: polygons whose figures are wanted, and their place on a map."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.common.texts import unfit
from benchmark.data.classes import POLYGONS
from benchmark.data.polygons import crs_of, moved, only_layer, readable, text_of
from benchmark.maps.map_file import MapFile

WHOLE = "whole map"
_NAMES = ("name", "nom")
_PIECES = 256  # of the longer side of a zone, of which an edge has at least one when it is brought to another system


@dataclass(frozen=True)
class Zones:
    """Polygons whose figures are wanted.

    Attributes:
        names: name of each.
        polygons: (n,) polygons or multipolygons.
        crs: their coordinate system; None where it is that of the maps.
    """

    names: tuple[str, ...]
    polygons: NDArray[np.object_]
    crs: CRS | None

    def on(self, each: MapFile) -> NDArray[np.object_]:
        """Return the polygons (n,) in the coordinate system of a map."""
        return in_system(self.polygons, self.crs, each.crs, each.path)


def read_zones(path: Path, field: str = "") -> Zones:
    """Read the polygons of a GeoPackage, GeoJSON or shapefile; those of one name are one zone.

    Args:
        path: path of the file.
        field: attribute that names the zones; "" for ``name`` or ``nom``, and where there is neither, their numbers.

    Raises:
        DataError: the file is of another kind, cannot be read, holds other things than polygons, or has no such
            attribute.
    """
    if path.suffix.lower() not in POLYGONS:
        raise DataError(f"{path}: zones are polygons in a file {', '.join(POLYGONS)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with readable(path):
        import pyogrio

        layer = only_layer(path)
        about = pyogrio.read_info(path, layer=layer)
        known = list(about["fields"])
        named = field or next((name for name in known if name.lower() in _NAMES), "")
        if named and named not in known:
            raise DataError(f"{path}: has no attribute '{named}'; its attributes are {', '.join(known) or 'none'}")
        columns = [named] if named else []
        _, _, shapes, values = pyogrio.raw.read(path, layer=layer, columns=columns, force_2d=True)
        polygons = shapely.from_wkb(shapes)
        kept = ~(shapely.is_missing(polygons) | shapely.is_empty(polygons))
        if other := set(shapely.get_type_id(polygons[kept]).tolist()) - {3, 6}:
            raise DataError(f"{path}: holds {shapely.GeometryType(other.pop()).name} where polygons are expected")
        if not kept.any():
            raise DataError(f"{path}: holds no polygon")
        texts = [text_of(value) for value in values[0].tolist()] if named else map(str, range(1, len(polygons) + 1))
        parts: dict[str, list[Any]] = {}
        for text, polygon, is_kept in zip(texts, polygons, kept, strict=True):
            if is_kept:
                parts.setdefault(text or "(no name)", []).append(_valid(polygon))
    if fault := unfit(parts):
        raise DataError(f"{path}: names of zones: {fault}")
    whole = [shapely.union_all(of) if len(of) > 1 else of[0] for of in parts.values()]
    return Zones(tuple(parts), np.array(whole, object), crs_of(about["crs"]))


def outline(maps: Sequence[MapFile]) -> Zones:
    """Return the ground of all maps as one zone, in the coordinate system of the first."""
    crs = maps[0].crs
    boxes = [in_system(np.array([box_of(each)], object), each.crs, crs, each.path)[0] for each in maps]
    return Zones((WHOLE,), np.array([shapely.union_all(boxes)], object), crs)


def box_of(each: MapFile, window: Window | None = None) -> shapely.Polygon:
    """Return the ground of a map, or of a window of it, in its coordinate system."""
    window = window or each.window
    right, bottom = window.col_off + window.width, window.row_off + window.height
    corners = [(window.col_off, window.row_off), (right, window.row_off), (right, bottom), (window.col_off, bottom)]
    return shapely.Polygon([each.transform @ corner for corner in corners])


def in_system(polygons: NDArray[np.object_], crs: CRS | None, wanted: CRS | None, path: Path) -> NDArray[np.object_]:
    """Return polygons (n,) in another coordinate system; what names none is in that of the other.

    A straight edge of one system is a curve in another, so long edges are cut into pieces. A polygon that is nowhere in
    the other system, which may show a part of the earth alone, becomes an empty one.

    Args:
        path: path of the map, which messages name.

    Raises:
        DataError: the polygons name a system and the map does not.
    """
    if crs is None or crs == wanted:
        return polygons
    if wanted is None:
        raise DataError(f"{path}: names no coordinate system, so zones in {crs.to_string()[:60]} cannot be laid on it")
    west, south, east, north = shapely.bounds(polygons).T
    cut = shapely.segmentize(polygons, np.maximum(east - west, north - south) / _PIECES)
    return np.array([_placed(polygon, crs, wanted) for polygon in cut], object)


def _placed(polygon: Any, crs: CRS, wanted: CRS) -> Any:
    try:
        placed = shapely.transform(polygon, lambda points: moved(points, crs, wanted))
    except CPLE_BaseError:
        return shapely.Polygon()
    return _valid(placed) if np.isfinite(shapely.bounds(placed)).all() else shapely.Polygon()


def _valid(polygon: Any) -> Any:
    """Return a polygon whose rings do not cross; what is left of one as lines or points has no area."""
    if shapely.is_valid(polygon):
        return polygon
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(polygon)))
    return shapely.union_all(parts[shapely.get_type_id(parts) == 3])
