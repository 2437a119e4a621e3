"""Blocks of 10 km by 10 km, as IGN cuts and names its product CosIA."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from benchmark.common.errors import DataError, SettingsError
from benchmark.maps.coding import COSIA
from benchmark.maps.cog import cut
from benchmark.maps.legend import NO_DATA
from benchmark.maps.map_file import MapFile
from benchmark.maps.pieces import OnProgress, pieces, read_band, tracked
from benchmark.maps.polygon_parts import MapPatches
from benchmark.maps.vectors import write_vectors

_SIDE = 10_000  # metres
_SYSTEMS = (2154, 5490, 2972, 2975, 4471, 4467)  # of France and of its lands overseas


def check_prefix(prefix: str) -> None:
    """Check department and year, such as ``"D049_2022"``, with a `SettingsError` if they are something else."""
    if not re.fullmatch(r"D[0-9][0-9AB][0-9AB]_[0-9]{4}", prefix):
        raise SettingsError(f"blocks are named by department and year, such as D049_2022, not '{prefix}'")


def write_blocks(
    made: MapFile,
    folder: Path,
    prefix: str,
    vectors: bool = False,
    min_area: float = 0.0,
    simplify: float = 0.0,
    on_progress: OnProgress | None = None,
) -> list[Path]:
    """Cut a map at the lines of whole 10 km of its coordinate system, and write each part under IGN's name.

    ``D049_2022_420_6710`` reaches from 420 km to the east and from 6710 km to the south. A pixel belongs to the block
    that its centre is in, so each is in one. A block that the map fills in part is as large as that part; one without
    data is not written.

    Args:
        made: the map, in CosIA's coding.
        folder: folder of the files; it is made where it does not exist.
        prefix: department and year, such as ``"D049_2022"``.
        vectors: write polygons, ``D049_2022_420_6710_vecto.gpkg`` with IGN's attributes ``numero`` and ``classe``,
            instead of rasters, ``D049_2022_420_6710.tif``. They end at the edges of the blocks.
        min_area, simplify: as in `benchmark.maps.vectors.write_vectors`.
        on_progress: called with the blocks that are done, and their number.

    Returns:
        The files.

    Raises:
        DataError: the map has another coding, another coordinate system than France's, or a turned grid.
        SettingsError: the prefix is something else.
    """
    check_prefix(prefix)
    if made.legend.coding != COSIA:
        raise DataError(f"{made.path}: has the coding {made.legend.coding}; IGN's blocks are in that of {COSIA}")
    windows = _windows(made)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, window in tracked(list(windows.items()), on_progress):
        if not any((read_band(made.path, piece) != NO_DATA).any() for piece in pieces(window)):
            continue
        path = folder / f"{prefix}_{name}{'_vecto.gpkg' if vectors else '.tif'}"
        if vectors:
            write_vectors(made, path, min_area, simplify, window, _numbered)
        else:
            cut(made, window, path)
        written.append(path)
    return written


def _windows(made: MapFile) -> dict[str, Window]:
    """Return the part of a map in each block, by the kilometres of its west and north edges."""
    east, turn, west, skew, down, north = tuple(made.transform)[:6]
    code = made.crs.to_epsg() if made.crs else None
    if code not in _SYSTEMS or turn or skew or east <= 0 or down >= 0:
        raise DataError(
            f"{made.path}: IGN's blocks are in France's coordinate systems, north up (EPSG "
            f"{', '.join(map(str, _SYSTEMS))}), this map in {code or 'none or another'}; warp the image"
        )
    columns = _spans(west + east * (np.arange(made.width) + 0.5))
    rows = _spans(north + down * (np.arange(made.height) + 0.5))
    return {
        f"{across * 10}_{(up + 1) * 10}": Window.from_slices(rows[up], columns[across])
        for up in reversed(rows)
        for across in columns
    }


def _spans(centres: NDArray[np.float64]) -> dict[int, tuple[int, int]]:
    """Return first and last + 1 of the pixels in each span of 10 km along one axis."""
    blocks = np.floor(centres / _SIDE).astype(int)
    found, first, number = np.unique(blocks, return_index=True, return_counts=True)
    return {
        int(block): (int(start), int(start + count)) for block, start, count in zip(found, first, number, strict=True)
    }


def _numbered(made: MapFile, patches: MapPatches) -> dict[str, NDArray[Any]]:
    """Return IGN's attributes."""
    french = {each.value: each.french for each in made.legend.classes}
    names = np.array([french[value] for value in patches.values.tolist()], object)
    return {"numero": patches.values.astype(np.int32), "classe": names}
