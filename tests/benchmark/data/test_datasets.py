"""Names, descriptions and folders become catalogs; the shipped descriptions fit the real data."""

from pathlib import Path

import numpy as np
import pytest

from benchmark.data.datasets import DATASETS, open_catalog
from benchmark.data.raster import read_patches
from benchmark.errors import DataError


def test_names() -> None:
    assert {"world", "flair1", "flair1-19", "dubai", "brunei"} <= set(DATASETS)


def test_unknown_name_lists_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"'paris' is unknown; allowed are world, flair1, .*brunei, dubai.*\.toml.*FLAIR"
    ):
        open_catalog("paris", tmp_path)


def test_folder_in_flair_layout(flair: Path) -> None:
    assert len(open_catalog(str(flair))) == 3
    assert len(open_catalog("flair1", flair)) == 3
    assert open_catalog("flair1-19", flair).classes.name == "flair-19"


def test_description(folder: Path) -> None:
    assert open_catalog(str(folder)).name == "tiny"


def test_default_root_is_below_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dubai", "flair1"):
        with pytest.raises(DataError, match=f"{tmp_path}/data/{name}"):
            open_catalog(name)


def test_a_look_at_a_folder_never_makes_a_world(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no synthetic world in .*; make one with: landshift world"):
        open_catalog("world", tmp_path / "typo")
    assert list(tmp_path.iterdir()) == []


def test_a_description_can_take_the_place_of_the_data(folder: Path) -> None:
    assert open_catalog("world", folder).name == "tiny"


def test_dubai(shared_data) -> None:
    catalog = open_catalog("dubai", shared_data("dubai"))
    table = catalog.patches
    counts = table.groupby("place").size().to_dict()
    assert counts == {f"Tile {n}": c for n, c in enumerate((81, 36, 81, 171, 180, 135, 504, 486), 1)}
    assert table["image"].nunique() == table["zone"].nunique() == 72
    assert (table["mask"] != "").all()
    assert catalog.classes.names == ("building", "land", "road", "vegetation", "water")
    assert (catalog.patch_size, catalog.scale) == (64, 0.25)


def test_dubai_pixels(shared_data) -> None:
    """A tile with colour masks, one with unexplained black pixels, and one whose masks are palette files."""
    catalog = open_catalog("dubai", shared_data("dubai"))
    for tile, building in (("Tile 1", 0.051), ("Tile 3", 0.030), ("Tile 4", 0.403)):
        labels = []
        for _, rows in catalog.patches[catalog.patches["place"] == tile].groupby("image"):
            read = read_patches(catalog, rows)
            assert read.unknown == {}
            labels.append(read.masks)
        counts = np.bincount(np.concatenate(labels).ravel(), minlength=256)
        assert counts[0] / counts[:5].sum() == pytest.approx(building, abs=0.001)


def test_brunei(shared_data) -> None:
    catalog = open_catalog("brunei", shared_data("brunei"))
    table = catalog.patches
    assert len(table) == table["image"].nunique() == 858
    cells = table.groupby("zone")["place"].agg(["first", "nunique"])
    assert cells["first"].value_counts().to_dict() == {"SW": 24, "MID": 21, "NE": 21}
    assert (cells["nunique"] == 1).all()  # a cell lies in one place, at all times
    assert table.groupby("time").size().to_dict() == {"2018": 198, "2019": 198, "2020": 198, "2021": 132, "2022": 132}
    assert not table["id"].str.startswith("2021_02").any()
    assert table.loc[table["id"] == "2018_01_r10_c11/r0_c0", ["x", "y"]].to_numpy().tolist() == [[11, 10]]
    assert (catalog.bands, catalog.classes.names) == (("red", "green", "blue"), ("non-forest", "forest"))


def test_brunei_pixels(shared_data) -> None:
    """The manifest states the pixels of each value: 771 non-forest and 518 forest."""
    catalog = open_catalog("brunei", shared_data("brunei"))
    read = read_patches(catalog, catalog.select(["2018_01_r00_c18/r0_c0"]).patches)
    assert np.bincount(read.masks.ravel(), minlength=256)[[0, 1, 255]].tolist() == [771, 518, 599 + 14496]
    assert read.unknown == {}
