"""Distances between patches, along the ground however far apart they are."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

ON_EARTH = ("longitude", "latitude")
"""Degrees (WGS 84), columns that a catalog has where its files are in no one coordinate system in metres."""

_RADIUS = 6_371_009  # metres; the mean one
_EQUATOR, _FLATTENING = 6_378_137, 1 / 298.257223563


def placed(patches: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that say where patches are."""
    return patches[["x", "y", *(column for column in ON_EARTH if column in patches)]]


def positions(patches: pd.DataFrame) -> NDArray[np.float64]:
    """Return x and y (n, 2); or, where they are known, metres (n, 3) from the middle of the earth."""
    if not {*ON_EARTH} <= {*patches}:
        return patches[["x", "y"]].to_numpy(np.float64)
    longitude, latitude = np.radians(patches[[*ON_EARTH]].to_numpy(np.float64)).T
    polar = (1 - _FLATTENING) ** 2
    radius = _EQUATOR / np.sqrt(np.cos(latitude) ** 2 + polar * np.sin(latitude) ** 2)
    east, north = radius * np.cos(latitude), radius * polar * np.sin(latitude)
    return np.stack([east * np.cos(longitude), east * np.sin(longitude), north], 1)


def along_ground(straight: ArrayLike, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return straight distances between `positions` as those along the ground; in the plane of x and y as they are."""
    lengths = np.asarray(straight, np.float64)
    return lengths if at.shape[1] == 2 else 2 * _RADIUS * np.arcsin(np.minimum(lengths / (2 * _RADIUS), 1))


def nearest(patches: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.float64]:
    """Return the distance (n,) of each patch from the nearest of some others, in metres or the unit of x and y."""
    from scipy.spatial import cKDTree  # takes a second to import

    at = positions(patches)
    return along_ground(cKDTree(positions(others)).query(at)[0], at)
