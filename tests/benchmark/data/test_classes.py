"""Class sets code masks the same way for loss and metric."""

import re

import numpy as np
import pytest

from benchmark.common.errors import DataError
from benchmark.data.classes import (
    CLASS_SETS,
    FLAIR_13,
    FLAIR_19,
    IGNORE,
    ClassSet,
    LandClass,
    color_value,
    short_slug,
    slug,
)

COLORED = ClassSet(
    "colored",
    (LandClass("house", "#3c1098", (0x3C1098,)), LandClass("land", "#8429f6", (0x8429F6,))),
    ignored_values=(0x9B9B9B,),
    colors_in_mask=True,
)


def test_flair_13_ignores_everything_above_twelve() -> None:
    indices, unknown = FLAIR_13.encode(np.arange(1, 20, dtype=np.uint8)[None])
    assert indices[0].tolist() == [*range(12)] + [IGNORE] * 7
    assert unknown == {}
    assert FLAIR_13.num_classes == len(FLAIR_13.names) == 12
    assert len(FLAIR_13.classes) == 13


def test_flair_19_counts_fifteen_classes_in_the_order_of_their_values() -> None:
    indices, _ = FLAIR_19.encode(np.arange(1, 20, dtype=np.uint8)[None])
    assert indices[0].tolist() == [*range(14), IGNORE, IGNORE, IGNORE, 14, IGNORE]
    assert FLAIR_19.names[-1] == "greenhouse"


def test_flair_names_and_colors() -> None:
    by_value = {c.values: c for c in FLAIR_19.classes}
    assert (by_value[(9,)].name, by_value[(9,)].french, by_value[(9,)].color) == ("vineyard", "vigne", "#660082")
    assert all(c.french for classes in CLASS_SETS.values() for c in classes.classes)
    assert set(CLASS_SETS) == {"flair-13", "flair-19"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_unknown_values_are_counted_and_ignored(dtype: type) -> None:
    indices, unknown = FLAIR_13.encode(np.array([[0, 1], [77, 77]], dtype))
    assert indices.tolist() == [[IGNORE, 0], [IGNORE, IGNORE]]
    assert indices.dtype == np.uint8
    assert unknown == {0: 1, 77: 2}


def test_colors_are_encoded_whatever_the_alpha() -> None:
    mask = np.array([[[0x3C, 0x10, 0x98, 0], [0x84, 0x29, 0xF6, 9], [0x9B] * 4, [0, 0, 255, 255]]], np.uint8)
    indices, unknown = COLORED.encode(mask)
    assert indices.tolist() == [[0, 1, IGNORE, IGNORE]]
    assert unknown == {255: 1}
    assert COLORED.describe(255) == "#0000ff"
    assert COLORED.encode(mask[..., :3])[0].tolist() == indices.tolist()


def test_encode_refuses_the_other_kind_of_mask() -> None:
    with pytest.raises(ValueError, match="shape"):
        COLORED.encode(np.zeros((4, 4), np.uint8))


def test_palette_ends_with_the_color_of_ignored_pixels() -> None:
    assert COLORED.palette().tolist() == [[0x3C, 0x10, 0x98], [0x84, 0x29, 0xF6], [0, 0, 0]]
    assert FLAIR_13.palette().shape == (13, 3)
    assert FLAIR_13.palette().dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "key"),
    [("Bâtiment (dur)", "batiment_dur"), ("non-forest", "non-forest"), ("水", "u6c34"), ("a/b\n c", "a_b_c")],
)
def test_slugs_hold_only_what_mlflow_allows(name: str, key: str) -> None:
    assert slug(name) == key
    assert re.fullmatch(r"[A-Za-z0-9_-]+", slug(name))


def test_the_key_of_a_long_name_is_short_and_its_own() -> None:
    long = [f"{'Saint-Exemple ' * 30}{end}" for end in "ab"]
    first, second = map(short_slug, long)
    assert first != second and len(first) == 60 and first.startswith("saint-exemple_")
    assert short_slug("D012@2019") == slug("D012@2019")


def _two(**second: object) -> ClassSet:
    fields = {"name": "b", "color": "#000002", "values": (2,)} | second
    return ClassSet("two", (LandClass("a", "#000001", (1,)), LandClass(**fields)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"name": "Á"}, "names .* unique; repeated: a"),
        ({"name": "()"}, "letter"),
        ({"color": "#000001"}, "colours must be unique; repeated: #000001"),
        ({"color": "red"}, "'red' must be '#' and six"),
        ({"values": (1,)}, "values must be unique; repeated: 1"),
        ({"values": (70000,)}, "70000 is outside 0..65535"),
        ({"ignored": True}, "1 evaluated classes; at least 2"),
    ],
)
def test_a_class_set_that_makes_no_sense_is_refused(second: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _two(**second)


def test_color_value() -> None:
    assert color_value("#FF0001") == 0xFF0001
