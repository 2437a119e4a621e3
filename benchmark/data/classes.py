"""Class sets: which values or colours of a mask are which land cover, and which of them are evaluated.

A mask on disk holds the dataset's own values (FLAIR: 1..19) or colours. Everything behind this module sees *indices*:
0..num_classes-1 for the classes that are evaluated and ``IGNORE`` for everything else, in loss and metrics alike.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmark.common.errors import DataError
from benchmark.common.texts import unfit

IGNORE = 255
"""The index of pixels that take part in neither loss nor metric."""

MOST_LETTERS = 120
"""The longest name of a class or a domain in the names of files and of metrics, in letters."""

_UNKNOWN = 254  # while encoding only; so a set has at most 254 evaluated classes


def slug(name: str) -> str:
    """Turn a class name into a key of ASCII letters, digits, ``_`` and ``-``, which MLflow's metric names allow.

    Accents are dropped and letters that have no ASCII form are written as their code point, so that two different
    names in any script stay different: ``"Bâtiment"`` becomes ``"batiment"`` and ``"水"`` becomes ``"u6c34"``.
    """
    letters = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    ascii_name = letters.encode("ascii", "backslashreplace").decode("ascii").lower()
    return re.sub(r"[^a-z0-9_-]+", "_", ascii_name).strip("_")


def short_slug(name: str) -> str:
    """Return the `slug` of a name of any length, as that of a fold; one of more than 60 letters ends with a digest."""
    key = slug(name)
    return key if len(key) <= 60 else f"{key[:51]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def color_value(color: str) -> int:
    """Pack ``"#rrggbb"`` into the integer 0xRRGGBB.

    Raises:
        DataError: the text is not ``#`` and six hexadecimal digits.
    """
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        raise DataError(f"colour {color!r} must be '#' and six hexadecimal digits, like '#3c1098'")
    return int(color[1:], 16)


@dataclass(frozen=True)
class LandClass:
    """A land cover.

    Attributes:
        name: English name.
        color: colour ``"#rrggbb"``, used in figures (and in the mask, where the masks are colour-coded).
        values: mask values that mean this class; packed colours (`color_value`) where the masks are colour-coded.
        french: French name, where the dataset has one.
        ignored: whether its pixels are left out of loss and metrics.
    """

    name: str
    color: str
    values: tuple[int, ...]
    french: str = ""
    ignored: bool = False


@dataclass(frozen=True)
class ClassSet:
    """The classes of a dataset and how its masks code them.

    Attributes:
        name: name of the set, such as ``"flair-13"``.
        classes: all classes; those that are not ignored get the indices 0..num_classes-1 in this order.
        ignored_values: further mask values (or packed colours) that are no class and are expected.
        colors_in_mask: whether masks are (H, W, 3) colours rather than (H, W) values.
        mask_band: number, from 1 on, of the band of the mask files that holds the values; 0 where they have one band.

    Raises:
        DataError: on construction; names, colours or values that are not unique, fewer than two or more than 254
            evaluated classes, values that no mask can hold.
    """

    name: str
    classes: tuple[LandClass, ...]
    ignored_values: tuple[int, ...] = ()
    colors_in_mask: bool = False
    mask_band: int = 0

    def __post_init__(self) -> None:
        if fault := unfit([self.name, *(text for c in self.classes for text in (c.name, c.french))]):
            raise DataError(f"class names: {fault}")
        if long := [c.name for c in self.classes if len(slug(c.name)) > MOST_LETTERS]:
            raise DataError(f"the class name {long[0][:60]!r}... is too long for a key, at most {MOST_LETTERS} letters")
        _check_unique("names (as keys)", [slug(c.name) for c in self.classes])
        _check_unique("colours", [f"#{color_value(c.color):06x}" for c in self.classes])
        values = [*self.known_values]
        _check_unique("mask values", [self.describe(v) for v in values])
        if not all(slug(c.name) for c in self.classes):
            raise DataError("a class name needs at least one letter or digit")
        if wrong := [v for v in values if not 0 <= v < self._table_size]:
            raise DataError(f"mask value {wrong[0]} is outside 0..{self._table_size - 1}")
        if not 2 <= self.num_classes < _UNKNOWN:
            raise DataError(f"{self.num_classes} evaluated classes; at least 2 and at most {_UNKNOWN - 1} are possible")

    @property
    def evaluated(self) -> tuple[LandClass, ...]:
        """Classes that count in loss and metrics; a network has exactly these outputs, in this order."""
        return tuple(c for c in self.classes if not c.ignored)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the evaluated classes."""
        return tuple(c.name for c in self.evaluated)

    @property
    def colors(self) -> tuple[str, ...]:
        """Colours ``"#rrggbb"`` of the evaluated classes."""
        return tuple(c.color for c in self.evaluated)

    @property
    def num_classes(self) -> int:
        """Number of evaluated classes."""
        return len(self.evaluated)

    @property
    def known_values(self) -> tuple[int, ...]:
        """Mask values that are expected: those of classes, evaluated or not, and `ignored_values`."""
        return tuple(v for c in self.classes for v in c.values) + self.ignored_values

    @property
    def _table_size(self) -> int:
        return 1 << 24 if self.colors_in_mask else 1 << 16

    def describe(self, value: int) -> str:
        """Write a mask value for people: ``"7"``, or ``"#9b9b9b"`` where the masks are colour-coded."""
        return f"#{value:06x}" if self.colors_in_mask else str(value)

    def encode(
        self, mask: NDArray[np.integer], labelled: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.uint8], dict[int, int]]:
        """Turn a mask as it is on disk into class indices.

        Args:
            mask: (H, W) values of dtype uint8 or uint16; where `colors_in_mask`, (H, W, 3) or (H, W, 4) uint8, of
                which an alpha channel is not looked at.
            labelled: (H, W) bool; where it is False, a value that is no class does not count as unknown. None: all
                count.

        Returns:
            (H, W) uint8 indices, with `IGNORE` for ignored and unknown pixels, and the number of pixels of each unknown
            value (a packed colour where `colors_in_mask`).

        Raises:
            ValueError: the mask has another number of dimensions.
        """
        if mask.ndim != (3 if self.colors_in_mask else 2):
            raise ValueError(f"class set {self.name} cannot read a mask of shape {mask.shape}")
        values: NDArray[np.integer] = mask
        if self.colors_in_mask:
            packed = np.zeros((*mask.shape[:2], 4), np.uint8)  # the bytes of red << 16 | green << 8 | blue
            packed[..., 2::-1] = mask[..., :3]
            values = packed.view("<i4")[..., 0]
        indices = np.take(_lookup_table(self), values, mode="clip")  # all are in the table: this only skips the check
        unknown = indices == _UNKNOWN
        if not unknown.any():
            return indices, {}
        indices[unknown] = IGNORE
        if labelled is not None:
            unknown &= labelled
        unknown_values, counts = np.unique(values[unknown], return_counts=True)
        return indices, dict(zip(unknown_values.tolist(), counts.tolist(), strict=True))

    def palette(self) -> NDArray[np.uint8]:
        """Return the colours for drawing: (num_classes + 1, 3) uint8; the last row, black, is for `IGNORE`."""
        packed = np.array([color_value(c) for c in self.colors] + [0])
        return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.uint8)


