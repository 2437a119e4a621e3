"""Masks as polygons: each pixel is of the polygon that holds its centre."""

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from rasterio.warp import transform

from benchmark.common.errors import DataError
from benchmark.data.catalog import Catalog
from benchmark.data.folder import read_folder
from benchmark.data.patches import read_patches
from benchmark.data.shards import plan_shards

WEST, NORTH = 500_000, 5_000_000
DESCRIPTION = """
name = "poly"
bands = ["red"]
patch_size = 16
image = "{town}.tif"
mask = "labels.gpkg"
mask_field = "class"
place = "{town}"
classes = [{name = "grass", color = "#000001", value = 7}, {name = "wood", color = "#000002", value = [3, 4]}]
"""
HOUSE = shapely.box(2, 3, 7, 9)
WOOD = shapely.Polygon([(0, 0), (16, 0), (16, 13), (0, 13)], [[(10, 1), (14, 1), (14, 5), (10, 5)]])


def _image(path: Path, **keys: Any) -> None:
    """32 x 16 pixels of 2 m, georeferenced."""
    profile = {"count": 1, "height": 32, "width": 16, "dtype": "uint8", "crs": "EPSG:32631"} | keys
    with rasterio.open(path, "w", driver="GTiff", **{"transform": from_origin(WEST, NORTH, 2, 2)} | profile) as file:
        file.write(np.random.default_rng(0).integers(1, 9, (1, 32, 16), dtype=np.uint8))


def _polygons(path: Path, shapes: list[Any], values: list[Any], crs: str | None = "EPSG:32631", **keys: Any) -> None:
    """Polygons given in pixels of the image, from its top left."""

    def placed(points: np.ndarray) -> np.ndarray:
        points = np.stack([WEST + 2 * points[:, 0], NORTH - 2 * points[:, 1]], 1)
        return points if crs in ("EPSG:32631", None) else np.stack(transform("EPSG:32631", crs, *points.T), 1)

    kind = keys.pop("geometry_type", "Polygon")
    wkb = shapely.to_wkb(shapely.transform(np.array(shapes), placed))
    fields = {"field_data": [np.array(values)], "fields": ["class"], "geometry_type": kind, "crs": crs}
    pyogrio.raw.write(path, geometry=np.asarray(wkb, object), **fields | keys)


@pytest.fixture
def town(tmp_path: Path) -> Path:
    _image(tmp_path / "a.tif")
    _polygons(tmp_path / "labels.gpkg", [WOOD, HOUSE], ["wood", "grass"])
    (tmp_path / "poly.toml").write_text(DESCRIPTION)
    return tmp_path / "poly.toml"


def _edit(description: Path, old: str, new: str) -> Path:
    assert old in DESCRIPTION
    description.write_text(DESCRIPTION.replace(old, new))
    return description


def _mask(catalog: Catalog) -> np.ndarray:
    return read_patches(catalog, catalog.patches).masks.reshape(32, 16)


def _expected(background: int = 255) -> np.ndarray:
    mask = np.full((32, 16), background, np.uint8)
    mask[:13] = 1
    mask[1:5, 10:14] = background
    mask[3:9, 2:7] = 0
    return mask


def test_a_pixel_is_of_the_last_polygon_that_holds_its_centre(town: Path) -> None:
    assert np.array_equal(_mask(read_folder(town)), _expected())
    _polygons(town.parent / "labels.gpkg", [shapely.box(0.51, 0, 3.49, 2)], ["grass"])
    assert np.argwhere(_mask(read_folder(town)) == 0).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


@pytest.mark.parametrize("ending", ["geojson", "shp"])
@pytest.mark.parametrize("values", [["wood", "grass"], [4, 7], [3.0, 7.0], ["4", "7"]])
def test_kinds_of_files_and_attributes(town: Path, ending: str, values: list[Any]) -> None:
    crs = "EPSG:4326" if ending == "geojson" else "EPSG:32631"
    _polygons(town.parent / f"labels.{ending}", [WOOD, HOUSE], values, crs)
    assert np.array_equal(_mask(read_folder(_edit(town, "labels.gpkg", f"labels.{ending}"))), _expected())


def test_polygons_of_another_system_are_brought_to_the_image(town: Path) -> None:
    for crs in ("EPSG:4326", "EPSG:32632", "EPSG:3857"):
        _polygons(town.parent / "labels.gpkg", [WOOD, HOUSE], ["wood", "grass"], crs)
        assert np.array_equal(_mask(read_folder(town)), _expected())
    _polygons(town.parent / "labels.gpkg", [WOOD, HOUSE], ["wood", "grass"], None)
    assert np.array_equal(_mask(read_folder(town)), _expected())


