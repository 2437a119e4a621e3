"""Masks of images: read, encoded, and laid on the grid of their images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.data.bands import Pixels, both
from benchmark.data.catalog import Catalog
from benchmark.data.classes import IGNORE, ClassSet
from benchmark.data.georeference import Georeference, MaskGrid, Size, grid_on
from benchmark.data.polygons import read_polygons
from benchmark.data.raster import MaskPixels, read_labels


def read_indices(
    catalog: Catalog, path: Path, image: Path, pixels: Pixels, whole: Size, area: Window | None
) -> tuple[NDArray[np.uint8], dict[int, int]]:
    """Return the class indices (H, W) of an image, or of an area of it, and the pixels of each unknown value.

    A mask on another grid is sampled at the centres of the image's pixels; what is outside of it is ignored.

    Args:
        catalog: catalog of the image.
        path, image: paths of the mask and of the image.
        pixels: what was read of the image.
        whole: height and width of the whole image.
        area: area that was read; None for all.

    Raises:
        DataError: the mask cannot be read, is not of the ground of the image, or holds too much that is no class.
    """
    if catalog.polygons is not None:
        return read_polygons(path, catalog.polygons, catalog.classes, pixels.place, whole, area), {}
    colors, known = catalog.classes.colors_in_mask, catalog.classes.known_values
    grids: list[MaskGrid] = []

    def under(size: Size, place: Georeference | None) -> Window | None:
        grid = grid_on(size, place, whole, pixels.place, path, image).within(area)
        window, grid = (None, grid) if grid.is_same(size) else grid.cropped()
        grids.append(grid)
        return window

    labels = read_labels(path, colors, known, under, catalog.classes.mask_band)
    if not grids:  # a picture, which says nothing of its place
        grids.append(grid_on(labels.values.shape[:2], None, whole, pixels.place, path, image).within(area))
    grid = grids[0]
    if not grid.is_same(labels.values.shape):
        valid = None if labels.valid is None else grid.take(labels.valid)
        labels = replace(labels, values=grid.take(labels.values), valid=valid)
    return _encode(catalog, labels, path, pixels.valid, grid.outside)


def _encode(
    catalog: Catalog,
    labels: MaskPixels,
    path: Path,
    valid: NDArray[np.bool_] | None,
    outside: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.uint8], dict[int, int]]:
    """Return class indices, ignored where mask or image hold no data, and the pixels of each unknown value."""
    labelled = both(both(labels.valid, valid), None if outside is None else ~outside)
    indices, unknown = catalog.classes.encode(labels.values, labelled)
    _check_unknown(path, catalog.classes, unknown, indices.size, catalog.unknown_share)
    if outside is not None:
        indices[outside] = IGNORE
    if labels.valid is not None:
        if labels.doubt and (guessed := np.unique(indices[~labels.valid & (indices != IGNORE)])).size:
            names = ", ".join(catalog.classes.names[index] for index in guessed)
            raise DataError(
                f"{path}: {labels.doubt}, so these pixels have no label, but in the description they are {names}; "
                "remove one of the two"
            )
        indices[~labels.valid] = IGNORE
    return indices, unknown


def _check_unknown(path: Path, classes: ClassSet, unknown: dict[int, int], pixels: int, allowed: float) -> None:
    share = sum(unknown.values()) / pixels
    if share <= allowed:
        return
    most = sorted(unknown.items(), key=lambda item: -item[1])
    commonest = ", ".join(f"{classes.describe(value)} ({count / pixels:.3%})" for value, count in most[:5])
    more = f" and {len(most) - 5} more" if len(most) > 5 else ""
    allowed_values = ", ".join(classes.describe(value) for value in sorted(classes.known_values))
    raise DataError(
        f"{path}: {share:.3%} of the pixels are no class of {classes.name}, at most {allowed:.3%} are allowed; "
        f"found {commonest}{more}; known are {allowed_values}"
    )