POLYGONS = (".gpkg", ".geojson", ".shp")
"""Endings of masks that are polygons."""


@dataclass(frozen=True)
class PolygonKeys:
    """Meaning of masks that are polygons.

    Attributes:
        field: attribute that holds the class: its name, or one of its values.
        background: class of what is in no polygon; "" to ignore it.
        ignored: attributes that are no class.
    """

    field: str
    background: str = ""
    ignored: tuple[str, ...] = ()


def _check_unique(what: str, items: list[str]) -> None:
    if repeated := [item for item, count in Counter(items).items() if count > 1]:
        raise DataError(f"class {what} must be unique; repeated: {', '.join(repeated)}")


@lru_cache(maxsize=8)
def _lookup_table(classes: ClassSet) -> NDArray[np.uint8]:
    """Return the index of each possible mask value. For colours that is 16 MiB, of which little is ever touched."""
    table = np.full(classes._table_size, _UNKNOWN, np.uint8)
    table[list(classes.known_values)] = IGNORE
    for index, land_class in enumerate(classes.evaluated):
        table[list(land_class.values)] = index
    return table


_FLAIR = (
    LandClass("building", "#db0e9a", (1,), "bâtiment"),
    LandClass("pervious surface", "#938e7b", (2,), "zone perméable"),
    LandClass("impervious surface", "#f80c00", (3,), "zone imperméable"),
    LandClass("bare soil", "#a97101", (4,), "sol nu"),
    LandClass("water", "#1553ae", (5,), "eau"),
    LandClass("coniferous", "#194a26", (6,), "conifères"),
    LandClass("deciduous", "#46e483", (7,), "feuillus"),
    LandClass("brushwood", "#f3a60d", (8,), "broussaille"),
    LandClass("vineyard", "#660082", (9,), "vigne"),
    LandClass("herbaceous vegetation", "#55ff00", (10,), "pelouse"),
    LandClass("agricultural land", "#fff30d", (11,), "culture"),
    LandClass("plowed land", "#e4df7c", (12,), "terre labourée"),
    LandClass("swimming pool", "#3de6eb", (13,), "piscine"),
    LandClass("snow", "#ffffff", (14,), "neige"),
    LandClass("clear cut", "#8ab3a0", (15,), "coupe"),
    LandClass("mixed", "#6b714f", (16,), "mixte"),
    LandClass("ligneous", "#c5dc42", (17,), "ligneux"),
    LandClass("greenhouse", "#9999ff", (18,), "serres"),
    LandClass("other", "#000000", (19,), "autre"),
)

FLAIR_13 = ClassSet(
    "flair-13",
    (*_FLAIR[:12], LandClass("other", "#000000", tuple(range(13, 20)), "autre", ignored=True)),
)
"""FLAIR's twelve evaluated classes; values above 12 are one class "other", ignored.

As in IGN's baseline: ``array[array > 13] = 13`` and class weights of twelve ones and a zero (IGNF/FLAIR-1,
branch legacy-torch, py_module/dataset.py and flair-1-config.yml).
"""

FLAIR_19 = ClassSet(
    "flair-19",
    tuple(replace(c, ignored=c.values[0] in (15, 16, 17, 19)) for c in _FLAIR),
)
"""All nineteen values of FLAIR's masks, of which fifteen are evaluated.

Clear cut, mixed, ligneous and other (15, 16, 17, 19) have weight 0 in IGN's current configuration (IGNF/FLAIR-1,
configs/flair-1-config.yaml). English names are from that repository, French names (one misspelling mended) and colours
from the FLAIR #1 page (IGNF/FLAIR, FLAIR1/flair_1_fr.md).
"""

CLASS_SETS = {classes.name: classes for classes in (FLAIR_13, FLAIR_19)}
