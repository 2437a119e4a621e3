"""A catalog is valid from its construction on."""

import numpy as np
import pandas as pd
import pytest

from benchmark.common.errors import DataError
from benchmark.data.catalog import COLUMNS, Catalog
from benchmark.data.classes import FLAIR_13


def _catalog(patches: pd.DataFrame, **settings: object) -> Catalog:
    given = {"name": "tiny", "classes": FLAIR_13, "bands": ("red",), "patch_size": 8} | settings
    return Catalog(patches=patches, **given)  # type: ignore[arg-type]


def test_rows_are_sorted_and_typed(patches: pd.DataFrame) -> None:
    before = patches.copy()
    table = _catalog(patches).patches
    assert table["id"].tolist() == ["a", "b", "c"]
    assert tuple(table.columns) == COLUMNS
    assert table["y"].dtype == np.float64
    assert table["row"].dtype == np.int64
    pd.testing.assert_frame_equal(patches, before)  # the caller's table is left alone


def test_domain_is_place_and_time(patches: pd.DataFrame) -> None:
    assert _catalog(patches).domain.tolist() == ["P1", "P1@2020", "P2@2021"]


def test_select(patches: pd.DataFrame) -> None:
    catalog = _catalog(patches)
    some = catalog.select(["c", "a"])
    assert some.patches["id"].tolist() == ["a", "c"]
    assert some.patches.index.tolist() == [0, 1]
    assert (some.name, some.classes, len(some)) == ("tiny", FLAIR_13, 2)
    with pytest.raises(DataError, match="2 of 3 ids are unknown: x, y"):
        catalog.select(["a", "x", "y"])
    with pytest.raises(DataError, match="no patches"):
        catalog.select([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["zone", "x"]), "lacks the columns zone, x"),
        (lambda t: t.iloc[:0], "no patches"),
        (lambda t: t.assign(id=["a", "a", "b"]), r"1 ids are not unique: a \(/data/b.tif, /data/a.tif\)"),
        (lambda t: t.assign(place=["P", "", "P"]), "1 patches have an empty place, first in /data/a.tif"),
        (lambda t: t.assign(date=["", None, ""]), "date has missing values"),
        (lambda t: t.assign(image=["/a", "b/c.tif", "/c"]), "absolute: b/c.tif"),
    ],
)
def test_bad_tables(patches: pd.DataFrame, change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=f"dataset tiny: .*{message}"):
        _catalog(change(patches))


@pytest.mark.parametrize(
    "settings",
    [
        {"bands": ()},
        {"bands": ("r", "r")},
        {"patch_size": 0},
        {"scale": 0.0},
        {"scale": 2.0},
        {"unknown_share": -0.1},
    ],
)
def test_bad_settings(patches: pd.DataFrame, settings: dict[str, object]) -> None:
    with pytest.raises(DataError, match=next(iter(settings)).split("_")[0].rstrip("s")):
        _catalog(patches, **settings)


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "a/b", "x" * 121])
def test_a_name_names_a_folder_below_the_stores(patches: pd.DataFrame, name: str) -> None:
    with pytest.raises(DataError, match="the name of a dataset"):
        _catalog(patches, name=name)


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\nb", "a\u202eb", "a\udcffb", "x" * 2000])
@pytest.mark.parametrize("column", ["place", "zone", "camera", "id"])
def test_a_name_holds_no_control_characters(patches: pd.DataFrame, column: str, text: str) -> None:
    patches[column] = patches[column].astype(object) if column in patches else ""
    patches.loc[0, column] = text
    with pytest.raises(DataError, match=f"column {column}: ") as caught:
        _catalog(patches)
    assert caught.value.args[0].isprintable() and len(str(caught.value)) < 300


def test_a_domain_fits_into_names_of_files_and_metrics(patches: pd.DataFrame) -> None:
    patches["place"] = "水" * 40  # 5 letters each in a key
    with pytest.raises(DataError, match="too long for the names of files and metrics"):
        _catalog(patches)


@pytest.mark.parametrize("size", [0, 10_000])
def test_a_patch_is_of_some_size(patches: pd.DataFrame, size: int) -> None:
    with pytest.raises(DataError, match="patch_size must be at least 1 and at most 8192"):
        _catalog(patches, patch_size=size)
