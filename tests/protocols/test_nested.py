"""Folds inside a fold: cut from its source alone, by the same rule."""

import itertools
from dataclasses import replace

import pandas as pd
import pytest

from protocols.base import NamedFold, Protocol, Split
from protocols.cutting import cut
from protocols.nested import nested_folds

PROTOCOL = Protocol("tiny", 1, "none", "t", "d", "c", hold_out=("time",), split=Split(few=2))


@pytest.fixture
def patches() -> pd.DataFrame:
    """Two places, three times, eight zones a place that are flown at every time, one patch each."""
    rows = [
        {"id": f"p{place}/z{zone}/{time}", "image": "/i.tif", "mask": "/m.tif", "place": f"p{place}", "time": time,
         "zone": f"p{place}/z{zone}", "x": float(place * 8 + zone), "y": 0.0}
        for place, time, zone in itertools.product(range(2), ("2019", "2020", "2021"), range(8))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("hold_out", [("time",), ("place", "time")])
def test_each_source_domain_is_held_out_once_and_the_target_is_seen_by_none(patches, hold_out):
    protocol = replace(PROTOCOL, hold_out=hold_out)
    for fold in cut(protocol, patches):
        target = {*fold.parts["target_adapt"], *fold.parts["target_test"]}
        source = patches[patches["id"].isin({*fold.parts["source_train"], *fold.parts["source_val"]})]
        inner = nested_folds(protocol, fold, patches)
        for each in inner:
            members = [set(ids) for ids in each.parts.values()]
            assert not target & set().union(*members) and set().union(*members) <= set(source["id"])
            zones = [set(patches.loc[patches["id"].isin(ids), "zone"]) for ids in members]
            assert sum(map(len, zones)) == len(set().union(*zones)), "zones straddle two parts"
            assert not each.few
        if hold_out == ("time",):
            times = {time for time in ("2019", "2020", "2021") if time != fold.name}
            assert {each.name for each in inner} == {f"{fold.name} without {time}" for time in times}
            assert {each.held_out["time"] for each in inner} == times


def test_a_source_of_one_domain_cannot_be_cut(patches):
    two = patches[patches["time"] != "2021"]
    assert [nested_folds(PROTOCOL, fold, two) for fold in cut(PROTOCOL, two)] == [[], []]


def test_inside_folds_that_are_listed_by_hand_places_are_held_out(patches):
    more = pd.concat([patches, patches.assign(place="p2", id="x" + patches["id"], zone="x" + patches["zone"])])
    protocol = replace(PROTOCOL, hold_out=(), named_folds=(NamedFold("north", {"place": ("p0",)}),))
    (fold,) = cut(protocol, more)
    assert [each.name for each in nested_folds(protocol, fold, more)] == ["north without p1", "north without p2"]
