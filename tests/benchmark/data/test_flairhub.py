"""FLAIR-HUB's layout becomes a catalog: zips or folders, some domains, dates, splits, and the ground of two years."""

import logging
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin

from benchmark.cli.app import main
from benchmark.common.errors import DataError
from benchmark.data import catalog_cache, flairhub
from benchmark.data.datasets import open_catalog
from benchmark.data.flairhub import CONTENTS, read_flairhub
from benchmark.data.geopackage import read_columns
from benchmark.data.patches import read_patches
from benchmark.data.shapes import shape_of
from benchmark.data.shards import plan_shards
from protocols.base import ProtocolError
from protocols.cutting import cut
from protocols.files import FOLDER, load
from protocols.ground import check_ground

COSIA, LPIS = (CONTENTS[name].labels for name in ("flairhub", "flairhub-lpis"))


def test_catalog_of_the_archives_as_published(hub: Path) -> None:
    assert not list(hub.rglob("*.tif"))
    catalog = read_flairhub(hub)
    table = catalog.patches.set_index("id")
    assert len(table) == 16 and (catalog.patch_size, catalog.classes.num_classes) == (16, 15)
    assert catalog.bands == ("red", "green", "blue", "nir")
    first = table.loc["D017-2018_AF-S1-1_0-0"]
    assert first[["place", "time", "zone", "date"]].tolist() == ["D017", "2018", "D017/AF-S1-1", "2018-07-01"]
    assert first[["x", "y"]].tolist() == [400_051.2, 6_599_948.8]
    assert table["split_1"].value_counts().to_dict() == {"train": 8, "valid": 4, "test": 4}
    assert table.loc["D091-2021_UU-S2-9_0-0", ["date", "split_1"]].tolist() == ["", "test"]
    footprint = catalog.footprints.loc["D017-2018_AF-S1-1_0-0"]
    assert footprint.tolist() == pytest.approx([400_000, 6_599_897.6, 400_102.4, 6_600_000])


@pytest.mark.parametrize("name", CONTENTS)
def test_pixels_and_labels_are_those_of_the_files(name: str, hub: Path, hub_folder: Path) -> None:
    """From the archives as from the unpacked folders, which a list with both prefers."""
    kind, classes = CONTENTS[name].labels, CONTENTS[name].classes
    archived = open_catalog(name, hub)
    shutil.copytree(hub_folder, hub / "unpacked")
    unpacked = open_catalog(name, hub)
    assert all(path.endswith(".tif") and ".zip" not in path for path in unpacked.patches["image"])
    assert archived.patches.drop(columns=["image", "mask"]).equals(unpacked.patches.drop(columns=["image", "mask"]))
    for catalog in (archived, unpacked):
        rows = catalog.patches[catalog.patches["id"] == "D017-2018_AF-S1-1_0-1"]
        patches = read_patches(catalog, rows)
        stem = "D017-2018_{}/AF-S1-1/D017-2018_{}_AF-S1-1_0-1.tif"
        with rasterio.open(hub_folder / stem.format("AERIAL_RGBI", "AERIAL_RGBI")) as file:
            assert np.array_equal(patches.images[0, :4], file.read())
        if "height" in catalog.bands:
            with rasterio.open(hub_folder / stem.format("DEM_ELEV", "DEM_ELEV")) as file:
                surface, ground = file.read()
            counts = np.rint((surface - ground) * 5)
            assert (counts < 0).any() and (counts > 255).any()
            assert np.abs(patches.images[0, 4] - counts.clip(0, 255)).max() <= 1  # of a half, either way
            assert patches.images.dtype == np.uint8
        with rasterio.open(hub_folder / stem.format(kind, kind)) as file:
            values = file.read(1)  # of LPIS the first of three bands
        expected = np.where(values >= classes.num_classes, 255, values)
        assert np.array_equal(patches.masks[0], expected)


def test_class_numbers_are_the_hub_s_and_not_those_of_flair_1() -> None:
    cosia, lpis = (CONTENTS[name].classes for name in ("flairhub", "flairhub-lpis"))
    assert [cosia.classes[value].name for value in (1, 12, 14)] == ["greenhouse", "deciduous", "brushwood"]
    assert [c.name for c in cosia.classes if c.ignored] == ["clear cut", "ligneous", "mixed", "undefined"]
    assert (lpis.num_classes, lpis.mask_band, lpis.names[22]) == (23, 1, "background")
    shapes = {name: shape_of(name) for name in CONTENTS}
    assert {name: (shape.bands, shape.classes) for name, shape in shapes.items()} == {
        "flairhub": (4, 15),
        "flairhub-height": (5, 15),
        "flairhub-lpis": (4, 23),
        "flairhub-lpis-height": (5, 23),
    }


