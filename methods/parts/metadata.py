"""Place, time and camera of a patch, as numbers for a network."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

HIGHEST = 3164.9099121094  # metres; the highest patch of FLAIR
YEARS = (2018, 2019, 2020, 2021)  # in which FLAIR was flown
CENTRE = (489353.59, 6587552.2)  # metres in EPSG:2154; the middle of the projection's area of use
LONGEST = 2_000_000  # metres; twice France's extent, so that no two places in it share the first sine and cosine


@dataclass(frozen=True)
class Metadata:
    """Metadata of each patch besides its pixels; each field is (N,) float32 unless said, NaN where unknown.

    Attributes:
        x, y: metres in EPSG:2154. (float32 keeps a northing to a quarter of a metre.)
        z: altitude of the ground in metres.
        year, month, day: the date; month from 1 to 12, day of the month from 1 to 31.
        minute: minute of the day, 0 to 1439.
        camera: int64, index of the camera in a list kept elsewhere, -1 where unknown.
        uce: 1 for a camera of the UltraCam Eagle series, 0 for another.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    year: Tensor
    month: Tensor
    day: Tensor
    minute: Tensor
    camera: Tensor
    uce: Tensor

    @classmethod
    def unknown(cls, count: int) -> "Metadata":
        """Return the metadata of patches of which nothing is known."""
        nothing = {field.name: torch.full((count,), math.nan) for field in fields(cls)}
        return cls(**nothing | {"camera": torch.full((count,), -1, dtype=torch.int64)})

    def take(self, rows: Tensor | slice) -> "Metadata":
        """Return the metadata of some patches: int64 positions, or a slice."""
        return Metadata(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def joined(self, other: "Metadata") -> "Metadata":
        """Return the metadata of both, one behind the other."""
        return Metadata(**{f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)})

    def to(self, device: torch.device) -> "Metadata":
        """Return the same on another device."""
        return Metadata(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


def flair_vector(metadata: Metadata, *, published: bool) -> Tensor:
    """Return the metadata vector of FLAIR's baseline (Garioud et al., "FLAIR #1", 2022), by its code or as it is meant.

    ========  ==============================================================================
    columns   content
    ========  ==============================================================================
    0-31      sin and cos of 8 waves of x, then of y
    32        altitude over the highest
    33-34     one-hot: UltraCam Eagle, another camera
    35-38     one-hot: year 2018 to 2021; all 0 in any other year (where the official code fails)
    39-44     sin and cos of month, of day of the month, of time of day, mapped to [0, 1]
    ========  ==============================================================================

    The published code has two faults. ``month - 1 / 12`` counts whole turns of the circle, so all months are the same
    point; and coordinates are divided by ``10e7`` (1e8 metres), so even the shortest wave is 600 times as long as
    France, its sines are below 0.08, and the location is nearly constant. Corrected: ``(month - 1) / 12`` turns, and
    wavelengths in octaves from 2000 km, half of which covers France once, down to 15.6 km, less than a department.

    What is unknown gives 0 in its columns. No known place, camera or time of year or day gives that, but an altitude of
    0 metres does.

    Args:
        metadata: metadata of N patches.
        published: whether to keep the faults.

    Returns:
        (N, 45) float32.
    """
    waves = torch.arange(8, device=metadata.x.device)
    if published:
        frequencies = 1e8 ** (-waves / 8) / 1e8
        month = 0 * metadata.month - 1 / 12  # what is left of (month - 1 / 12) turns without the whole ones
    else:
        frequencies = 2 * math.pi / LONGEST * 2.0**waves
        month = (metadata.month - 1) / 12
    years = torch.tensor(YEARS, device=metadata.year.device)
    blocks = [
        _waves(metadata.x, frequencies),
        _waves(metadata.y, frequencies),
        metadata.z[:, None] / HIGHEST,
        torch.stack((metadata.uce, 1 - metadata.uce), 1),
        (metadata.year[:, None] == years).float(),
        *[_waves(turns, 2 * math.pi) / 2 + 0.5 for turns in (month, metadata.day / 31, metadata.minute / 1440)],
    ]
    return torch.cat(blocks, 1).nan_to_num(0.0)


def coordinate_encoding(x: Tensor, y: Tensor) -> Tensor:
    """Return the place of a patch as GeoMultiTaskNet has it regressed (Marsocci et al., CVPR workshops 2023).

    Sin and cos of 64 waves of x and then of y, measured from the middle of EPSG:2154, with wavelengths from 6.3 metres
    to 54 km. So most of them separate places within a town, and none separates the north of France from the south.

    Args:
        x, y: (N,) metres, float64; with float32 the shortest waves of y are off by up to half a radian.

    Returns:
        (N, 256) float32, 0 where a coordinate is unknown.
    """
    frequencies = 1e4 ** (-torch.arange(64, device=x.device, dtype=x.dtype) / 64)
    blocks = [_waves(x - CENTRE[0], frequencies), _waves(y - CENTRE[1], frequencies)]
    return torch.cat(blocks, 1).nan_to_num(0.0).float()


def domain_index(metadata: Metadata) -> Tensor:
    """Return the time and place of a patch as a point of a continuous domain, each number of the order of 1.

    Sin and cos of the day of the year (January 1st at 0 turns; all months as long as the longest), then x and y from
    the middle of EPSG:2154 in half extents of France.

    Args:
        metadata: metadata of N patches.

    Returns:
        (N, 4) float32, NaN where unknown.
    """
    turns = (metadata.month - 1 + (metadata.day - 1) / 31) / 12
    place = torch.stack((metadata.x - CENTRE[0], metadata.y - CENTRE[1]), 1) / (LONGEST / 4)
    return torch.cat((_waves(turns, 2 * math.pi), place), 1)


def _waves(values: Tensor, frequencies: Tensor | float) -> Tensor:
    """Return the sin and cos of each frequency in turn: (N,) values and (F,) radians per unit -> (N, 2 F)."""
    angles = values[:, None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), 2).flatten(1)
