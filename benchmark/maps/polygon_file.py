"""GeoPackages of a map's polygons: their attributes, and a style that QGIS takes by itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from benchmark.maps.files import write_layer
from benchmark.maps.map_file import MapFile
from benchmark.maps.polygon_parts import NOTHING, MapPatches
from benchmark.maps.style import polygon_style

Columns = Callable[[MapFile, MapPatches], dict[str, NDArray[Any]]]
"""Function that gives the attributes of patches by name; the first is the value of the class."""
_AT_ONCE = 20_000  # polygons that are kept until they are written together
_FACTS = ("run", "method", "image_date")


def described(made: MapFile, patches: MapPatches) -> dict[str, NDArray[Any]]:
    """Return ``value``, ``name``, ``name_fr``, ``area_m2``, mean ``confidence`` in percent, and facts of the map.

    What the map has not (French names, confidence, a fact) is left out.
    """
    classes = {each.value: each for each in made.legend.classes}
    of_each = [classes[value] for value in patches.values.tolist()]
    area, percents, pixels = patches.sums.T
    columns: dict[str, NDArray[Any]] = {
        "value": patches.values.astype(np.int32),
        "name": np.array([each.name for each in of_each], object),
        "name_fr": np.array([each.french for each in of_each], object),
        "area_m2": area,
        "confidence": np.divide(percents, pixels, out=np.full(len(area), np.nan), where=pixels > 0),
    }
    if not any(each.french for each in made.legend.classes):
        del columns["name_fr"]
    if made.confidence is None:
        del columns["confidence"]
    return columns | {name: np.full(len(area), made.facts[name], object) for name in _FACTS if name in made.facts}


class PolygonFile:
    """A GeoPackage of polygons that come in pieces.

    Attributes:
        number: polygons until now.
    """

    def __init__(self, path: Path, layer: str, made: MapFile, columns: Columns) -> None:
        """Begin a file at a path, with a layer for the polygons of a map."""
        self.number = 0
        self._path, self._layer, self._made, self._columns = path, layer, made, columns
        self._waiting: list[MapPatches] = []
        self._add([NOTHING])

    def add(self, patches: MapPatches) -> None:
        """Add polygons."""
        self._waiting.append(patches)
        self.number += len(patches.polygons)
        if sum(len(each.polygons) for each in self._waiting) >= _AT_ONCE:
            self._flush()

    def finish(self) -> None:
        """Write what is left, and the table in which QGIS keeps styles of layers."""
        self._flush()
        texts = {
            "f_table_catalog": "",
            "f_table_schema": "",
            "f_table_name": self._layer,
            "f_geometry_column": "geom",
            "styleName": "classes",
            "styleQML": polygon_style(self._made.legend, next(iter(self._columns(self._made, NOTHING)))),
            "styleSLD": "",
        }
        fields: dict[str, NDArray[Any]] = {name: np.array([text], object) for name, text in texts.items()}
        write_layer(self._path, "layer_styles", fields | {"useAsDefault": np.array([True])})

    def _flush(self) -> None:
        if self._waiting:
            self._add(self._waiting)
        self._waiting = []

    def _add(self, some: list[MapPatches]) -> None:
        parts = [(each.polygons, each.values, each.sums) for each in some]
        polygons, values, sums = (np.concatenate(part) for part in zip(*parts, strict=True))
        place = self._made.transform
        on_earth = shapely.transform(polygons, lambda points: np.stack(place @ tuple(points.T), axis=1))
        fields = self._columns(self._made, MapPatches(polygons, values, sums))
        crs = self._made.crs
        system = crs and (f"EPSG:{crs.to_epsg()}" if crs.to_epsg() else crs.to_wkt())
        shapes = shapely.to_wkb(shapely.orient_polygons(on_earth))
        write_layer(self._path, self._layer, fields, shapes, "Polygon", system, append=self._path.exists())
