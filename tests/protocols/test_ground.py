"""No two parts of a fold hold the same ground, unless the protocol says so."""

from dataclasses import replace

import pandas as pd
import pytest

from protocols.base import Fold, Protocol, ProtocolError
from protocols.ground import check_ground

PROTOCOL = Protocol("p", 1, "none", "t", "d", "c", hold_out=("place",))
PARTS = {"source_train": "ab", "source_val": "c", "target_adapt": "d", "target_test": "ef"}
FOLD = Fold("x", {"place": "B"}, {part: tuple(ids) for part, ids in PARTS.items()})


@pytest.fixture
def ground() -> pd.DataFrame:
    """Seven patches of 10 m in a row that touch; no two alike. The last is in no part."""
    ids = list("abcdefg")
    table = pd.DataFrame({"zone": [f"z{name}" for name in ids], "place": "A", "image": ids, "mask": ids}, index=ids)
    west = [10.0 * number for number in range(7)]
    return table.assign(west=west, east=[x + 10 for x in west], south=0.0, north=10.0)


def test_grounds_of_their_own_are_right(ground: pd.DataFrame) -> None:
    check_ground(PROTOCOL, [FOLD], ground)
    check_ground(PROTOCOL, [FOLD], ground.assign(image="", mask=""))
    check_ground(PROTOCOL, [FOLD], ground.drop(columns=["west", "south", "east", "north"]))


@pytest.mark.parametrize(("one", "other"), [("a", "f"), ("b", "c"), ("c", "d"), ("d", "e")])
@pytest.mark.parametrize("kind", ["image", "mask"])
def test_an_image_or_mask_of_two_parts_is_refused(ground: pd.DataFrame, kind: str, one: str, other: str) -> None:
    ground.loc[other, kind] = one
    with pytest.raises(ProtocolError, match=rf"fold x: {one} in \w+ and {other} in \w+ hold the same {kind}") as caught:
        check_ground(PROTOCOL, [FOLD], ground)
    assert f"give both one zone: they have 'z{one}' and 'z{other}'" in str(caught.value)


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_what_one_part_holds_twice_is_right(ground: pd.DataFrame, kind: str) -> None:
    ground.loc["b", kind] = "a"
    ground.loc["g", kind] = "f"
    check_ground(PROTOCOL, [FOLD], ground)


def test_footprints_of_two_parts_must_not_overlap(ground: pd.DataFrame) -> None:
    moved = ground.copy()
    moved.loc["f", ["west", "east"]] = 14.4, 24.4  # over b, 56 %, and over c, which is nearer to nothing
    with pytest.raises(ProtocolError, match=r"b in \w+ and f in target_test show the same .*up to 56% .*2 such"):
        check_ground(PROTOCOL, [FOLD], moved)
    moved.loc["f", ["west", "east"]] = 49.9, 59.9  # a sliver over its neighbour, of its own part
    check_ground(PROTOCOL, [FOLD], moved)
    moved.loc["f", ["west", "east", "south", "north"]] = 10.0, 20.0, 9.9, 19.9
    check_ground(PROTOCOL, [FOLD], moved)


def test_the_same_ground_may_be_meant(ground: pd.DataFrame) -> None:
    ground.loc["f", ["mask", "west", "east"]] = "a", 0.0, 10.0
    check_ground(replace(PROTOCOL, same_ground=True), [FOLD], ground)
    ground.loc["f", "image"] = "a"
    with pytest.raises(ProtocolError, match="hold the same image"):
        check_ground(replace(PROTOCOL, same_ground=True), [FOLD], ground)


def test_one_pool_of_the_target_is_no_leak(ground: pd.DataFrame) -> None:
    fold = replace(FOLD, parts=FOLD.parts | {"target_adapt": ("e", "f")})
    check_ground(replace(PROTOCOL, transductive=True), [fold], ground)


@pytest.mark.parametrize(
    ("zones", "proposed"),
    [
        (("beach/2016/24", "beach/2018/24"), "beach/24"),
        (("img/beach_24_2016.png", "img/beach_24_2018.png"), "img/beach_24.png"),
        (("2016-08-01_beach", "2018-07-30_beach"), "beach"),
        (("beach_24", "beach_25"), ""),
        (("beach_2016_24", "beach_2018_25"), ""),
        (("2016", "2018"), ""),
        (("beach_2016", "beach"), ""),
    ],
)
def test_a_zone_without_the_time_is_proposed(ground: pd.DataFrame, zones: tuple[str, str], proposed: str) -> None:
    ground.loc[["a", "f"], "zone"] = zones
    ground.loc["f", "mask"] = "a"
    with pytest.raises(ProtocolError, match="hold the same mask") as caught:
        check_ground(PROTOCOL, [FOLD], ground)
    assert ("which without the time would be" in str(caught.value)) == bool(proposed)
    assert f"would be '{proposed}'" in str(caught.value) or not proposed
