"""FLAIR #1's protocols: against the published lists, and on a listing of all 77,412 patches."""

import re
from dataclasses import replace
from functools import cache

import pandas as pd
import pytest

from protocols.base import PARTS, ProtocolError, fingerprint
from protocols.cutting import cut
from protocols.files import load, names

PATH = re.compile(r"/D(\d+)_(\d{4})/(Z\d+_[A-Z]+)/img/(IMG_\d+)\.tif")
PROTOCOLS = [name for name in names() if name.startswith("flair1-")]
MANY_FOLDS = ("flair1-leave-departments-out", "flair1-leave-regions-and-seasons-out")  # fifty, and 34
QUICK = [name for name in PROTOCOLS if name not in MANY_FOLDS]


def _listed(shared_data, name):
    """Ids, places and zones of one of IGN's lists."""
    text = (shared_data("flair1") / "lists" / f"flair-1-paths-{name}.csv").read_text()
    rows = [PATH.search(line.split(",")[0]).groups() for line in text.splitlines()]
    table = pd.DataFrame(rows, columns=["department", "time", "zone", "id"])
    table["place"] = "D" + table["department"]
    return table.assign(zone=table["place"] + "/" + table["zone"])


def _adaptation_list(shared_data, name):
    lines = (shared_data("flair1") / "lists" / "uda-nas" / f"{name}.txt").read_text().split()
    return sorted(f"IMG_{line.partition('/')[2]}" for line in lines)


@pytest.fixture(scope="module")
def folds_of(listing):
    """A protocol's folds on the whole listing, cut once."""
    return cache(lambda name: cut(load(name), listing))


@pytest.fixture(scope="module")
def with_real_zones(listing, shared_data):
    """The listing with IGN's own zones where they are public, which is in the test and in the validation."""
    real = pd.concat([_listed(shared_data, name) for name in ("test", "val")]).set_index("id")
    known = listing["id"].map(real["zone"])
    place = listing["id"].map(real["place"])
    return listing.assign(zone=known.fillna(listing["zone"]), place=place.fillna(listing["place"]))


def test_the_listing_has_every_listed_patch_in_its_department(listing, with_real_zones):
    assert (listing["place"] == with_real_zones["place"]).all()


@pytest.mark.parametrize("name", [*QUICK, pytest.param(MANY_FOLDS[1], marks=pytest.mark.slow)])
def test_every_protocol_builds_on_the_whole_listing(name, folds_of):
    protocol, folds = load(name), folds_of(name)
    assert protocol.description and protocol.confounds and protocol.citation
    for fold in folds:
        assert len(fold.few) == (protocol.split.few if fold.parts["target_adapt"] else 0)
    if protocol.fingerprint:
        assert fingerprint(folds) == protocol.fingerprint
        assert {fold.name: tuple(len(fold.parts[part]) for part in PARTS) for fold in folds} == protocol.sizes


@pytest.mark.slow
def test_fifty_departments_are_fifty_folds(listing):
    folds = cut(load("flair1-leave-departments-out"), listing)
    assert len(folds) == 50
    assert sum(len(fold.parts["target_adapt"]) + len(fold.parts["target_test"]) for fold in folds) == 77_412


def test_official_validation_and_test_are_ign_s_lists_patch_by_patch(with_real_zones, shared_data):
    (fold,) = cut(load("flair1-official-csv"), with_real_zones)
    assert list(fold.parts["source_val"]) == sorted(_listed(shared_data, "val")["id"])
    assert list(fold.parts["target_test"]) == sorted(_listed(shared_data, "test")["id"])
    assert [len(fold.parts[part]) for part in PARTS] == [47_587, 14_125, 0, 15_700]
    toy = set(_listed(shared_data, "toy-train")["id"])
    assert toy <= set(fold.parts["source_train"])


