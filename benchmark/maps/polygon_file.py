"""GeoPackages of a map's polygons: their attributes, and a style that QGIS takes by itself."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.transform import Affine

from benchmark.maps.map_file import MapFile
from benchmark.maps.polygon_parts import MapPatches
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
    """A GeoPackage that is written in pieces; as a context, it is moved to its place where no error came.

    Attributes:
        number: polygons until now.
    """

    def __init__(self, target: Path, made: MapFile, place: Affine, columns: Columns) -> None:
        """Begin a file.

        Args:
            target: path of the GeoPackage.
            made: the map.
            place: transform from the pixels of the patches to coordinates.
            columns: function that gives the attributes.
        """
        self.number = 0
        self._target, self._made, self._place, self._columns = target, made, place, columns
        self._half = target.with_name(f"{target.stem}.part{target.suffix}")
        self._waiting: list[MapPatches] = []

    def __enter__(self) -> "PolygonFile":
        self._half.unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._flush()
            self._add_style()
            self._half.replace(self._target)

    def add(self, patches: MapPatches) -> None:
        """Add polygons."""
        self._waiting.append(patches)
        self.number += len(patches.polygons)
        if sum(len(each.polygons) for each in self._waiting) >= _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        parts = [(each.polygons, each.values, each.sums) for each in self._waiting]
        polygons, values, sums = (np.concatenate(part) for part in zip(*parts, strict=True))
        self._waiting = []
        on_earth = shapely.transform(polygons, lambda points: np.stack(self._place @ tuple(points.T), axis=1))
        fields = self._columns(self._made, MapPatches(polygons, values, sums))
        self._write(self._target.stem, fields, shapely.to_wkb(shapely.orient_polygons(on_earth)), "Polygon")

    def _add_style(self) -> None:
        """Add the table in which QGIS keeps styles of layers."""
        first = next(iter(self._columns(self._made, MapPatches(*_no_patches()))))
        texts = {
            "f_table_catalog": "",
            "f_table_schema": "",
            "f_table_name": self._target.stem,
            "f_geometry_column": "geom",
            "styleName": "classes",
            "styleQML": polygon_style(self._made.legend, first),
            "styleSLD": "",
        }
        fields: dict[str, NDArray[Any]] = {name: np.array([text], object) for name, text in texts.items()}
        self._write("layer_styles", fields | {"useAsDefault": np.array([True])}, None, None)

    def _write(
        self, layer: str, fields: dict[str, NDArray[Any]], shapes: NDArray[Any] | None, kind: str | None
    ) -> None:
        import pyogrio

        crs = self._made.crs
        assert crs is not None  # else there are no polygons
        pyogrio.raw.write(
            self._half,
            geometry=shapes,
            field_data=list(fields.values()),
            fields=list(fields),
            layer=layer,
            driver="GPKG",
            geometry_type=kind,
            crs=(f"EPSG:{crs.to_epsg()}" if crs.to_epsg() else crs.to_wkt()) if kind else None,
            append=kind is not None and self._half.exists(),
        )


def _no_patches() -> tuple[NDArray[np.object_], NDArray[np.uint8], NDArray[np.float64]]:
    return np.empty(0, object), np.empty(0, np.uint8), np.empty((0, 3))