def test_a_few_domains_are_enough_and_a_missing_archive_is_named(hub: Path, caplog) -> None:
    (hub / "data" / f"D017-2021_{COSIA}.zip").unlink()
    (hub / "data/D091-2021_AERIAL_RGBI.zip").unlink()
    with caplog.at_level(logging.WARNING):
        catalog = read_flairhub(hub)
    assert len(caplog.messages) == 1
    assert "missing are D091-2021_AERIAL_RGBI.zip, D017-2021_AERIAL_LABEL-COSIA.zip" in caplog.messages[0]
    assert set(catalog.domain) == {"D017@2018", "D017@2021", "D012@2019"}
    assert (catalog.patches["mask"] == "").sum() == 4


def _damage(domain: str, damage: Callable[[np.ndarray], object], hub: Path, hub_folder: Path, **keys: object) -> Path:
    """Unpack the elevations of a domain beside their archive, and change those of its first patch."""
    name = f"{domain}_DEM_ELEV"
    shutil.copytree(hub_folder / name, hub / name)
    path = min((hub / name).rglob("*.tif"))
    with rasterio.open(path) as file:
        elevations, profile = file.read(), file.profile
    damage(elevations)
    with rasterio.open(path, "w", **(profile | keys)) as file:
        file.write(elevations)
    return path


def test_images_without_elevation_are_named(hub: Path) -> None:
    (hub / "data/D012-2019_DEM_ELEV.zip").unlink()
    assert len(read_flairhub(hub)) == 16
    message = "4 of 16 images have no elevation, such as D012-2019_AF-S1-3_0-0; get the DEM_ELEV of D012-2019, or"
    with pytest.raises(DataError, match=message):
        read_flairhub(hub, "flairhub-height")


def test_pixels_without_elevation_have_no_label(hub: Path, hub_folder: Path) -> None:
    path = _damage("D012-2019", lambda metres: metres[0, :2].fill(np.nan), hub, hub_folder)
    catalog = read_flairhub(hub, "flairhub-height")
    rows = catalog.patches[catalog.patches["id"] == "D012-2019_AF-S1-3_0-0"]
    patches = read_patches(catalog, rows)
    assert not patches.valid[0, :2].any() and patches.valid[0, 2:].all() and (patches.masks[0, :2] == 255).all()
    path.unlink()
    _damage("D091-2021", lambda metres: metres[:, 3].fill(-9999), hub, hub_folder)
    catalog = read_flairhub(hub, "flairhub-height")
    with pytest.raises(DataError, match=r"holds -9999 in all bands of 6.2% of its pixels"):
        read_patches(catalog, catalog.patches[catalog.patches["id"] == "D091-2021_UU-S2-8_0-0"])


def test_elevations_of_other_ground_are_refused(hub: Path, hub_folder: Path) -> None:
    there = from_origin(500_000, 6_600_000, 6.4, 6.4)
    _damage("D012-2019", lambda metres: None, hub, hub_folder, transform=there)
    catalog = read_flairhub(hub, "flairhub-height")
    with pytest.raises(DataError, match=r"D012-2019_DEM_ELEV_AF-S1-3_0-0\.tif: "):
        read_patches(catalog, catalog.patches[catalog.patches["id"] == "D012-2019_AF-S1-3_0-0"])


def test_shards_with_and_without_heights_are_two(hub: Path) -> None:
    names = [[plan.name for plan in plan_shards(read_flairhub(hub, name))] for name in ("flairhub", "flairhub-height")]
    assert not {*names[0]} & {*names[1]}
    as_given = replace(read_flairhub(hub, "flairhub-height"), heights=False)
    assert not {plan.name for plan in plan_shards(as_given)} & {*names[1]}


def test_without_geopackages_dates_and_splits_are_unknown(hub: Path) -> None:
    (hub / "data/GLOBAL_ALL_MTD.zip").unlink()
    table = read_flairhub(hub).patches
    assert "split_1" not in table and set(table["date"]) == {""}


def test_regions_of_two_years_on_common_ground_are_one_zone(hub: Path, write_hub) -> None:
    """Whatever their names are: AF-S1-1 has its ground in both years, AF-S1-2 is elsewhere, UN-S1-7 is AF-S1-2's."""
    zones = read_flairhub(hub).patches.set_index("id")["zone"]
    assert zones["D017-2021_UN-S1-7_0-0"] == zones["D017-2018_AF-S1-2_0-0"] == "D017/AF-S1-2"
    assert zones["D017-2021_AF-S1-1_0-0"] == zones["D017-2018_AF-S1-1_0-0"] == "D017/AF-S1-1"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda hub: shutil.rmtree(hub / "data"), "no FLAIR-HUB images here; looked for D012-2019_AERIAL_RGBI_AF-S1"),
        (
            lambda hub: (hub / f"data/D012-2019_{LPIS}.zip").write_bytes(b"PK"),
            "D012-2019_ALL_LABEL-LPIS.zip: no readable",
        ),
        (
            lambda hub: shutil.copy(hub / "data/D012-2019_AERIAL_RGBI.zip", hub / "again.zip"),
            r"D012-2019_AERIAL_RGBI_AF-S1-3_0-0.tif is there twice, the second time as",
        ),
        (lambda hub: (hub / "X_SPLIT.gpkg").write_bytes(b"none"), "X_SPLIT.gpkg: no readable GeoPackage"),
        (lambda hub: _package(hub / "X_SPLIT.gpkg", [("a", "b")] * 2), "the patch_id a is there twice"),
        (lambda hub: _package(hub / "X_SPLIT.gpkg", [("a", "b\n")]), "X_SPLIT.gpkg: 'b ' holds the character 0x0a"),
        (
            lambda hub: _package(hub / "X_AERIAL_MTD_DATES.gpkg", [("D012-2019_AF-S1-3_0-0", "2019-13-01")], "date"),
            "date of D012-2019_AF-S1-3_0-0: '2019-13-01'; expected is YYYYMMDD",
        ),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(spoil, message: str, hub: Path) -> None:
    spoil(hub)
    with pytest.raises(DataError, match=message):
        read_flairhub(hub)


