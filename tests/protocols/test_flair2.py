"""FLAIR #2's protocols: on a listing of all 77,762 patches, with the counts that were published."""

from functools import cache

import pandas as pd
import pytest

from protocols.base import PARTS, ProtocolError
from protocols.columns import read_table
from protocols.cutting import cut
from protocols.expected import expected_sizes
from protocols.files import FOLDER, load, names

PROTOCOLS = [name for name in names() if name.startswith("flair2-")]
NORTH, SOUTH = {"D008", "D051", "D060", "D077", "D080"}, {"D031", "D032", "D034", "D046", "D081"}


@pytest.fixture(scope="module")
def folds_of(flair2_listing):
    """A protocol's folds by name on the whole listing, cut once."""
    return cache(lambda name: {fold.name: fold for fold in cut(load(name), flair2_listing)})


@pytest.fixture(scope="module")
def table(flair2_listing):
    return flair2_listing.set_index("id")


def _target(fold):
    return [*fold.parts["target_adapt"], *fold.parts["target_test"]]


def _source(fold):
    return [*fold.parts["source_train"], *fold.parts["source_val"]]


def _rows(name):
    header, rows = read_table(FOLDER / "tables" / f"{name}.csv")
    return pd.DataFrame(rows, columns=header).set_index("place")


def test_the_listing_has_the_published_domains_and_zones(flair2_listing):
    assert len(flair2_listing) == 61_712 + 16_050
    assert len(flair2_listing[["place", "time"]].drop_duplicates()) == flair2_listing["place"].nunique() == 50
    assert flair2_listing["zone"].nunique() == 916


def test_the_training_departments_are_flair_1_s():
    ours, first = _rows("flair2-departments"), _rows("flair1-departments")
    training = ours[ours["last_id"].astype(int) <= 61_712]
    assert len(training) == 40 and len(ours) == 50
    assert training.equals(first.loc[training.index, list(ours)])
    again = ours.index.difference(training.index).intersection(first.index)  # in both tests, flown in the same year
    assert list(again) == ["D022", "D026", "D064", "D068", "D071"]
    assert ours.loc[again, "time"].equals(first.loc[again, "time"])
    small = _rows("flair2-south-and-north")
    assert set(small.index) == NORTH | SOUTH and small["patches"].equals(ours.loc[small.index, "patches"])


def test_years_are_those_of_flair_hub():
    domains = {row[0] for row in read_table(FOLDER / "tables" / "flairhub-domains.csv")[1]}
    assert {f"{place}@{time}" for place, time in _rows("flair2-departments")["time"].items()} <= domains


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_builds_on_the_whole_listing(name, folds_of):
    protocol = load(name)
    assert protocol.description and protocol.confounds and protocol.citation and protocol.dataset == "flair2"
    for fold in folds_of(name).values():
        assert len(fold.few) == (protocol.split.few if fold.parts["target_adapt"] else 0)


def test_the_official_split_is_the_published_one(folds_of, table):
    fold = folds_of("flair2-official")["test"]
    assert list(fold.parts["target_test"]) == [f"IMG_{number:06d}" for number in range(77_413, 93_463)]
    assert max(_source(fold)) == "IMG_061712" and len(_source(fold)) == 61_712
    training, validation = (set(table.loc[list(fold.parts[part]), "place"]) for part in PARTS[:2])
    first = load("flair1-official").named_folds[0]
    assert validation == {*first.source_val["place"]} and (len(training), len(validation)) == (32, 8)
    assert table.loc[list(fold.parts["target_test"]), "zone"].nunique() == 159


def test_the_adaptation_variant_cuts_every_test_department_by_zone(folds_of, table):
    fold, whole = folds_of("flair2-official-adapt")["test"], folds_of("flair2-official")["test"]
    adapt, test = (table.loc[list(fold.parts[part])] for part in PARTS[2:])
    assert (
        sorted(_target(fold)) == sorted(whole.parts["target_test"])
        and fold.parts["source_val"] == whole.parts[PARTS[1]]
    )
    assert set(adapt["place"]) == set(test["place"]) and len(set(test["place"])) == 10
    assert not set(adapt["zone"]) & set(test["zone"])
    assert 0.4 < len(adapt) / 16_050 < 0.6


def test_south_and_north_are_each_other_s_target_and_the_test_is_not_what_is_adapted_to(folds_of, table):
    folds = folds_of("flair2-south-and-north")
    for name, (source, target) in {"south to north": (SOUTH, NORTH), "north to south": (NORTH, SOUTH)}.items():
        fold = folds[name]
        assert set(table.loc[_source(fold), "place"]) == source and set(table.loc[_target(fold), "place"]) == target
        assert len(_source(fold)) + len(_target(fold)) == table["place"].isin(NORTH | SOUTH).sum()
        adapt, test = (table.loc[list(fold.parts[part]), "zone"] for part in PARTS[2:])
        assert not set(adapt) & set(test) and 0.4 < len(adapt) / len(_target(fold)) < 0.6
    assert len(folds) == 2


def test_south_and_north_need_the_training_part_alone(flair2_listing, folds_of):
    training = flair2_listing[flair2_listing["id"] <= "IMG_061712"]
    folds = cut(load("flair2-south-and-north"), training)
    assert {fold.name: fold for fold in folds} == folds_of("flair2-south-and-north")
    with pytest.raises(ProtocolError, match="place D008: 1774 of 1775 patches"):
        cut(load("flair2-south-and-north"), training[training["id"] != "IMG_005301"])
    with pytest.raises(ProtocolError, match="place D015, place D022"):
        cut(load("flair2-official"), training)


def test_years_and_forecasts_are_those_of_the_departments(folds_of, table):
    folds, time = folds_of("flair2-leave-years-out"), table["time"]
    assert list(folds) == ["2018", "2019", "2020", "2021"]
    assert sum(len(_target(fold)) for fold in folds.values()) == 77_762
    places = {year: table.loc[_target(fold), "place"].nunique() for year, fold in folds.items()}
    assert places == {"2018": 2, "2019": 9, "2020": 21, "2021": 18}
    for year, fold in folds_of("flair2-forecast").items():
        assert time[_source(fold)].max() < year == time[_target(fold)].min() == time[_target(fold)].max()
    expected = expected_sizes(load("flair2-leave-years-out"))
    assert sum(sum(row[2:]) for row in expected.values()) == pytest.approx(77_762, abs=25)


def test_seasons_are_those_of_each_image(folds_of, table):
    month = table["date"].str[5:7]
    folds = folds_of("flair2-leave-seasons-out")
    assert set(folds) == {"spring", "summer", "autumn"}
    assert set(month[_target(folds["summer"])]) == {"06", "07", "08"}
    assert not set(month[_source(folds["summer"])]) & {"06", "07", "08"}
