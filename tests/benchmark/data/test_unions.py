"""Several sources in one description: what they have in common is one data set, each read in its own way."""

import logging
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.transform import from_origin

from benchmark.common.errors import DataError
from benchmark.data.classes import IGNORE
from benchmark.data.folder import read_folder
from benchmark.data.patches import read_patches
from benchmark.data.shapes import Shape, shape_of
from benchmark.data.shards import plan_shards
from benchmark.data.store import open_store
from benchmark.data.unions import sources_of

COLORS = np.array([[255, 255, 255], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)  # building, tree, car, nothing
DESCRIPTION = """
name = "both"
patch_size = 8
place = "{town}"

[[source]]
name = "colours"
root = "a"
bands = ["red", "green", "blue"]
image = "{town}.png"
mask = "m/{town}.png"
resolution = 0.3
ignore = ["#090909"]
classes = [
    {name = "building", color = "#ffffff"}, {name = "tree", color = "#00ff00"}, {name = "car", color = "#0000ff"},
]

[[source]]
name = "values"
root = "b"
bands = ["ir", "red", "green"]
image = "{town}.tif"
mask = "m/{town}.tif"
scale = 0.3
classes = [
    {name = "water", color = "#123456", value = 1}, {name = "tree", value = [2, 5]}, {name = "building", value = 3},
]
"""
SIDE = 54  # 16 pixels after the scale


def _write(path: Path, array: np.ndarray, pixel: float = 0.09, **keys: Any) -> None:
    place = {"transform": from_origin(500_000, 5e6, pixel, pixel), "crs": "EPSG:32631"}
    profile = {"count": len(array), "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
    with rasterio.open(path, "w", driver="GTiff", **place | profile | keys) as file:
        file.write(array)


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A town in colours without a place, and one in values with other bands and pixels of 0.09 m."""
    rng = np.random.default_rng(0)
    for folder in "ab":
        (tmp_path / folder / "m").mkdir(parents=True)
    Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "a/x.png")
    Image.fromarray(COLORS[np.arange(4).repeat(4)][:, None].repeat(16, 1)).save(tmp_path / "a/m/x.png")
    _write(tmp_path / "b/x.tif", rng.integers(0, 255, (3, SIDE, SIDE), dtype=np.uint8))
    _write(tmp_path / "b/m/x.tif", np.array([1, 2, 3, 5] * 14, np.uint8)[:SIDE].repeat(SIDE).reshape(1, SIDE, SIDE))
    (tmp_path / "both.toml").write_text(DESCRIPTION)
    return tmp_path / "both.toml"


def _edit(description: Path, *edits: tuple[str, str]) -> Path:
    text = description.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    description.write_text(text)
    return description


def test_the_common_bands_and_classes_are_taken_and_the_others_named(both: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        catalog = read_folder(both)
    assert (catalog.bands, catalog.classes.names) == (("red", "green"), ("building", "tree"))
    assert catalog.classes.colors == ("#ffffff", "#00ff00")
    assert "blue, car of colours; ir, water of values" in caplog.text and len(caplog.messages) == 1
    windows = ("r0_c0", "r0_c8", "r8_c0", "r8_c8")
    assert catalog.patches["id"].tolist() == [f"{name}/x/{each}" for name in ("colours", "values") for each in windows]
    assert set(catalog.patches["place"]) == {"x"} and set(catalog.patches["zone"]) == {"colours/x.png", "values/x.tif"}
    assert shape_of(str(both)) == Shape(2, 8, 2)


def test_each_source_is_read_in_its_own_way(both: Path) -> None:
    catalog = read_folder(both)
    first, second = (read_patches(catalog, rows) for _, rows in catalog.patches.groupby("image"))
    image = np.asarray(Image.open(both.parent / "a/x.png")).transpose(2, 0, 1)
    assert np.array_equal(first.images[0], image[:2, :8, :8])
    assert first.masks[[0, 2], :, 0].ravel().tolist() == [0] * 4 + [1] * 4 + [IGNORE] * 8
    with rasterio.open(both.parent / "b/x.tif") as file:
        means = file.read()[1:].mean((1, 2))
    assert second.images.mean((0, 2, 3)) == pytest.approx(means, abs=2)
    assert set(np.unique(second.masks)) == {0, 1, IGNORE} and first.unknown == second.unknown == {}


def test_the_store_holds_both_and_one_alone_gives_the_same_patches(both: Path, tmp_path: Path) -> None:
    digest = open_store(read_folder(both), tmp_path / "stores").digest
    assert open_store(read_folder(both), tmp_path / "again").digest == digest
    plans = {plan.name for plan in plan_shards(read_folder(both))}
    assert len(plans) == 2  # one of each source, although the domain is one
    _edit(both, ("value = 3", "value = 4"))
    kept = plans & {plan.name for plan in plan_shards(read_folder(both))}
    assert len(kept) == 1  # that of the other source


def test_unknown_values_are_named_as_their_source_has_them(both: Path, tmp_path: Path, caplog) -> None:
    _edit(both, ('ignore = ["#090909"]', "unknown_share = 1"), ("scale = 0.3", "scale = 0.3\nunknown_share = 1"))
    _edit(both, (", value = 1", ", value = 7"))
    with caplog.at_level(logging.WARNING):
        open_store(read_folder(both), tmp_path / "stores")
    assert "#090909 (64 pixels)" in caplog.text and " 1 (" in caplog.text


def test_shared_keys_hold_for_each_source(both: Path) -> None:
    both.write_text(
        """
        name = "both"
        root = "a"
        patch_size = 8
        bands = ["red", "green", "blue"]
        place = "{town}"
        zone = "{town}"
        source = [{image = "{town}.png", resolution = 0.3}, {image = "{town}.tif", root = "../b", scale = 0.3}]
        [[classes]]
        name = "building"
        color = "#ffffff"
        [[classes]]
        name = "other"
        color = "#00ff00"
        """
    )
    catalog = read_folder(both)
    assert len(catalog) == 8 and set(catalog.patches["zone"]) == {"x"}
    assert {patch.partition("/")[0] for patch in catalog.patches["id"]} == {"1", "2"}
    assert len(read_folder(both, both.parent / "a")) == 8  # roots of sources are below --data


def test_places_are_in_one_plane(both: Path) -> None:
    _edit(both, ('image = "{town}.png"', 'image = "{town}.tif"'))
    image = np.ones((3, 16, 16), np.uint8)
    _write(both.parent / "a/x.tif", image, 0.3, crs="EPSG:32630", transform=from_origin(500_000, 5e6, 0.3, 0.3))
    catalog = read_folder(both)
    here, there = (catalog.patches[catalog.patches["id"].str.startswith(name)]["x"].mean() for name in ("c", "v"))
    assert 400_000 < there - here < 500_000  # six degrees at 45 degrees north
    assert catalog.footprints is not None and catalog.footprints.notna().all(axis=None)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([("scale = 0.3", "")], "source 'values': has 0.09 m a pixel, but 'colours' 0.3 m; give 'values' scale = 0.3"),
        (
            [("scale = 0.3", "scale = 0.1")],
            "'colours': has 0.3 m a pixel, but 'values' 0.9 m; give 'colours' scale = 0.333",
        ),
        (
            [('["ir", "red", "green"]', '["ir", "swir", "x"]')],
            "have none of their bands in common.*values has ir, swir",
        ),
        (
            [('"tree", value', '"trees", color = "#777777", value')],
            "have building of their classes in common, 2 or more are needed: colours",
        ),
        ([("scale = 0.3", "scale = 0.3\npatch_size = 16")], "'patch_size' must be the same in all sources, not 8, 16"),
        ([('name = "values"', 'name = "colours"')], "names of the sources must be unlike texts, not colours, colours"),
        ([("resolution = 0.3", "resolutio = 0.3")], "source 'colours': unknown key 'resolutio'"),
        ([("resolution = 0.3", "resolution = 0")], "source 'colours': key 'resolution' must be a number of metres"),
        ([("resolution = 0.3", 'base = "dubai"')], "source 'colours': a source has no key 'base'"),
        ([('image = "{town}.tif"', 'image = "{town}.jpg"')], "source 'values': key 'image': no file in"),
        ([('root = "b"', 'root = "../out"')], "No such file or directory: .*out"),
        ([('"#123456", ', '"#12", ')], "source 'values': colour '#12' must be"),
        ([("[[source]]", "[[sources]]")], "unknown key 'sources'; allowed are .*source"),
        ([('name = "both"', 'name = "both"\nsource = 3'), ("[[source]]", "[[classes]]")], "source"),
    ],
)
def test_sources_that_do_not_fit_are_refused(both: Path, edits: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(DataError, match=rf"both\.toml: .*{message}"):
        read_folder(_edit(both, *edits))


def test_one_image_in_two_sources_is_refused(both: Path) -> None:
    text = DESCRIPTION.replace('root = "b"', 'root = "a"').replace(".tif", ".png").replace("scale = 0.3", "")
    both.write_text(text)
    with pytest.raises(DataError, match=r"source 'values': .*x\.png is an image of another source too"):
        read_folder(both)


def test_an_unknown_resolution_is_said(both: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        read_folder(_edit(both, ("resolution = 0.3", "")))
    assert "the metres a pixel of colours are not known" in caplog.text


def test_sources_of_two_types_are_refused(both: Path, tmp_path: Path) -> None:
    _write(both.parent / "b/x.tif", np.ones((3, SIDE, SIDE), np.uint16))
    with pytest.raises(DataError, match=r"pixels are uint16, but those of .* uint8; all images of a data set must be"):
        open_store(read_folder(both), tmp_path / "stores")


def test_a_source_of_several_files(both: Path) -> None:
    for band in range(3):
        _write(both.parent / f"b/x_{band}.tif", np.full((1, SIDE, SIDE), band, np.uint8))
    _edit(both, ('image = "{town}.tif"', 'image = ["{town}_0.tif", "{town}_1.tif", "{town}_2.tif"]'))
    catalog = read_folder(both)
    rows = catalog.patches[catalog.patches["id"].str.startswith("values")]
    assert read_patches(catalog, rows).images.mean((0, 2, 3)).tolist() == [1, 2]
    assert len({path for plan in plan_shards(catalog) for path in plan.stamps}) == 2 + 3 + 1


def test_a_source_of_polygons(both: Path) -> None:
    west, north, half = 500_000, 5e6, SIDE * 0.09 / 2
    boxes = [shapely.box(west + half * x, north - 2 * half, west + half * (x + 1), north) for x in (0, 1)]
    shapes = np.asarray(shapely.to_wkb(np.array(boxes)), object)
    fields = {"field_data": [np.array(["water", "5"])], "fields": ["cover"]}
    pyogrio.raw.write(both.parent / "b/x.gpkg", shapes, geometry_type="Polygon", crs="EPSG:32631", **fields)
    _edit(both, ('mask = "m/{town}.tif"', 'mask = "x.gpkg"\nmask_field = "cover"\nbackground = "water"'))
    catalog = read_folder(both)
    read = read_patches(catalog, catalog.patches[catalog.patches["id"].str.startswith("values")])
    assert (read.masks[[0, 2]] == IGNORE).all() and (read.masks[[1, 3]] == 1).all()


def test_the_example_of_the_documentation_is_right() -> None:
    page = (Path(__file__).parents[3] / "docs/data.md").read_text(encoding="utf-8")
    (example,) = [block for block in page.split("```") if "[[source]]\n" in block]
    sources = sources_of(tomllib.loads(example.removeprefix("toml")))
    assert [source.name for source in sources] == ["loveda", "potsdam", "vaihingen"]
    assert [source.left_out for source in sources] == [("blue", "water"), ("blue", "nir", "car"), ("nir", "car")]
    assert [source.settings["ignore"][-1] for source in sources] == [4, "#ffff00", "#ffff00"]
