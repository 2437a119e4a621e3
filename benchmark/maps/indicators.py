"""Indicators of a zone: sealed share, bounds of the artificialised share, and the share that is not known.

They are no legal figure. The law (annexe to article R. 101-1 of the code de l'urbanisme) counts cover and use on
polygons with thresholds; a map shows cover alone. `docs/artificial.md` has the tables and their sources.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.classes import slug
from benchmark.maps.legend import Legend

CAUTION = "Not the legal figure: use is not observed, and no threshold of area is applied."
SEALED, ARTIFICIAL, DEPENDS, NOT_ARTIFICIAL, UNKNOWN = "sealed", "yes", "depends", "no", "unknown"
_NATURAL = ("coniferous", "deciduous", "mixed", "brushwood", "ligneous", "clear cut", "water", "snow")
KINDS = (
    dict.fromkeys(("building", "impervious surface"), SEALED)
    | dict.fromkeys(("pervious surface", "swimming pool"), ARTIFICIAL)
    | dict.fromkeys(("greenhouse", "herbaceous vegetation", "bare soil"), DEPENDS)
    | dict.fromkeys(("agricultural land", "plowed land", "vineyard", *_NATURAL), NOT_ARTIFICIAL)
    | dict.fromkeys(("other", "undefined"), UNKNOWN)
)
"""Kind of each land cover of FLAIR, FLAIR-HUB and CosIA, by its English name."""
_KINDS = {slug(name): kind for name, kind in KINDS.items()}
_OFTEN_IN_OTHER = {"swimming_pool", "greenhouse"}


@dataclass(frozen=True)
class Indicators:
    """Shares (...) of the ground of a zone that is mapped as a known class; NaN where there is none.

    Attributes:
        sealed: buildings and impervious surfaces.
        lower: what is artificial by its cover: sealed, pervious, swimming pools.
        upper: and what may be, by its use: herbaceous vegetation, greenhouses, bare soil. Where swimming pools or
            greenhouses have no class of their own, "other", in which they are, counts here, and in the known ground
            of which all three are shares, so that none of them is above the next.
    """

    sealed: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


def kinds_of(legend: Legend) -> tuple[str, ...]:
    """Return the kind of each class of a legend; none where the legend has a class that the table has not."""
    kinds = tuple(_KINDS.get(slug(each.name), "") for each in legend.classes)
    return kinds if all(kinds) else ()


def lacks(legend: Legend) -> list[str]:
    """Return the classes that the bounds ask for and a legend lacks, so that they are mapped as others."""
    names = {slug(each.name) for each in legend.classes}
    return [name for name in KINDS if slug(name) in _OFTEN_IN_OTHER - names]


def indicators(legend: Legend, areas: NDArray[np.number]) -> Indicators:
    """Return the indicators of areas, pixels or shares (..., C) of the classes of a legend.

    Args:
        legend: a legend of which `kinds_of` knows all classes.
    """
    kinds, ground = np.array(kinds_of(legend)), np.asarray(areas, np.float64)
    sealed, artificial, depends, never, unknown = (
        ground[..., kinds == kind].sum(-1) for kind in (SEALED, ARTIFICIAL, DEPENDS, NOT_ARTIFICIAL, UNKNOWN)
    )
    lower = sealed + artificial
    upper = lower + depends + (unknown if lacks(legend) else 0)
    known = upper + never
    nothing = np.full(known.shape, np.nan)
    return Indicators(*(np.divide(part, known, out=nothing.copy(), where=known > 0) for part in (sealed, lower, upper)))


def unknown_share(legend: Legend, pixels: NDArray[np.int64], no_data: int) -> float:
    """Return the share of a zone's pixels (C,) on the maps that have no data or a class that says nothing."""
    other = sum(count for count, kind in zip(pixels.tolist(), kinds_of(legend), strict=True) if kind == UNKNOWN)
    total = int(pixels.sum()) + no_data
    return (other + no_data) / total if total else float("nan")
