"""Names, descriptions and folders become catalogs; the shipped descriptions fit the real data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.common.errors import DataError
from benchmark.data.datasets import DATASETS, open_catalog
from benchmark.data.patches import read_patches
from protocols.cutting import cut
from protocols.files import load, names


def test_names() -> None:
    assert {"world", "flair1", "flair1-19", "dubai", "brunei", "trees"} <= set(DATASETS)


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
    assert (catalog.patch_size, catalog.scale) == (128, 0.5)


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


def test_trees(shared_data) -> None:
    """Five cities in three years, the same 21 grounds of each in all of them."""
    catalog = open_catalog("trees", shared_data("trees"))
    table = catalog.patches
    assert len(table) == table["image"].nunique() == 315 and catalog.patch_size == 256
    assert table.groupby(["place", "time"]).size().to_dict() == {
        (place, year): 21
        for place in ("claremont", "long_beach", "palm_springs", "riverside", "santa_monica")
        for year in ("2016", "2018", "2020")
    }
    grounds = table.groupby("zone")[["place", "time", "x", "y"]].agg("nunique")
    assert len(grounds) == 105 and (grounds == [1, 3, 1, 1]).all(axis=None), "a ground is one zone in all years"
    assert (catalog.bands, catalog.classes.names) == (("red", "green", "blue"), ("background", "tree"))


def test_no_two_zones_of_trees_overlap_on_the_ground(shared_data) -> None:
    corners = open_catalog("trees", shared_data("trees")).patches.groupby("zone")[["x", "y"]].first().to_numpy()
    apart = np.abs(corners[:, None] - corners[None]).max(-1)
    assert apart[~np.eye(len(corners), dtype=bool)].min() > 256 * 0.6 - 1e-3


def test_trees_pixels(shared_data) -> None:
    """The table states the shares of each mask value."""
    root = shared_data("trees")
    catalog = open_catalog("trees", root)
    chosen = catalog.patches.iloc[[0, 100, 300]]
    stated = pd.read_csv(root / "index.csv").set_index("id")
    for _, rows in chosen.groupby("id"):
        read = read_patches(catalog, rows)
        shares = np.bincount(read.masks.ravel(), minlength=256)[[0, 1, 255]] / read.masks.size
        row = stated.loc[rows["id"].iloc[0].partition("/")[0]]
        expected = [row["frac_bg"], row["frac_tree"], row["frac_ring"] + row["frac_blob"]]
        np.testing.assert_allclose(shares, expected, atol=2e-4)
        assert read.unknown == {}


def test_trees_with_near_infrared(shared_data, tmp_path: Path) -> None:
    root = shared_data("trees")
    described = tmp_path / "nir.toml"
    described.write_text(
        f'base = "trees"\nname = "nir"\nroot = "{root}"\nuse = ["red", "green", "blue", "nir"]\n', encoding="utf-8"
    )
    colours, more = open_catalog("trees", root), open_catalog("trees", described)
    assert more.bands == ("red", "green", "blue", "nir") and more.patches.equals(colours.patches)
    seen = [read_patches(catalog, catalog.patches.iloc[:1]).images for catalog in (colours, more)]
    assert np.array_equal(seen[0], seen[1][:, :3]) and seen[1].shape[1] == 4


@pytest.mark.parametrize("name", [name for name in names() if load(name).dataset in ("brunei", "dubai", "trees")])
def test_protocols_of_real_data_are_pinned_on_it(shared_data, name: str) -> None:
    protocol = load(name)
    folds = cut(protocol, open_catalog(protocol.dataset, shared_data(protocol.dataset)).patches)
    assert protocol.fingerprint and {fold.name: fold.sizes for fold in folds} == protocol.sizes


def test_no_ground_of_trees_is_on_both_sides_of_a_held_out_year(shared_data) -> None:
    """Nor one that touches another side's."""
    patches = open_catalog("trees", shared_data("trees")).patches.set_index("id")
    for fold in cut(load("trees-leave-years-out"), patches.reset_index()):
        parts = {part: patches.loc[list(ids)] for part, ids in fold.parts.items()}
        source, target = (pd.concat([parts[one], parts[two]]) for one, two in (list(parts)[:2], list(parts)[2:]))
        assert set(target["time"]) == {fold.name} and fold.name not in set(source["time"])
        apart = np.abs(source[["x", "y"]].to_numpy()[:, None] - target[["x", "y"]].to_numpy()[None]).max(-1)
        assert apart.min() > 256 * 0.6 + 1
        assert all(parts[part]["place"].nunique() == 5 for part in parts), "every city is in every part"
