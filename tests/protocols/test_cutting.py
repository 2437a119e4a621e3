"""Cutting a table into folds: what is held out, disjoint zones, gaps, and a fingerprint that is the same anywhere."""

import itertools
from dataclasses import replace

import pandas as pd
import pytest

from protocols.base import PARTS, NamedFold, Protocol, ProtocolError, Split, fingerprint
from protocols.cutting import cut

PROTOCOL = Protocol("tiny", 1, "none", "t", "d", "c", hold_out=("place",))


@pytest.fixture
def patches() -> pd.DataFrame:
    """Three places in a row, two times, six zones a place (a grid of columns), two patches a zone and time."""
    rows = []
    for place, time, zone, patch in itertools.product(range(3), ("2019", "2020"), range(6), range(2)):
        name = f"p{place}/z{zone}"
        rows.append(
            {
                "id": f"{name}/{time}/{patch}",
                "image": f"/{name}-{time}-{patch}.tif",
                "mask": "/m.tif",
                "place": f"p{place}",
                "time": time,
                "zone": name,
                "x": float(place * 6 + zone),
                "y": float(patch),
            }
        )
    return pd.DataFrame(rows)


def _rows(patches, fold, part):
    return patches[patches["id"].isin(fold.parts[part])]


@pytest.mark.parametrize("hold_out", [("place",), ("time",), ("place", "time")])
def test_no_zone_and_no_held_out_value_is_on_both_sides(patches, hold_out):
    folds = cut(replace(PROTOCOL, hold_out=hold_out), patches)
    assert len(folds) == {("place",): 3, ("time",): 2, ("place", "time"): 6}[hold_out]
    for fold in folds:
        seen = [set(_rows(patches, fold, part)["zone"]) for part in PARTS]
        assert all(not a & b for a, b in itertools.combinations(seen, 2))
        for column in hold_out:
            source = set(_rows(patches, fold, "source_train")[column]) | set(_rows(patches, fold, "source_val")[column])
            target = set(_rows(patches, fold, "target_adapt")[column]) | set(
                _rows(patches, fold, "target_test")[column]
            )
            assert not source & target and target == {fold.held_out[column]}


def test_a_joint_fold_drops_what_shares_only_one_axis(patches):
    fold = cut(replace(PROTOCOL, hold_out=("place", "time")), patches)[0]
    used = {patch for part in PARTS for patch in fold.parts[part]}
    rows = patches[patches["id"].isin(used)]
    assert not ((rows["place"] == "p0") & (rows["time"] == "2020")).any()
    assert not ((rows["place"] != "p0") & (rows["time"] == "2019")).any()


def test_every_place_is_on_both_sides_of_a_held_out_time(patches):
    for fold in cut(replace(PROTOCOL, hold_out=("time",)), patches):
        for part in ("source_train", "source_val", "target_adapt", "target_test"):
            assert set(_rows(patches, fold, part)["place"]) == {"p0", "p1", "p2"}


def test_the_order_of_the_table_does_not_matter(patches):
    folds = cut(PROTOCOL, patches)
    shuffled = cut(PROTOCOL, patches.sample(frac=1, random_state=3))
    assert fingerprint(folds) == fingerprint(shuffled)


def test_a_lost_or_renamed_patch_changes_the_fingerprint(patches):
    whole = fingerprint(cut(PROTOCOL, patches))
    assert fingerprint(cut(PROTOCOL, patches.iloc[1:])) != whole
    pinned = replace(PROTOCOL, fingerprint=whole)
    cut(pinned, patches)
    with pytest.raises(ProtocolError, match="missing, added, renamed"):
        cut(pinned, patches.iloc[1:])


def test_a_gap_drops_source_zones_near_the_target(patches):
    folds = cut(replace(PROTOCOL, split=Split(gap=2.5)), patches)
    for fold in folds:
        source = pd.concat([_rows(patches, fold, part) for part in PARTS[:2]])
        target = pd.concat([_rows(patches, fold, part) for part in PARTS[2:]])
        assert min(abs(a - b) for a in source["x"] for b in target["x"]) > 2


