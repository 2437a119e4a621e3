"""Figures of zones as tables: shares, indicators and their correction; as CSV and as a GeoPackage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from benchmark.common.errors import DataError
from benchmark.data.classes import slug
from benchmark.evaluation.shares import Corrected, correct, shares_of
from benchmark.maps.files import Row, whole_file, write_layer
from benchmark.maps.indicators import indicators, kinds_of, unknown_share
from benchmark.maps.legend import Legend
from benchmark.maps.zone_counts import ZoneCounts
from benchmark.maps.zones import Zones

INDICATORS = ("sealed", "artificialised_lower", "artificialised_upper")


@dataclass(frozen=True)
class ZoneFigures:
    """The figures of a zone.

    Attributes:
        counts: what was counted.
        names: names of the quantities: each class, and the indicators where the legend has them.
        shares: (K,) these quantities, 0 to 1; NaN where the zone has no pixel of a class.
        corrected: the same, corrected by the labelled zones of the run; NaN where there are none.
        unknown: share of the pixels without data or of a class that says nothing; NaN where the legend has no
            indicators.
    """

    counts: ZoneCounts
    names: tuple[str, ...]
    shares: NDArray[np.float64]
    corrected: Corrected
    unknown: float

    def quantity(self, name: str) -> tuple[float, float, float, float]:
        """Return a quantity as counted, corrected, and the ends of the interval of the corrected one."""
        index, found = self.names.index(name), self.corrected
        return tuple(float(of[index]) for of in (self.shares, found.values, found.low, found.high))  # type: ignore[return-value]


def figures_of(
    counts: Sequence[ZoneCounts], legend: Legend, labelled: Sequence[NDArray[np.int64]] = ()
) -> list[ZoneFigures]:
    """Return the figures of each zone.

    Args:
        legend: legend of the maps.
        labelled: confusion matrix (C + 1, C) of each labelled zone of the run that made the maps, its classes in the
            order of the legend; none where they are not known.

    Raises:
        DataError: the matrices are of other classes.
    """
    size = len(legend.classes)
    if any(matrix.shape != (size + 1, size) for matrix in labelled):
        raise DataError(f"the run's confusion matrices are not of the {size} classes of the map; the run was changed")
    has_kinds = bool(kinds_of(legend))
    names = tuple(each.name for each in legend.classes) + (INDICATORS if has_kinds else ())
    predicted, true, pixels = shares_of(labelled or [np.zeros((size + 1, size), np.int64)])
    errors_of = _with_indicators(legend, predicted), _with_indicators(legend, true), pixels
    figures = []
    for each in counts:
        ground = each.area if np.isfinite(each.area).all() else each.pixels.astype(np.float64)
        shares = _with_indicators(legend, ground / (ground.sum() or np.nan))
        corrected = correct(shares, each.pixels.sum(), *errors_of)
        unknown = unknown_share(legend, each.pixels, each.no_data) if has_kinds else math.nan
        figures.append(ZoneFigures(each, names, shares, corrected, unknown))
    return figures


def zone_rows(figures: Sequence[ZoneFigures]) -> list[Row]:
    """Return one row a zone: what of it is on the maps, the indicators, and the share of each class."""
    rows: list[Row] = []
    for each in figures:
        about: dict[str, str | int | float] = {
            "zone": each.counts.name,
            "coverage": each.counts.coverage,
            "area_m2": float(each.counts.area.sum()),
            "pixels": int(each.counts.pixels.sum()),
            "no_data_pixels": each.counts.no_data,
            "unknown_share": each.unknown,
        }
        shares = zip(each.names, each.shares.tolist(), strict=True)
        rows.append(about | {f"{slug(name)}_share": share for name, share in shares})
    return rows


def class_rows(figures: Sequence[ZoneFigures]) -> list[Row]:
    """Return one row a zone and class, or indicator: pixels, area, confidence, and the share with its correction."""
    rows: list[Row] = []
    for each in figures:
        classes = len(each.counts.pixels)
        for index, name in enumerate(each.names):
            share, corrected, low, high = each.quantity(name)
            is_class = index < classes
            rows.append(
                {
                    "zone": each.counts.name,
                    "class": name,
                    "pixels": int(each.counts.pixels[index]) if is_class else "",
                    "area_m2": float(each.counts.area[index]) if is_class else "",
                    "confidence_percent": float(each.counts.confidence[index]) if is_class else "",
                    "share": share,
                    "corrected_share": corrected,
                    "corrected_low": low,
                    "corrected_high": high,
                }
            )
    return rows


def write_geopackage(rows: Sequence[Row], zones: Zones, path: Path) -> None:
    """Write the zones with the rows as their attributes, in the zones' coordinate system.

    Raises:
        DataError: it cannot be written.
    """
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    columns["zone"] = columns["zone"].astype(object)
    polygons = [shapely.multipolygons(shapely.get_parts(each)) for each in zones.polygons]
    crs = zones.crs and zones.crs.to_wkt()
    with whole_file(path) as half:
        write_layer(half, "zones", columns, shapely.to_wkb(np.array(polygons, object)), "MultiPolygon", crs)


def _with_indicators(legend: Legend, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return shares (..., C) with the indicators after them, where the legend has them."""
    if not kinds_of(legend):
        return shares
    found = indicators(legend, shares)
    return np.concatenate([shares, np.stack([found.sealed, found.lower, found.upper], -1)], -1)