def test_the_card_s_validation_has_d077_in_the_place_of_d070(with_real_zones, shared_data):
    (fold,) = cut(load("flair1-official"), with_real_zones)
    listed = _listed(shared_data, "val")
    place = with_real_zones.set_index("id")["place"]
    assert set(place[list(fold.parts["source_val"])]) == set(listed["place"]) - {"D070"} | {"D077"}
    assert set(listed[listed["place"] != "D070"]["id"]) <= set(fold.parts["source_val"])
    assert list(fold.parts["target_test"]) == sorted(_listed(shared_data, "test")["id"])


@pytest.mark.parametrize(
    ("part", "published"),
    [
        ("source_train", "source"),
        ("source_val", "target_val"),
        ("target_adapt", "target_train"),
        ("target_test", "target_test"),
    ],
)
def test_the_adaptation_subset_is_the_published_one_patch_by_patch(part, published, folds_of, shared_data):
    (fold,) = folds_of("flair1-geomultitasknet")
    assert list(fold.parts[part]) == _adaptation_list(shared_data, published)


def test_the_adaptation_variant_cuts_every_test_department_by_zone(with_real_zones):
    (fold,) = cut(load("flair1-official-adapt"), with_real_zones)
    table = with_real_zones.set_index("id")
    adapt, test = (table.loc[list(fold.parts[part])] for part in ("target_adapt", "target_test"))
    assert len(adapt) + len(test) == 15_700
    assert set(adapt["place"]) == set(test["place"]) and len(set(test["place"])) == 10
    assert not set(adapt["zone"]) & set(test["zone"])
    assert 0.4 < len(adapt) / 15_700 < 0.6


def test_a_forecast_learns_from_the_past_only(listing, folds_of):
    time = listing.set_index("id")["time"]
    for fold in folds_of("flair1-forecast"):
        assert time[list(fold.parts["source_train"])].max() < fold.name == time[list(fold.parts["target_test"])].min()


def test_seasons_are_those_of_each_patch(listing, folds_of):
    month = listing.set_index("id")["date"].str[5:7]
    folds = {fold.name: fold for fold in folds_of("flair1-leave-seasons-out")}
    assert set(folds) == {"spring", "summer", "autumn"}
    assert set(month[list(folds["summer"].parts["target_test"])]) == {"06", "07", "08"}
    assert not set(month[list(folds["summer"].parts["source_train"])]) & {"06", "07", "08"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("flair1-official-csv", "moved"),
        ("flair1-geomultitasknet", "moved"),
        ("flair1-geomultitasknet", "doubled"),
        ("flair1-leave-years-out", "dated"),
    ],
)
def test_a_tampered_listing_is_refused(name, change, listing, folds_of):
    protocol = replace(load(name), fingerprint=fingerprint(folds_of(name)))
    first = listing["id"] == "IMG_005400"  # D008, in the source of all three
    wrong = {
        "moved": {"place": listing["place"].where(~first, "D064"), "time": listing["time"].where(~first, "2021")},
        "doubled": {},
        "dated": {"date": listing["date"].where(~first, "2021-05-05")},
    }
    catalog = listing.assign(**wrong[change])
    with pytest.raises(ProtocolError):
        cut(protocol, pd.concat([catalog, listing[first]]) if change == "doubled" else catalog)


def test_a_zone_that_is_split_changes_what_is_cut_by_zone(listing, folds_of):
    name = "flair1-official-adapt"
    protocol = replace(load(name), fingerprint=fingerprint(folds_of(name)))
    first = listing["id"] == "IMG_062000"
    with pytest.raises(ProtocolError, match="in another zone"):
        cut(protocol, listing.assign(zone=listing["zone"].where(~first, "D012/Z99_UU")))


def test_a_copy_that_lacks_departments_is_told_which(listing):
    lacking = listing[~listing["place"].isin(["D006", "D064"]) & (listing["id"] != "IMG_000001")]
    with pytest.raises(ProtocolError, match="place D004: 1799 of 1800 patches, place D006: 0 of 1775 patches"):
        cut(load("flair1-leave-years-out"), lacking)
    folds = cut(load("flair1-leave-years-out", partial=True), lacking)
    assert len(folds) == 4 and fingerprint(folds, partial=True).startswith("partial-")