def test_what_is_in_no_polygon_may_be_a_class(town: Path) -> None:
    read = _mask(read_folder(_edit(town, "mask_field =", 'background = "grass"\nmask_field =')))
    assert np.array_equal(read, _expected(background=0))


def test_an_attribute_may_be_ignored_or_empty(town: Path) -> None:
    values = np.array(["wood", "road", None], object)
    _polygons(town.parent / "labels.gpkg", [WOOD, HOUSE, shapely.box(0, 0, 1, 1)], values.tolist())
    with pytest.raises(DataError, match=r"labels\.gpkg: the attribute 'class' holds 'road', which are no class; known"):
        read_folder(town)
    mask = _mask(read_folder(_edit(town, "mask_field =", 'ignore = ["road"]\nmask_field =')))
    expected = np.where(_expected() == 0, 255, _expected())
    expected[0, 0] = 255
    assert np.array_equal(mask, expected)


def test_by_windows_and_shrunk_it_is_the_same(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _edit(town, "patch_size = 16", "patch_size = 4\nscale = 0.5")
    whole = read_folder(town)
    monkeypatch.setattr("benchmark.data.areas.LARGE", 64)
    monkeypatch.setattr("benchmark.data.areas.PIECE_BYTES", 200)
    _image(town.parent / "a.tif", blockysize=4)
    catalog = read_folder(town)
    assert catalog.pieces
    for (_, one), (_, other) in zip(whole.patches.iterrows(), catalog.patches.iterrows(), strict=True):
        masks = [read_patches(each, row.to_frame().T).masks for each, row in ((whole, one), (catalog, other))]
        assert np.array_equal(*masks)
    assert np.array_equal(read_patches(whole, whole.patches).masks[0], _expected()[1:9:2, 1:9:2])


def test_a_changed_attribute_of_a_shapefile_gives_new_shards(town: Path) -> None:
    _polygons(town.parent / "labels.shp", [WOOD, HOUSE], ["wood", "grass"])
    catalog = read_folder(_edit(town, "labels.gpkg", "labels.shp"))
    (before,) = plan_shards(catalog)
    attributes = town.parent / "labels.dbf"
    attributes.write_bytes(attributes.read_bytes().replace(b"wood ", b"grass"))
    (after,) = plan_shards(catalog)
    assert before.name != after.name


def test_polygons_of_other_ground_are_refused(town: Path) -> None:
    far = shapely.transform(HOUSE, lambda points: points + 5000)
    _polygons(town.parent / "labels.gpkg", [far], ["wood"])
    with pytest.raises(DataError, match=r"labels\.gpkg: shows other ground than its images; its polygons are within"):
        read_folder(town)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('mask_field = "class"', "", "key 'mask_field' is missing"),
        ('mask_field = "class"', 'mask_field = "kind"', "no attribute 'kind' .* attributes are class"),
        ('mask = "labels.gpkg"', 'mask = "{town}.tif"', "key 'mask_field' is for masks that are polygons"),
        ("place =", 'background = "sea"\nplace =', "key 'background' must be one of grass, wood, not 'sea'"),
        ('{name = "grass", ', "{", "classes, number 1: key 'name' is missing"),
    ],
)
def test_a_key_that_does_not_fit_is_named(town: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_folder(_edit(town, old, new))


def test_files_that_do_not_fit_are_named(town: Path) -> None:
    labels = town.parent / "labels.gpkg"
    whole = labels.read_bytes()
    for content, message in (
        (b"<OGRVRTDataSource><OGRVRTLayer name='x'/></OGRVRTDataSource>", r"labels\.gpkg: is no gpkg file"),
        (whole[:5000], r"labels\.gpkg: cannot be read, perhaps damaged"),
    ):
        labels.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_folder(town)
    labels.unlink()
    _polygons(labels, [shapely.Point(3, 3)], ["wood"], geometry_type="Point")
    with pytest.raises(DataError, match=r"labels\.gpkg: holds POINT where polygons are expected"):
        _mask(read_folder(town))
    _polygons(labels, [WOOD], ["wood"], layer="second", append=True)
    with pytest.raises(DataError, match=r"labels\.gpkg: holds 2 layers of shapes \(labels, second\)"):
        read_folder(town)


def test_an_image_without_a_place_is_named(town: Path) -> None:
    _image(town.parent / "a.tif", crs=None, transform=None)
    with pytest.raises(DataError, match=r"key 'mask': .*a\.tif has no georeference, so polygons cannot be laid on it"):
        read_folder(town)
    _image(town.parent / "a.tif", crs=None)
    with pytest.raises(DataError, match=r"labels\.gpkg: is in EPSG:32631, and its image names no coordinate system"):
        read_folder(town)
