"""FLAIR-HUB's protocols on a listing of all 74 domains; the splits are made up, since IGN's are in its own file."""

from dataclasses import replace

import pandas as pd
import pytest

from protocols.base import PARTS, ProtocolError
from protocols.columns import read_table
from protocols.cutting import cut
from protocols.files import FOLDER, load, names

PROTOCOLS = [name for name in names() if name.startswith("flairhub-")]
MANY_FOLDS = "flairhub-leave-departments-out"  # seventy
QUICK = [name for name in PROTOCOLS if name != MANY_FOLDS]
SPLITS = ("split_flairhub", "split_flairchallenge", "split_toy", *(f"split_{number}" for number in range(1, 6)))


@pytest.fixture(scope="module")
def hub_listing() -> pd.DataFrame:
    """Four regions of twenty patches in each domain; the same in both years of a department."""
    _, rows = read_table(FOLDER / "tables" / "flairhub-domains.csv")
    cells = [(row[0], region, cell) for row in rows for region in range(4) for cell in range(20)]
    table = pd.DataFrame(cells, columns=["domain", "region", "cell"])
    place, time = table["domain"].str[:-5], table["domain"].str[-4:]
    zone = place + "/AF-S1-" + table["region"].astype(str)
    number = pd.factorize(place)[0]
    split = [("test" if k % 5 == 0 else "valid") if k % 5 < 2 else "train" for k in number]
    return pd.DataFrame(
        {
            "id": place + "-" + time + zone.str[-8:] + "_0-" + table["cell"].astype(str),
            "image": "/hub/i.tif",
            "mask": "/hub/m.tif",
            "place": place,
            "time": time,
            "zone": zone,
            "date": "",
            "camera": "",
            "x": number * 1e4 + table["region"] * 2e3 + table["cell"] * 102.4,
            "y": 0.0,
            **dict.fromkeys(SPLITS, split),
        }
    )


@pytest.mark.parametrize("name", [*QUICK, pytest.param(MANY_FOLDS, marks=pytest.mark.slow)])
def test_every_protocol_builds_on_the_whole_listing(name, hub_listing):
    protocol = load(name)
    folds = cut(protocol, hub_listing)
    assert protocol.description and protocol.confounds and protocol.citation and protocol.dataset == "flairhub"
    for fold in folds:
        assert len(fold.few) == (protocol.split.few if fold.parts["target_adapt"] else 0)


def test_the_table_has_the_domains_of_the_data_set(hub_listing):
    assert hub_listing["place"].nunique() == 70 and len(hub_listing) == 74 * 80
    twice = hub_listing.groupby("place")["time"].unique().map(sorted)
    twice = {place: times for place, times in twice.items() if len(times) > 1}
    assert twice == {
        "D017": ["2018", "2021"],
        "D033": ["2018", "2021"],
        "D044": ["2020", "2022"],
        "D080": ["2017", "2021"],
    }
    folds = {fold.name: fold for fold in cut(load("flairhub-leave-departments-out-5-folds"), hub_listing)}
    place = hub_listing.set_index("id")["place"]
    held_out = [set(place[[*f.parts["target_adapt"], *f.parts["target_test"]]]) for f in folds.values()]
    assert [len(places) for places in held_out] == [14] * 5 and len(set.union(*held_out)) == 70


def test_parts_are_those_of_the_column(hub_listing):
    (fold,) = cut(load("flairhub-official"), hub_listing)
    split = hub_listing.set_index("id")["split_flairhub"]
    assert [set(split[list(fold.parts[part])]) for part in PARTS] == [{"train"}, {"valid"}, set(), {"test"}]
    assert sum(fold.sizes) == len(hub_listing)
    assert [each.sizes for each in cut(load("flairhub-official-splits"), hub_listing)] == [fold.sizes] * 5


def test_a_release_without_the_column_is_an_error_that_names_what_there_is(hub_listing):
    older = hub_listing.drop(columns="split_flairhub")
    with pytest.raises(
        ProtocolError, match=r"official-v1 selects by split_flairhub, which no file .*; it has split_fl"
    ):
        cut(load("flairhub-official"), older)
    with pytest.raises(ProtocolError, match="which no file of this data set gives; it has none like it"):
        cut(load("flairhub-toy", partial=True), older.drop(columns=[name for name in SPLITS if name in older]))


def test_columns_that_a_release_lacks_give_no_fold_of_a_part(hub_listing):
    folds = cut(load("flairhub-official-splits", partial=True), hub_listing.drop(columns=["split_2", "split_5"]))
    assert [fold.name for fold in folds] == ["split_1", "split_3", "split_4"]


def test_part_of_the_domains_is_run_as_a_part_only(hub_listing):
    some = hub_listing[hub_listing["place"].isin(["D004", "D017", "D080", "D008"])]
    with pytest.raises(ProtocolError, match=r"needs what this catalog does not hold: domain D005@2018.*--partial"):
        cut(load("flairhub-leave-departments-out"), some)
    folds = cut(load("flairhub-leave-departments-out", partial=True), some)
    assert [fold.name for fold in folds] == ["D004", "D008", "D017", "D080"]


def test_one_year_is_the_source_of_the_other_and_no_zone_is_in_both(hub_listing):
    folds = cut(load("flairhub-same-department-other-year"), hub_listing)
    table = hub_listing.set_index("id")
    assert len(folds) == 8
    for fold in folds:
        place, before, _, after = fold.name.split()
        source, target = (table.loc[[*fold.parts[one], *fold.parts[other]]] for one, other in (PARTS[:2], PARTS[2:]))
        assert set(source["place"]) == set(target["place"]) == {place}
        assert (set(source["time"]), set(target["time"])) == ({before}, {after})
        assert not set(source["zone"]) & set(target["zone"])


def test_years_on_other_ground_are_used_whole(hub_listing):
    """Where no zone is common, nothing is dealt between the years."""
    moved = hub_listing.assign(zone=hub_listing["zone"] + "-" + hub_listing["time"])
    fold = cut(load("flairhub-same-department-other-year"), moved)[0]
    assert sum(fold.sizes) == 160


def test_a_column_of_the_data_set_must_be_named(tmp_path):
    text = (FOLDER / "flairhub-toy.toml").read_text().replace("columns = ", "# ").replace("tables = ", "# ")
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ProtocolError, match=r"\[\[fold\]\] has split_toy; allowed are place, time, domain"):
        load(str(tmp_path / "mine.toml"))
    assert replace(load("flairhub-toy"), columns=()).named_folds
