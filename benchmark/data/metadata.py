"""Metadata of patches: what the catalog holds of each besides its pixels, as tensors for the batches."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from methods.parts.metadata import Metadata

ULTRACAM_EAGLE = "UCE"  # how the names of these cameras begin in FLAIR's metadata


def metadata_of(patches: pd.DataFrame, cameras: Sequence[str]) -> Metadata:
    """Return the coordinates, date, time of day and camera of some rows of a catalog.

    Args:
        patches: rows of `Catalog.patches`.
        cameras: cameras of the data set, in the order of their indices; others are unknown.
    """
    date, clock = (patches[column].str for column in ("date", "clock"))
    minute = _numbers(clock[:2]) * 60 + _numbers(clock[3:])
    numbers = {camera: index for index, camera in enumerate(cameras)}
    names = patches["camera"].to_numpy(dtype=object)
    uce = np.where(names == "", np.nan, [name.startswith(ULTRACAM_EAGLE) for name in names])
    return Metadata(
        **{column: torch.from_numpy(patches[column].to_numpy(np.float32, copy=True)) for column in ("x", "y", "z")},
        year=_tensor(_numbers(date[:4])),
        month=_tensor(_numbers(date[5:7])),
        day=_tensor(_numbers(date[8:10])),
        minute=_tensor(minute),
        camera=torch.tensor([numbers.get(name, -1) for name in names], dtype=torch.int64),
        uce=_tensor(uce),
    )


def cameras_of(patches: pd.DataFrame) -> tuple[str, ...]:
    """Return the known cameras of a catalog, sorted."""
    return tuple(sorted(set(patches["camera"]) - {""}))


def _numbers(texts: "pd.Series[str]") -> np.ndarray:
    return pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