def test_images_of_two_sizes_are_refused(hub: Path, write_hub) -> None:
    write_hub(hub, "D012-2019", "AF-S1-4", "0-0", size=8)
    with pytest.raises(DataError, match=r"AF-S1-4_0-0.tif: 8 x 8 pixels, where 16 x 16 are expected"):
        read_flairhub(hub)


def _package(path: Path, rows: list[tuple[str, str]], column: str = "split_1") -> None:
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE patches (patch_id TEXT, geom BLOB, {column} TEXT)")
        database.executemany("INSERT INTO patches VALUES (?, NULL, ?)", rows)


def test_a_query_of_the_file_s_own_is_not_run(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "v.gpkg") as database:
        database.execute("CREATE VIEW endless AS SELECT 'a' AS patch_id, 'b' AS split_1")
    with pytest.raises(DataError, match="no table has the columns patch_id and split"):
        read_columns(str(tmp_path / "v.gpkg"), "patch_id", "split")


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTENTS)
def test_archives_become_a_table(name: str, hub: Path, tmp_path: Path, capsys) -> None:
    """Five steps by the published split; of its five columns one is in the generated file."""
    protocol = tmp_path / "mine.toml"
    text = (FOLDER / "flairhub-official-splits.toml").read_text().replace('"flairhub"', f'"{name}"')
    protocol.write_text(text.replace("tables = ", "# "))
    run = ["run", str(protocol), "--data", str(hub), "--partial", "--method", "source-only", "--preset", "tiny"]
    run += ["--steps", "5", "--checkpoints", "1", "--batch-size", "2", "--crop", "16", "--accelerator", "cpu"]
    assert main([*run, "--workers", "1", "--stores", str(tmp_path / "s"), "--results", str(tmp_path / "r")]) == 0
    assert re.search(r"source-only .*\d", capsys.readouterr().out)
    cells = pd.read_csv(next((tmp_path / "r").rglob("cells.csv")))
    assert set(cells["fold"]) == {"split_1"}


def test_ground_of_two_years_is_on_one_side_of_a_run(tmp_path: Path, write_hub) -> None:
    """Regions have other names in the second year, and are half a patch aside."""
    for year, name, aside in (("2018", "AF", 0), ("2021", "UN", 51.2)):
        for region in range(8):
            write_hub(tmp_path / "hub", f"D017-{year}", f"{name}-S1-{region}", "0-0", 400_000 + 1000 * region + aside)
    catalog = read_flairhub(tmp_path / "hub")
    protocol = load("flairhub-same-department-other-year", partial=True)
    folds = cut(protocol, catalog.patches)
    assert [fold.name for fold in folds] == ["D017 2018 to 2021", "D017 2021 to 2018"]
    ground = catalog.patches.set_index("id")[["zone", "place"]].assign(image="", mask="").join(catalog.footprints)
    check_ground(protocol, folds, ground)
    apart = ground.assign(zone=ground.index)
    with pytest.raises(ProtocolError, match="show the same ground"):
        check_ground(protocol, cut(protocol, catalog.patches.assign(zone=apart["zone"].to_numpy())), apart)


def test_other_archives_are_left_alone(hub: Path) -> None:
    with zipfile.ZipFile(hub / "data/D012-2019_SPOT_RGBI.zip", "w") as archive:
        archive.writestr("D012-2019_SPOT_RGBI/AF-S1-3/D012-2019_SPOT_RGBI_AF-S1-3_0-0.tif", b"no image")
    assert len(read_flairhub(hub)) == 16


def test_the_table_of_a_large_copy_is_kept_with_its_splits_and_ground(hub: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(catalog_cache, "LARGE", 1)
    monkeypatch.setattr(catalog_cache, "FOLDER", tmp_path / "catalogs")
    first = read_flairhub(hub)
    monkeypatch.setattr(flairhub, "_headers", lambda images: pytest.fail("the images are opened again"))
    again = read_flairhub(hub)
    assert again.patches.equals(first.patches) and again.footprints.equals(first.footprints)
    assert set(again.patches["split_1"]) == {"train", "valid", "test"}
    with pytest.raises(pytest.fail.Exception):  # its masks are others, and so is its table
        read_flairhub(hub, "flairhub-lpis")