@pytest.mark.parametrize(("gap", "nearest"), [(2.0, 2), (2.001, 3), (1.999, 2)])
def test_a_zone_as_far_as_the_gap_stays(patches, gap, nearest):
    """Places are six zones wide and one apart, so that distances are whole numbers."""
    fold = cut(replace(PROTOCOL, split=Split(gap=gap)), patches)[0]
    source = pd.concat([_rows(patches, fold, part) for part in PARTS[:2]])
    target = pd.concat([_rows(patches, fold, part) for part in PARTS[2:]])
    assert min(abs(a - b) for a in source["x"] for b in target["x"]) == nearest


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_of_each_place_some_zones_are_on_each_side_whatever_the_share(patches, share):
    split = Split(validation_share=share, adapt_share=share)
    for fold in cut(replace(PROTOCOL, hold_out=("time",), split=split), patches):
        zones = {part: _rows(patches, fold, part).groupby("place")["zone"].nunique().to_dict() for part in PARTS}
        assert all(set(found) == {"p0", "p1", "p2"} for found in zones.values()), zones


def test_zones_are_dealt_by_the_share_in_each_place(patches):
    """Six zones a place: a third of them is two."""
    for fold in cut(replace(PROTOCOL, split=Split(validation_share=1 / 3, adapt_share=1 / 3)), patches):
        for part, count in zip(PARTS, (4, 2, 2, 4), strict=True):
            assert set(_rows(patches, fold, part).groupby("place")["zone"].nunique()) == {count}, part


def test_a_gap_needs_coordinates(patches):
    patches.loc[0, "x"] = float("nan")
    with pytest.raises(ProtocolError, match="coordinates"):
        cut(replace(PROTOCOL, split=Split(gap=2.5)), patches)


def test_named_folds_take_validation_from_the_places_listed(patches):
    named = NamedFold("test", {"place": ("p2",)}, source_val={"place": ("p1",)})
    protocol = replace(PROTOCOL, hold_out=(), named_folds=(named,), split=Split(adapt_share=0.0))
    (fold,) = cut(protocol, patches)
    assert set(_rows(patches, fold, "source_train")["place"]) == {"p0"}
    assert set(_rows(patches, fold, "source_val")["place"]) == {"p1"}
    assert len(fold.parts["target_test"]) == 24 and fold.parts["target_adapt"] == ()


def test_images_without_a_mask_are_left_out_but_of_the_adaptation(patches, caplog):
    """A whole zone of p0 and one patch in each other zone have none; all other patches are dealt as before."""
    bare = patches.assign(mask=patches["mask"].where(patches["zone"] != "p0/z0", ""))
    bare.loc[bare["id"].str.endswith("2019/0"), "mask"] = ""
    unlabelled = set(bare.loc[bare["mask"] == "", "id"])
    for fold in cut(PROTOCOL, bare):
        for part in ("source_train", "source_val", "target_test"):
            assert fold.parts[part] and not unlabelled & set(fold.parts[part])
        adapt, test = (set(_rows(bare, fold, part)["zone"]) for part in ("target_adapt", "target_test"))
        place = fold.held_out["place"]
        assert ("p0/z0" in adapt) == (place == "p0") and not adapt & test
        assert set(fold.parts["target_adapt"]) == set(bare.loc[bare["zone"].isin(adapt), "id"])
    assert "tiny-v1: 21 of 72 patches have no mask: they are left out of every source and test" in caplog.text
    assert "0 of them" not in caplog.text
    cut(PROTOCOL, patches)
    assert caplog.text.count("have no mask") == 1


def test_a_place_without_masks_is_never_held_out_and_without_adaptation_unlabelled_images_are_unused(patches):
    bare = patches.assign(mask=patches["mask"].where(patches["place"] != "p0", ""))
    assert [fold.name for fold in cut(PROTOCOL, bare)] == ["p1", "p2"]
    for fold in cut(replace(PROTOCOL, split=Split(adapt_share=0)), bare):
        assert fold.parts["target_adapt"] == ()
    (fold, _) = cut(replace(PROTOCOL, transductive=True), bare)
    assert fold.parts["target_adapt"] == fold.parts["target_test"]
    named = NamedFold("t", {"place": ("p2",)}, target_adapt={"place": ("p0",)})
    (fold,) = cut(replace(PROTOCOL, hold_out=(), named_folds=(named,)), bare)
    assert set(_rows(patches, fold, "target_adapt")["place"]) == {"p0"} and len(fold.parts["target_adapt"]) == 24
    named = NamedFold("t", {"place": ("p0",)})
    with pytest.raises(ProtocolError, match=r"target_test is empty: too few zones in a place \(2 with masks"):
        cut(replace(PROTOCOL, hold_out=(), named_folds=(named,)), bare)


