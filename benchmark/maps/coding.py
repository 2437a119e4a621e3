"""Codings of maps: which value, name and colour each output of a network has in the map."""

import numpy as np
from numpy.typing import NDArray

from benchmark.common.errors import DataError, SettingsError
from benchmark.data.classes import ClassSet, slug
from benchmark.maps.legend import Legend, MapClass

MASKS, COSIA = "masks", "cosia"
CODINGS = (MASKS, COSIA)
"""The values of the masks that were learned from, and the numbers of IGN's product CosIA."""

COSIA_CLASSES = (
    MapClass(1, "building", "#ce7079", "Bâtiment"),
    MapClass(2, "pervious surface", "#987752", "Zone perméable"),
    MapClass(3, "impervious surface", "#a6aab7", "Zone imperméable"),
    MapClass(4, "swimming pool", "#62d0ff", "Piscine"),
    MapClass(5, "bare soil", "#bbb096", "Sol nu"),
    MapClass(6, "water", "#3375a1", "Surface eau"),
    MapClass(7, "snow", "#e9effe", "Neige"),
    MapClass(8, "coniferous", "#126421", "Conifère"),
    MapClass(9, "deciduous", "#4c9129", "Feuillu"),
    MapClass(10, "brushwood", "#b5c335", "Broussaille"),
    MapClass(11, "vineyard", "#b08290", "Vigne"),
    MapClass(12, "herbaceous vegetation", "#8cd76a", "Pelouse"),
    MapClass(13, "agricultural land", "#decf55", "Culture"),
    MapClass(14, "plowed land", "#d0a349", "Terre labourée"),
    MapClass(15, "greenhouse", "#b9e2d4", "Serre"),
)
"""The classes of CosIA as IGN delivers them; English names are those of FLAIR, colours those of its web page."""
_BY_NAME = {slug(name): each for each in COSIA_CLASSES for name in (each.name, each.french)}


def legend_for(classes: ClassSet, coding: str) -> tuple[Legend, NDArray[np.uint8]]:
    """Return the legend of a map and the map's value of each output of a network, (C,) uint8.

    CosIA's classes are found by name, English or French, so that FLAIR's and FLAIR-HUB's numbers may differ. A class
    that CosIA has not (clear cut, mixed, other) is refused: none of its classes contains it.

    Args:
        classes: classes that the network was trained on.
        coding: one of `CODINGS`.

    Raises:
        SettingsError: there is no such coding.
        DataError: a class has none in CosIA, or two classes have the same.
    """
    if coding not in CODINGS:
        raise SettingsError(f"coding '{coding}' does not exist; choose one of {', '.join(CODINGS)}")
    legend = Legend.of(classes) if coding == MASKS else Legend(COSIA, _cosia_classes(classes))
    return legend, np.array(legend.values, np.uint8)


def _cosia_classes(classes: ClassSet) -> tuple[MapClass, ...]:
    found: dict[MapClass, str] = {}
    for each in classes.evaluated:
        same = _BY_NAME.get(slug(each.name)) or _BY_NAME.get(slug(each.french))
        if same is None:
            raise DataError(
                f"class '{each.name}' of {classes.name} is none of CosIA's {len(COSIA_CLASSES)} classes, so there is "
                f"no map in its coding; use the coding '{MASKS}'"
            )
        if same in found:
            raise DataError(f"classes '{found[same]}' and '{each.name}' of {classes.name} are both CosIA's {same.name}")
        found[same] = each.name
    return tuple(found)
