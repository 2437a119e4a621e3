"""Tiles of one grid are one image: windows cross their borders, and what no tile covers holds no data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from benchmark.common.errors import DataError
from benchmark.data.folder import read_folder
from benchmark.data.patches import Patches, read_patches
from benchmark.data.shards import plan_shards

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 255, (3, 24, 24), dtype=np.uint8)
MASK = RNG.integers(1, 3, (1, 24, 24), dtype=np.uint8)
DESCRIPTION = """
name = "mosaic"
bands = ["red", "green", "blue"]
patch_size = 8
image = "{town}/{tile}.tif"
mask = "{town}/masks/{tile}.tif"
mosaic = "{town}"
place = "{town}"
classes = [{name = "a", color = "#000001", value = 1}, {name = "b", color = "#000002", value = 2}]
"""


def _write(path: Path, array: np.ndarray, row: int, column: int, **keys: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    place = from_origin(500_000 + 2 * column, 5e6 - 2 * row, 2, 2)
    profile = {"count": len(array), "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
    colors = keys.pop("colors", None)
    with rasterio.open(path, "w", driver="GTiff", **{"transform": place, "crs": "EPSG:32631"} | profile | keys) as file:
        file.write(array)
        if colors:
            file.write_colormap(1, colors)


def _tiles(folder: Path, array: np.ndarray, **keys: Any) -> None:
    """Three of four tiles of 12 x 12 pixels: the one on the lower right is missing."""
    for row, column in ((0, 0), (0, 12), (12, 0)):
        _write(folder / f"t{row}_{column}.tif", array[:, row : row + 12, column : column + 12], row, column, **keys)


@pytest.fixture
def towns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    _tiles(tmp_path / "t", IMAGE)
    _tiles(tmp_path / "t/masks", MASK)
    (tmp_path / "mosaic.toml").write_text(DESCRIPTION)
    return tmp_path / "mosaic.toml"


def _whole(description: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image, mask and where there are data, put together again from the patches."""
    catalog = read_folder(description)
    read: Patches = read_patches(catalog, catalog.patches)
    assert read.valid is not None
    image, mask = np.zeros_like(IMAGE), np.full(MASK.shape[1:], 255, np.uint8)
    valid = np.zeros(MASK.shape[1:], bool)
    for number, (row, column) in enumerate(catalog.patches[["row", "column"]].to_numpy()):
        window = np.s_[row : row + 8, column : column + 8]
        image[:, *window], mask[window], valid[window] = read.images[number], read.masks[number], read.valid[number]
    return image, mask, valid


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("nodata", [None, 0])
def test_windows_cross_the_borders_of_tiles(towns: Path, nodata: int | None, large: bool, monkeypatch) -> None:
    _tiles(towns.parent / "t", IMAGE, nodata=nodata)
    if large:
        monkeypatch.setattr("benchmark.data.areas.LARGE", 100)
    catalog = read_folder(towns)
    assert bool(catalog.pieces) == large
    ids = [f"t/r{row}_c{column}" for row in (0, 16, 8) for column in (0, 16, 8)]
    assert catalog.patches["id"].tolist() == [each for each in ids if not (large and each == "t/r16_c16")]
    assert set(catalog.patches["zone"]) == {"t"}
    image, mask, valid = _whole(towns)
    there = np.ones((24, 24), bool)
    there[12:, 12:] = False
    assert np.array_equal(valid, there)
    assert np.array_equal(image[:, there], IMAGE[:, there])
    assert np.array_equal(mask, np.where(there, MASK[0] - 1, 255))


def test_names_of_bands_and_colour_tables_are_kept(towns: Path) -> None:
    colors = {0: (0, 0, 0, 255), 1: (0, 0, 1, 255), 2: (0, 0, 2, 255)}
    _tiles(towns.parent / "t/masks", MASK, colors=colors)
    for path in (towns.parent / "t").glob("*.tif"):
        with rasterio.open(path, "r+") as file:
            file.descriptions = ("blue", "green", "red")
    towns.write_text(DESCRIPTION.replace(", value = 1", "").replace(", value = 2", ""))
    image, mask, valid = _whole(towns)
    assert np.array_equal(image[:, valid], IMAGE[::-1][:, valid])
    assert np.array_equal(mask[valid], MASK[0][valid] - 1)


def test_changed_tiles_give_new_shards_and_unchanged_ones_the_same(towns: Path) -> None:
    names = [plan.name for plan in plan_shards(read_folder(towns))]
    assert [plan.name for plan in plan_shards(read_folder(towns))] == names
    _tiles(towns.parent / "t", 255 - IMAGE)
    assert [plan.name for plan in plan_shards(read_folder(towns))] != names


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"transform": from_origin(500_001, 5e6, 2, 2)}, "is not on the grid of .*t0_0.tif"),
        ({"transform": from_origin(500_000, 5e6, 3, 3)}, "is not on the grid"),
        ({"crs": "EPSG:32632"}, "differs from .*t0_0.tif, a tile of the same mosaic"),
        ({"nodata": 3}, "differs from"),
        ({"transform": None}, "has no georeference"),
        ({"photometric": "CMYK", "count": 4}, "is turned, in inks"),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_tile_that_does_not_fit_is_named(towns: Path, keys: dict[str, Any], message: str) -> None:
    array = np.ones((keys.get("count", 3), 12, 12), np.uint8)
    _write(towns.parent / "t/t12_0.tif", array, 12, 0, **keys)
    with pytest.raises(DataError, match=rf"t12_0\.tif: {message}"):
        read_folder(towns)


def test_tiles_of_one_mosaic_have_one_place(towns: Path) -> None:
    towns.write_text(DESCRIPTION.replace('place = "{town}"', 'place = "{tile}"'))
    with pytest.raises(DataError, match=r"key 'mosaic': .* are of the mosaic 't', but have place 't0_12' and 't0_0'"):
        read_folder(towns)


def test_a_virtual_raster_of_others_is_no_image(towns: Path) -> None:
    read_folder(towns)
    made = sorted(Path(".landshift/catalogs").glob("*.vrt"))[0]
    (towns.parent / "t/copied.vrt").write_bytes(made.read_bytes())
    text = DESCRIPTION.replace("/{tile}.tif", "/{tile}.vrt").replace('mosaic = "{town}"', "")
    towns.write_text(text.replace('mask = "{town}/masks/{tile}.vrt"', ""))
    with pytest.raises(DataError, match=r"copied\.vrt: cannot be read"):
        read_folder(towns)


def test_tiles_that_are_far_apart_are_refused(towns: Path) -> None:
    _write(towns.parent / "t/t0_0.tif", IMAGE[:, :12, :12], 0, 10_000_000)
    _write(towns.parent / "t/masks/t0_0.tif", MASK[:, :12, :12], 0, 10_000_000)
    with pytest.raises(DataError, match=r"so far apart that they cover less than 0.1% of its .* wrong georeference"):
        read_folder(towns)