def test_a_catalog_without_the_held_out_places_is_refused(patches):
    protocol = replace(PROTOCOL, hold_out=(), named_folds=(NamedFold("test", {"place": ("D012",)}),))
    with pytest.raises(ProtocolError, match="does not hold: place D012"):
        cut(protocol, patches)


def test_places_without_a_time_cannot_be_held_out_by_time(patches):
    with pytest.raises(ProtocolError, match="time"):
        cut(replace(PROTOCOL, hold_out=("time",)), patches.assign(time=""))


def test_a_fold_may_name_all_its_parts(patches):
    named = NamedFold("t", {"place": ("p2",)}, {"place": ("p0",), "time": ("2019",)}, target_adapt={"place": ("p1",)})
    (fold,) = cut(replace(PROTOCOL, hold_out=(), named_folds=(named,)), patches)
    source = pd.concat([_rows(patches, fold, part) for part in PARTS[:2]])
    assert set(source["place"]) == {"p0"} and set(source["time"]) == {"2019"}
    assert set(_rows(patches, fold, "target_adapt")["place"]) == {"p1"}
    assert len(fold.parts["target_test"]) == 24


def test_transductive_adaptation_sees_the_test_images_themselves(patches):
    for fold in cut(replace(PROTOCOL, transductive=True), patches):
        assert fold.parts["target_adapt"] == fold.parts["target_test"]
        assert len(fold.parts["target_test"]) == 24


def test_a_few_labelled_target_patches_lie_in_the_unlabelled_pool(patches):
    whole = cut(replace(PROTOCOL, split=Split(few=3)), patches)
    for fold in whole:
        assert len(fold.few) == 3 and set(fold.few) <= set(fold.parts["target_adapt"])
    assert [fold.few[:2] for fold in whole] == [
        fold.few for fold in cut(replace(PROTOCOL, split=Split(few=2)), patches)
    ]
    assert fingerprint(whole) != fingerprint(cut(PROTOCOL, patches))


def test_combinations_with_too_few_patches_are_no_fold(patches):
    thin = patches[(patches["place"] != "p1") | (patches["zone"].isin({"p1/z0", "p1/z1"}))]
    folds = cut(replace(PROTOCOL, split=Split(smallest_target=9)), thin)
    assert [fold.name for fold in folds] == ["p0", "p2"]


def test_where_too_little_is_there_for_any_fold_it_is_said_what_is_missing(patches):
    few = patches[patches["zone"].str.endswith("z0")]
    with pytest.raises(ProtocolError) as error:
        cut(replace(PROTOCOL, partial=True), few)
    assert "no fold of 3 has patches in every part: source_val is empty in 3, target_adapt is empty in 3" in str(
        error.value
    )
    assert "here are 12 patches with masks in 3 places, of which 0 have 2 zones" in str(error.value)


def test_a_partial_protocol_takes_what_is_there_and_says_so(patches):
    named = (NamedFold("a", {"place": ("p0",)}), NamedFold("b", {"place": ("p7",)}))
    protocol = replace(PROTOCOL, hold_out=(), named_folds=named, fingerprint="f" * 64)
    with pytest.raises(ProtocolError, match=r"does not hold: place p7. With --partial"):
        cut(protocol, patches)
    partial = replace(protocol, partial=True)
    folds = cut(partial, patches)
    assert [fold.name for fold in folds] == ["a"]
    assert partial.label == "tiny-v1-partial"
    assert fingerprint(folds, partial=True) == f"partial-{fingerprint(folds)}"
    whole = cut(replace(protocol, named_folds=named[:1], fingerprint=""), patches)
    assert folds[0].parts == whole[0].parts  # zones are dealt alike
