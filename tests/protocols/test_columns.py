"""Columns that follow from dates and tables, and what a table with a broken row says."""

from dataclasses import replace

import pandas as pd
import pytest

from protocols.base import NamedFold, Protocol, ProtocolError
from protocols.columns import add_columns, known_columns, missing_patches, read_table
from protocols.cutting import cut
from protocols.files import FOLDER

PROTOCOL = Protocol("tiny", 1, "none", "t", "d", "c", hold_out=("region",))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "regions.csv"
    path.write_text("place,region,patches\np0,north,4\np1,north,\np2,south,4\n")
    return path


@pytest.fixture
def patches() -> pd.DataFrame:
    rows = [(f"p{k % 3}/{k}", f"p{k % 3}", f"2020-{4 + k:02d}-01") for k in range(6)] * 2
    table = pd.DataFrame(rows, columns=["zone", "place", "date"])
    table["id"] = [f"i{k:02d}" for k in range(12)]
    return table.assign(image="/i.tif", mask="/m.tif", time="2020", x=0.0, y=0.0, camera="c")


def test_tables_and_dates_give_columns(patches, table):
    protocol = replace(PROTOCOL, tables=(table, FOLDER / "tables" / "seasons.csv"))
    columns = add_columns(protocol, patches.assign(date=[*patches["date"][:-1], ""]))
    assert columns["region"].tolist()[:3] == ["north", "north", "south"]
    assert columns["month"].tolist()[:3] == ["04", "05", "06"]
    assert columns["season"].tolist()[:3] == ["spring", "spring", "summer"]
    assert columns["month"].iloc[-1] == columns["season"].iloc[-1] == ""
    assert {"region", "patches", "season"} <= set(known_columns(protocol.tables))


def test_season_and_year_follow_from_dates_where_no_table_gives_them(patches):
    columns = add_columns(PROTOCOL, patches.assign(date=["2019-12-31", *patches["date"][1:-1], ""]))
    assert columns["season"].tolist()[:5] == ["dec-feb", "mar-may", "jun-aug", "jun-aug", "jun-aug"]
    assert columns["year"].tolist()[:2] == ["2019", "2020"]
    assert columns["season"].iloc[-1] == columns["year"].iloc[-1] == ""
    assert known_columns(()) == ("place", "time", "domain", "camera", "month", "season", "year")


def test_names_of_another_unicode_form_are_the_same(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeffplace,land\nE\u0301vry,a\n", encoding="utf-8")
    assert read_table(tmp_path / "t.csv") == (["place", "land"], [["\u00c9vry", "a"]])


def test_a_region_is_held_out_whole(patches, table):
    (north, south) = cut(replace(PROTOCOL, tables=(table,)), patches)
    assert (north.name, south.held_out) == ("north", {"region": "south"})
    place = patches.set_index("id")["place"]
    assert {place[patch] for part in ("target_adapt", "target_test") for patch in north.parts[part]} == {"p0", "p1"}


def test_what_a_table_does_not_list_is_named(patches, table):
    with pytest.raises(ProtocolError, match=r"regions.csv does not list the place p9, which 1 patches have"):
        cut(replace(PROTOCOL, tables=(table,)), patches.assign(place=["p9", *patches["place"][1:]]))


def test_what_the_catalog_lacks_is_counted(patches, table):
    fold = NamedFold("a", {"place": ("p8",)})
    protocol = replace(PROTOCOL, tables=(table,), hold_out=(), named_folds=(fold,))
    missing = missing_patches(protocol, add_columns(protocol, patches[patches["place"] != "p1"].iloc[1:]))
    assert missing == ["place p8", "place p0: 3 of 4 patches", "place p1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "colour,region\nred,north\n",
            "the first column must be one of place, time, domain, camera, month, season, year, not",
        ),
        ("place,region\np0\n", "has not 2 cells"),
        ("place,region\np0,a\np0,b\n", "a first cell occurs twice"),
        ("", "no readable table"),
    ],
)
def test_a_broken_table_is_named(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ProtocolError, match=message):
        read_table(path)


def test_every_department_of_flair_has_a_region_a_climate_and_its_patches():
    header, rows = read_table(FOLDER / "tables" / "flair1-departments.csv")
    table = pd.DataFrame(rows, columns=header)
    assert len(table) == 50 and (table[["region", "climate", "fold", "department"]] != "").all(axis=None)
    assert table["region"].nunique() == 12 and table["climate"].nunique() == 8
    assert table["fold"].value_counts().tolist() == [10] * 5
    known = table[table["patches"] != ""].astype({"patches": int, "first_id": int, "last_id": int})
    assert (known["last_id"] - known["first_id"] + 1 == known["patches"]).all()
    spans = table.astype({"first_id": int, "last_id": int})[["first_id", "last_id"]].drop_duplicates()
    assert (spans["last_id"] - spans["first_id"] + 1).sum() == 77_412
