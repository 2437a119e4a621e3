"""Georeferences: the place of a file's pixels on the earth, and whether a mask has the place of its image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points
from rasterio.windows import Window

from benchmark.common.errors import DataError

_LEAST_COMMON = 0.1  # of the smaller of a mask and its image
_TOLERANCE = 0.75  # of a pixel: half of one is between files that mean corners and files that mean centres
_LONLAT = CRS.from_epsg(4326)
_RADIUS, _POLE = 6_371_009, np.radians(89.99)  # metres of the earth; the latitude up to which Mercator's plane is used
Box = tuple[float, float, float, float]
"""West, south, east and north."""
Size = tuple[int, int]
"""Height and width."""
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
    """Return the georeference of a file; None where it has none.

    Raises:
        DataError: its pixels have no area.
    """
    if file.transform.is_degenerate:
        raise DataError(f"{file.name}: by its georeference a pixel has no area; correct or remove it")
    return None if file.transform.is_identity else Georeference(file.transform, file.crs)


@dataclass(frozen=True, eq=False)
class MaskGrid:
    """Pixels of a mask under the pixels of an image.

    Attributes:
        rows, columns: (H,) and (W,) int64, row and column of the mask under each row and column of the image; -1 where
            the mask has none.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    @property
    def outside(self) -> NDArray[np.bool_] | None:
        """Pixels (H, W) where the mask has none; None for nowhere."""
        rows, columns = self.rows < 0, self.columns < 0
        return rows[:, None] | columns if rows.any() or columns.any() else None

    def is_same(self, shape: tuple[int, ...]) -> bool:
        """Return whether a mask of this shape (H, W, ...) is under the image pixel by pixel."""
        lines = zip((self.rows, self.columns), shape[:2], strict=True)
        return all(np.array_equal(line, np.arange(length)) for line, length in lines)

    def take(self, mask: NDArray) -> NDArray:
        """Return the pixels (H, W, ...) of a mask under the image; any where it has none."""
        return mask[self.rows[:, None], self.columns]

    def within(self, area: Window | None) -> "MaskGrid":
        """Return the grid of an area of the image; None is all of it."""
        if area is None:
            return self
        return MaskGrid(
            self.rows[area.row_off : area.row_off + area.height],
            self.columns[area.col_off : area.col_off + area.width],
        )

    def cropped(self) -> tuple[Window, "MaskGrid"]:
        """Return the area of the mask that is under the image, and the grid on it alone; any pixel if none is."""
        lines = [line[line >= 0] if line.max() >= 0 else np.zeros(1, np.int64) for line in (self.rows, self.columns)]
        (top, bottom), (left, right) = ((int(line.min()), int(line.max()) + 1) for line in lines)
        window = Window(left, top, right - left, bottom - top)
        return window, MaskGrid(np.maximum(self.rows - top, -1), np.maximum(self.columns - left, -1))


def grid_on(
    mask: Size, of_mask: Georeference | None, image: Size, of_image: Georeference | None, mask_path: Path, path: Path
) -> MaskGrid:
    """Return which pixels of a mask are under those of an image.

    Where one of the two says nothing of its place, they must have one size. A mask of the size and the pixels of the
    image must have its place too; rows that run the other way are turned. Any other is sampled at the centres of the
    image's pixels. A coordinate system without an EPSG code, as that of FLAIR's masks, is taken for the image's.

    Args:
        mask, image: height and width.
        of_mask, of_image: their places.
        mask_path, path: what messages name.

    Raises:
        DataError: they have unlike sizes and no places, are in two coordinate systems, turned against each other, a
            piece of a pixel apart, or on other grounds.
    """
    height, width = image
    if of_mask is None or of_image is None:
        _check_sizes(mask, image, mask_path, path)
        return MaskGrid(np.arange(height), np.arange(width))
    _check_crs(of_mask.crs, of_image.crs, mask_path, path)
    across, turn, right, other_turn, down, below = tuple(~of_mask.transform @ of_image.transform)[:6]
    if max(abs(turn) * height, abs(other_turn) * width) > _TOLERANCE:
        raise DataError(f"{mask_path}: is turned against its image {path}; bring it onto its grid (gdalwarp)")
    # How far the far corner is off, if the pixels are not of one size.
    if mask == image and max(abs(abs(across) - 1) * width, abs(abs(down) - 1) * height) <= _TOLERANCE:
        right, below = right - (width if across < 0 else 0), below - (height if down < 0 else 0)
        if max(abs(right), abs(below)) > _TOLERANCE:
            shift = np.hypot(*(np.subtract(of_mask.transform @ (right, below), of_mask.transform @ (0, 0))))
            raise DataError(
                f"{mask_path}: is {shift:g} beside its image {path} (in the unit of their coordinates; "
                f"{abs(right):.1f} columns and {abs(below):.1f} rows); shift one, or remove a wrong georeference"
            )
        rows, columns = np.arange(height), np.arange(width)
        return MaskGrid(rows[:: 1 if down > 0 else -1], columns[:: 1 if across > 0 else -1])
    rows, columns = _sampled(height, down, below, mask[0]), _sampled(width, across, right, mask[1])
    common = int((rows >= 0).sum()) * int((columns >= 0).sum())
    share = max(common / (height * width), common * abs(across * down) / (mask[0] * mask[1]))
    if share < _LEAST_COMMON:
        raise DataError(
            f"{mask_path}: shows other ground than its image {path}: {share:.0%} of the smaller one is common; shift "
            "one, or remove a wrong georeference"
        )
    return MaskGrid(rows, columns)


