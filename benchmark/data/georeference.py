"""Georeferences: the place of a file's pixels on the earth, and whether a mask has the place of its image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points

from benchmark.common.errors import DataError

_TOLERANCE = 0.75  # of a pixel: half of one is between files that mean corners and files that mean centres
_LONLAT = CRS.from_epsg(4326)
Box = tuple[float, float, float, float]
"""West, south, east and north."""
Place = tuple[Box, CRS | None]


@dataclass(frozen=True)
class Georeference:
    """Place of a file on the earth, as the file gives it.

    Attributes:
        transform: transform from (column, row) to coordinates.
        crs: coordinate system; None where the file names none.
    """

    transform: Affine
    crs: CRS | None

    def box(self, row: float, column: float, height: float, width: float) -> Box:
        """Return the box that a window of the file covers."""
        corners = [
            self.transform @ (column + right * width, row + down * height) for right in (0, 1) for down in (0, 1)
        ]
        easts, norths = zip(*corners, strict=True)
        return min(easts), min(norths), max(easts), max(norths)


def georeference_of(file: rasterio.DatasetReader) -> Georeference | None:
    """Return the georeference of a file; None where it has none."""
    return None if file.transform.is_identity else Georeference(file.transform, file.crs)


def laid_on(
    mask: NDArray, of_mask: Georeference | None, of_image: Georeference | None, mask_path: Path, image_path: Path
) -> NDArray:
    """Return a mask (H, W, ...) in the order of its image's pixels: rows that run the other way are turned.

    Where one of the two says nothing of its place, the mask stays as it is. A coordinate system without an EPSG code,
    as that of FLAIR's masks, is taken for the image's.

    Raises:
        DataError: they are in two coordinate systems, or more than a piece of a pixel apart, or have unlike pixels.
    """
    if of_mask is None or of_image is None:
        return mask
    _check_crs(of_mask.crs, of_image.crs, mask_path, image_path)
    height, width = mask.shape[:2]
    across, _, right, _, down, below = tuple(~of_image.transform @ of_mask.transform)[:6]
    turn_rows, turn_columns = down < 0, across < 0
    right, below = right - (width if turn_columns else 0), below - (height if turn_rows else 0)
    # How far the far corner is off, if the pixels are not of one size.
    stretch = max(abs(abs(across) - 1) * width, abs(abs(down) - 1) * height)
    if max(abs(right), abs(below)) > _TOLERANCE:
        east, north = of_image.transform @ (right, below), of_image.transform @ (0, 0)
        shift = np.hypot(east[0] - north[0], east[1] - north[1])
        raise DataError(
            f"{mask_path}: is {shift:g} beside its image {image_path} (in the unit of their coordinates; "
            f"{right:.1f} columns and {below:.1f} rows); shift one, or remove a wrong georeference"
        )
    if stretch > _TOLERANCE:
        raise DataError(f"{mask_path}: has pixels of another size than its image {image_path}; bring it onto its grid")
    return mask[:: -1 if turn_rows else 1, :: -1 if turn_columns else 1]


def _check_crs(mask: CRS | None, image: CRS | None, mask_path: Path, image_path: Path) -> None:
    if mask is None or image is None or mask == image:
        return
    codes = mask.to_epsg(100), image.to_epsg(100)  # no guesses
    if None not in codes and codes[0] != codes[1]:
        raise DataError(
            f"{mask_path}: is in the coordinate system EPSG:{codes[0]}, its image {image_path} in EPSG:{codes[1]}; "
            "bring both into one"
        )


def in_metres(boxes: Sequence[Box], systems: Sequence[CRS | None]) -> NDArray[np.float64] | None:
    """Return boxes (n, 4) in metres, in one plane whatever their coordinate systems; None where one is not known.

    One system in metres stays what it is. Others (degrees, feet, several UTM zones) are brought to the plane that keeps
    distances from the middle of all boxes: over 1000 km these are right to about a percent.
    """
    plain = np.array(boxes, np.float64).reshape(-1, 4)
    if any(system is None for system in systems):
        return None
    kinds = {system.to_wkt(): system for system in systems if system is not None}
    if len(kinds) == 1 and (only := next(iter(kinds.values()))).is_projected and only.linear_units_factor[1] == 1:
        return plain
    names = np.array([system.to_wkt() for system in systems if system is not None])
    corners = np.stack([plain[:, [0, 1]], plain[:, [2, 3]]])  # (2, n, 2)
    lonlat = np.empty_like(corners)
    for name, system in kinds.items():
        of_system = names == name
        for corner in range(2):
            x, y = transform_points(system, _LONLAT, *corners[corner, of_system].T.tolist())[:2]
            lonlat[corner, of_system] = np.stack([x, y], 1)
    middle = lonlat.reshape(-1, 2).mean(0)
    plane = CRS.from_proj4(f"+proj=aeqd +lon_0={middle[0]:.6f} +lat_0={middle[1]:.6f} +datum=WGS84 +units=m")
    x, y = transform_points(_LONLAT, plane, *lonlat.reshape(-1, 2).T.tolist())[:2]
    both = np.stack([x, y], 1).reshape(2, -1, 2)
    return np.concatenate([both.min(0), both.max(0)], 1)
