"""Landscapes that the grounds of a place are drawn from: shares of the covers, and settlements."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from benchmark.data.synthetic.draws import deviations, one_of


class Cover(IntEnum):
    """Values of FLAIR's masks that occur in the synthetic world."""

    BUILDING = 1
    PERVIOUS = 2
    IMPERVIOUS = 3
    BARE_SOIL = 4
    WATER = 5
    CONIFEROUS = 6
    DECIDUOUS = 7
    BRUSHWOOD = 8
    VINEYARD = 9
    HERBACEOUS = 10
    AGRICULTURAL = 11
    PLOWED = 12


class Material(IntEnum):
    """Materials that a pixel can be made of; the appearance gives each of them a colour."""

    ROOF_MAIN = 0
    ROOF_OTHER = 1
    ROOF_FLAT = 2
    GRAVEL = 3
    ASPHALT = 4
    SOIL = 5
    FURROW = 6
    WATER = 7
    CONIFER = 8
    BROADLEAF = 9
    SHRUB = 10
    VINE = 11
    GRASS = 12
    CEREAL = 13
    MAIZE = 14
    RAPESEED = 15
    FOREST_FLOOR = 16


PARCEL_SHARES = {
    Cover.HERBACEOUS: 0.17,
    Cover.AGRICULTURAL: 0.21,
    Cover.PLOWED: 0.12,
    Cover.VINEYARD: 0.11,
    Cover.DECIDUOUS: 0.12,
    Cover.CONIFEROUS: 0.10,
    Cover.BRUSHWOOD: 0.09,
    Cover.BARE_SOIL: 0.08,
}
WATER_SHARE = 0.4  # zones with a pond or a stream


@dataclass(frozen=True)
class Settlement:
    """Settlements of a place: the ways in which people build there."""

    built: float  # share of the zones that hold a settlement
    density: float  # share of the house plots that are taken
    house_length: float  # metres
    storeys: float
    setback: float  # metres from the road's edge to the house
    disorder: float  # radians, spread of the house directions about the road's
    crossing: float  # probability of a second road
    scattered: float  # share of the houses that are off the road


BASE_SETTLEMENT = Settlement(0.65, 0.6, 11.0, 1.6, 6.0, 0.12, 0.4, 0.2)
SETTLEMENTS = (
    Settlement(0.75, 0.9, 9.5, 2.4, 3.0, 0.02, 0.95, 0.0),  # grid village
    Settlement(0.55, 0.45, 14.5, 1.2, 14.0, 0.9, 0.1, 0.9),  # scattered farms
    Settlement(0.7, 0.8, 11.0, 1.4, 7.0, 0.06, 0.05, 0.05),  # linear village
    Settlement(0.6, 0.7, 18.0, 3.6, 10.0, 0.3, 0.6, 0.3),  # blocks of flats
)


@dataclass(frozen=True)
class Landscape:
    """Distribution that the grounds of one place are drawn from."""

    parcel_shares: dict[Cover, float]
    water: float
    settlement: Settlement


def landscape(seed: int, place: int, class_mix: float, settlement: float) -> Landscape:
    """Return a place's landscape: the common base, moved by the two strengths towards the place's own."""
    shift = class_mix * deviations(seed, "class mix", place, len(PARCEL_SHARES) + 1)
    weights = np.array(list(PARCEL_SHARES.values())) * np.exp(1.1 * shift[:-1])
    own = one_of(SETTLEMENTS, seed, "settlement", place)
    pattern = {
        name: max(0.02, base + settlement * (getattr(own, name) - base)) for name, base in vars(BASE_SETTLEMENT).items()
    }
    return Landscape(
        parcel_shares=dict(zip(PARCEL_SHARES, (weights / weights.sum()).tolist(), strict=True)),
        water=float(WATER_SHARE * np.exp(0.6 * shift[-1])),
        settlement=Settlement(**{**pattern, "house_length": max(6.0, pattern["house_length"])}),
    )