def _sampled(length: int, step: float, start: float, there: int) -> NDArray[np.int64]:
    """Return the pixel of a mask's line under the centre of each pixel of an image's line; -1 where there is none."""
    # Without the small number, rounding would decide where centres are on the borders of pixels.
    line = np.floor((np.arange(length) + 0.5) * step + start + 1e-6).astype(np.int64)
    return np.where((line >= 0) & (line < there), line, -1)


def _check_sizes(mask: Size, image: Size, mask_path: Path, image_path: Path) -> None:
    if mask == image:
        return
    turned = "; turned by a quarter they fit: one of them lost its orientation tag, or alone has one"
    sizes = f"{mask[1]} x {mask[0]} pixels, but its image {image_path} has {image[1]} x {image[0]}"
    raise DataError(f"{mask_path}: {sizes}{turned if mask[::-1] == image else ''}")


def _check_crs(mask: CRS | None, image: CRS | None, mask_path: Path, image_path: Path) -> None:
    if mask is None or image is None or mask == image:
        return
    codes = mask.to_epsg(100), image.to_epsg(100)  # no guesses
    if None not in codes and codes[0] != codes[1]:
        raise DataError(
            f"{mask_path}: is in the coordinate system EPSG:{codes[0]}, its image {image_path} in EPSG:{codes[1]}; "
            "bring both into one"
        )


@dataclass(frozen=True, eq=False)
class Metres:
    """Boxes in metres, whatever their coordinate systems were.

    Attributes:
        boxes: (n, 4), in one plane.
        footprints: (n, 4), by which overlaps are found.
        lonlat: longitude and latitude (n, 2) of their middles, degrees; None where all are in one system in metres.
    """

    boxes: NDArray[np.float64]
    footprints: NDArray[np.float64]
    lonlat: NDArray[np.float64] | None = None


def in_metres(boxes: Sequence[Box], systems: Sequence[CRS | None]) -> Metres | None:
    """Return boxes (n, 4) in metres; None where a coordinate system is not known.

    One system in metres stays what it is. Others (degrees, feet, several UTM zones) are brought to the plane that keeps
    distances from the middle of all boxes: over 1000 km these are right to about a percent. Far from there north is not
    up, and neighbours would seem to overlap: footprints are in the plane where it is (Mercator's), whose metres are
    right at the mean latitude. A box that is turned even there is as large as lets its neighbours touch it.
    """
    plain = np.array(boxes, np.float64).reshape(-1, 4)
    if any(system is None for system in systems):
        return None
    texts = {number: system.to_wkt() for number, system in {id(each): each for each in systems}.items() if system}
    kinds = {texts[id(system)]: system for system in systems if system is not None}  # to_wkt() takes long
    if len(kinds) == 1 and (only := next(iter(kinds.values()))).is_projected and only.linear_units_factor[1] == 1:
        return Metres(plain, plain)
    names = np.array([texts[id(system)] for system in systems])
    west, south, east, north = plain.T
    across, down = (west + east) / 2, (south + north) / 2
    middles = np.array([[west, down], [east, down], [across, south], [across, north]]).transpose(0, 2, 1)  # (4, n, 2)
    lonlat = np.empty_like(middles)
    for name, system in kinds.items():
        of_system = names == name
        for side in range(4):
            lonlat[side, of_system] = _on_earth(middles[side, of_system], system)
    if np.ptp(lonlat[..., 0]) > 180:  # the places are on both sides of the date line
        lonlat[..., 0] %= 360
    middle = lonlat.reshape(-1, 2).mean(0)
    plane = CRS.from_proj4(f"+proj=aeqd +lon_0={middle[0]:.6f} +lat_0={middle[1]:.6f} +datum=WGS84 +units=m")
    x, y = transform_points(_LONLAT, plane, *lonlat.reshape(-1, 2).T.tolist())[:2]
    ends = np.stack([x, y], 1).reshape(4, -1, 2)
    half = np.hypot(*(ends[[1, 3]] - ends[[0, 2]]).transpose(2, 1, 0)) / 2  # (n, 2): of width and height
    plain = np.concatenate([ends.mean(0) - half, ends.mean(0) + half], 1)
    return Metres(plain, _north_up(np.radians(lonlat), np.radians(middle[1])), lonlat.mean(0))


def _north_up(ends: NDArray[np.float64], latitude: float) -> NDArray[np.float64]:
    """Return boxes (n, 4) in Mercator's plane, of the middles of the sides (4, n, 2; radians), metres at a latitude."""
    east, north = ends[..., 0], np.arcsinh(np.tan(ends[..., 1].clip(-_POLE, _POLE)))
    points = np.stack([east, north], 2) * _RADIUS * np.cos(latitude)
    middles, half = points.mean(0), np.abs(points[[1, 3]] - points[[0, 2]]).max(0) / 2
    return np.concatenate([middles - half, middles + half], 1)


def _on_earth(points: NDArray[np.float64], system: CRS) -> NDArray[np.float64]:
    """Return points (n, 2) of a coordinate system as longitude and latitude."""
    try:
        lonlat = np.stack(transform_points(system, _LONLAT, *points.T.tolist())[:2], 1)
    except CPLE_BaseError:
        lonlat = np.full_like(points, np.nan)
    if not (np.abs(lonlat) <= (360, 90)).all():  # NaN and infinity are not
        (west, south), (east, north) = points.min(0), points.max(0)
        raise DataError(
            f"images in {system.to_string()[:60]} at {west:g} to {east:g} and {south:g} to {north:g} are, in part, "
            "nowhere on the earth; correct a wrong georeference"
        )
    return lonlat
