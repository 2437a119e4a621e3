"""Images of several files: the bands of all, one after another, on the grid of the first."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.common.files import leads_out
from benchmark.data import areas
from benchmark.data.bands import BandsError, Pixels, both
from benchmark.data.georeference import Georeference, MaskGrid, Size, grid_on
from benchmark.data.heights import ELEVATIONS, height_above_ground
from benchmark.data.numbers import mixed_kinds
from benchmark.data.raster import band_counts, image_header, read_pixels, scene
from benchmark.data.scenes import windows_of
from benchmark.data.templates import Folders, fill, nfc


def further_files(
    templates: Sequence[str], captured: Mapping[str, str], path: Path, root: Path, folders: Folders
) -> tuple[str, ...]:
    """Return the paths of the further files of an image.

    Args:
        templates: templates of all files of an image; the first has found it.
        captured: what the first template captured.
        path: path of the first file.
        root: folder that holds the data.
        folders: finder of files.

    Raises:
        DataError: a file is missing, or not below the root.
    """
    files = []
    for template in templates[1:]:
        below = nfc(fill("image", template, captured))
        file = folders.real(root, below)
        if leads_out(file, root):
            raise DataError(f"key 'image': {below} leads out of {root}; all but 'root' itself must be below the root")
        if not file.is_file():
            raise DataError(f"key 'image': {file} is missing, a further file of the image {path}")
        files.append(str(file))
    return tuple(files)


def grid_under(path: Path, first: Path, whole: Size, place: Georeference | None) -> MaskGrid:
    """Return which pixels of a further file are under those of the first, of that size and place.

    Raises:
        DataError: they have other sizes and no places, or are of other grounds (see `grid_on`).
    """
    size, its_place = image_header(path)
    return grid_on(size, its_place, whole, place, path, first)


def windows_of_files(
    files: Sequence[Path], names: Sequence[str], whole: Size, small: Size, corners: list[Size], size: int
) -> tuple[list[Size], Size | None]:
    """Return the windows of an image in which its first file holds data, see `benchmark.data.scenes.windows_of`.

    The image is read at once if a further file is large and cannot be read by areas.
    """
    corners, piece = windows_of(files[0], _names_of_each(files, names)[0], whole, small, corners, size)
    return corners, piece if all(_is_scene(path) or _is_small(path) for path in files[1:]) else None


def read_files(
    files: Sequence[Path], names: Sequence[str], area: Window | None = None, *, heights: bool = False
) -> Pixels:
    """Read an image of one or several files, see `benchmark.data.raster.read_pixels`.

    A further file on another grid is sampled at the centres of the first one's pixels. Pixels have data where they have
    some in all files.

    Args:
        files: paths of the files, each with its bands after those of the one before.
        names: names of the bands of all files.
        area: part of the first file to read; the whole if None.
        heights: whether the last file holds elevations, of which the last band is made.

    Raises:
        DataError: as by `read_pixels`; the files have together another number of bands, or unlike types.
    """
    each = _names_of_each(files, [*names[:-1], *ELEVATIONS] if heights else names)
    first = read_pixels(files[0], each[0], area)
    bands, valid = [first.bands], first.valid
    whole, place = image_header(files[0]) if len(files) > 1 else ((0, 0), None)
    for path, its_names in zip(files[1:], each[1:], strict=True):
        grid, window = grid_under(path, files[0], whole, place).within(area), None
        if area is not None and _is_scene(path):
            window, grid = grid.cropped()
        pixels = read_pixels(path, its_names, window)
        if heights and path == files[-1]:
            pixels = height_above_ground(path, pixels)
        if pixels.bands.dtype != first.bands.dtype:
            raise mixed_kinds(str(path), pixels.bands.dtype, str(files[0]), first.bands.dtype)
        is_same = grid.is_same(pixels.bands.shape[1:])
        bands.append(pixels.bands if is_same else pixels.bands[:, grid.rows[:, None], grid.columns])
        valid = both(valid, pixels.valid if is_same or pixels.valid is None else grid.take(pixels.valid))
        valid = both(valid, None if grid.outside is None else ~grid.outside)
    return Pixels(np.concatenate(bands) if len(bands) > 1 else first.bands, valid, first.place)


def _names_of_each(files: Sequence[Path], names: Sequence[str]) -> list[Sequence[str]]:
    """Return the names of the bands of each file."""
    if len(files) == 1:
        return [names]
    possible = [band_counts(path) for path in files]
    fitting = [counts for counts in product(*possible) if sum(counts) == len(names)]
    together = ", ".join(
        f"{path} ({' or '.join(map(str, counts))})" for path, counts in zip(files, possible, strict=True)
    )
    if not fitting:
        raise BandsError(f"{together}: not together the {len(names)} bands that are expected")
    if len(fitting) > 1:
        raise BandsError(
            f"{together}: in more than one way the {len(names)} bands that are expected; remove alpha bands"
        )
    ends = np.cumsum(fitting[0]).tolist()
    return [names[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _is_scene(path: Path) -> bool:
    with scene(path) as file:
        return file is not None


def _is_small(path: Path) -> bool:
    (height, width), _ = image_header(path)
    return height * width <= areas.LARGE
