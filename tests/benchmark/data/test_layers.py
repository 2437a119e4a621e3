"""Images of several files: their bands are one image, and what does not fit together is named."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from benchmark.common.errors import DataError
from benchmark.data import layers
from benchmark.data.folder import read_folder
from benchmark.data.patches import read_patches
from benchmark.data.shapes import shape_of
from benchmark.data.shards import plan_shards
from benchmark.data.store import open_store

RNG = np.random.default_rng(0)
COLORS = RNG.integers(1, 255, (3, 24, 24), dtype=np.uint8)
NIR = RNG.integers(1, 255, (1, 24, 24), dtype=np.uint8)
MASK = RNG.integers(1, 3, (24, 24), dtype=np.uint8)
DESCRIPTION = """
name = "layers"
bands = ["red", "green", "blue", "nir"]
patch_size = 8
image = ["{town:1}_rgb.tif", "{town:1}_nir.tif"]
mask = "{town}_mask.tif"
place = "{town}"
classes = [{name = "a", color = "#000001", value = 1}, {name = "b", color = "#000002", value = 2}]
"""


def _write(path: Path, array: np.ndarray, pixel: float = 2, **keys: Any) -> None:
    profile = {"count": len(array), "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
    place = {"transform": from_origin(500_000, 5e6, pixel, pixel), "crs": "EPSG:32631"}
    with rasterio.open(path, "w", driver="GTiff", **place | profile | keys) as file:
        file.write(array)


@pytest.fixture
def towns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "t_rgb.tif", COLORS, tiled=True, blockxsize=16, blockysize=16)
    _write(tmp_path / "t_nir.tif", NIR, tiled=True, blockxsize=16, blockysize=16)
    _write(tmp_path / "t_mask.tif", MASK[None])
    (tmp_path / "layers.toml").write_text(DESCRIPTION)
    return tmp_path / "layers.toml"


def _whole(description: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image, mask and where there are data, put together from the patches, each piece read on its own."""
    catalog = read_folder(description)
    plans = plan_shards(catalog)
    read = [(rows, read_patches(catalog, rows)) for plan in plans for rows in plan.files()]
    kind = read[0][1].images.dtype
    image, mask = np.zeros((len(catalog.bands), 24, 24), kind), np.full((24, 24), 255, np.uint8)
    valid = np.zeros((24, 24), bool)
    for rows, patches in read:
        for number, (row, column) in enumerate(rows[["row", "column"]].to_numpy()):
            window = np.s_[row : row + 8, column : column + 8]
            image[:, *window], mask[window] = patches.images[number], patches.masks[number]
            valid[window] = True if patches.valid is None else patches.valid[number]
    return image, mask, valid


def _make_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.data.areas.LARGE", 200)
    monkeypatch.setattr("benchmark.data.areas.PIECE_BYTES", 16 * 16 * 3)


@pytest.mark.parametrize("large", [False, True])
def test_the_bands_of_all_files_are_one_image(towns: Path, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        _make_large(monkeypatch)
    assert bool(read_folder(towns).pieces) == large
    assert read_folder(towns).patches["id"].tolist()[0] == "t/r0_c0"
    image, mask, valid = _whole(towns)
    assert np.array_equal(image, np.concatenate([COLORS, NIR])) and np.array_equal(mask, MASK - 1) and valid.all()


def test_bands_are_chosen_by_name_or_number(towns: Path) -> None:
    towns.write_text(f'use = ["nir", 1]{DESCRIPTION}')
    assert read_folder(towns).bands == ("nir", "red") and shape_of(str(towns)).bands == 2  # type: ignore[union-attr]
    assert np.array_equal(_whole(towns)[0], np.concatenate([NIR, COLORS[:1]]))
    for wrong in (0, 5):
        towns.write_text(f"use = [{wrong}]{DESCRIPTION}")
        with pytest.raises(DataError, match=f"key 'use': there is no band number {wrong}, but 1 to 4"):
            read_folder(towns)


def test_pieces_of_all_files_are_read(towns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make_large(monkeypatch)
    pixels = []

    def noted(path, names, area, real=layers.read_pixels):
        read = real(path, names, area)
        pixels.append(read.bands.shape[1:])
        return read

    monkeypatch.setattr(layers, "read_pixels", noted)
    _whole(towns)
    assert len(pixels) == 8 and max(height * width for height, width in pixels) == 16 * 16


@pytest.mark.parametrize("large", [False, True])
def test_a_pixel_has_data_if_all_files_have(towns: Path, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        _make_large(monkeypatch)
    colors, nir = COLORS.copy(), NIR.copy()
    colors[:, 3, 3] = nir[:, 20, 4] = 0
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    _write(towns.parent / "t_rgb.tif", np.concatenate([colors, np.full((1, 24, 24), 255, np.uint8)]), **tiles)
    with rasterio.open(towns.parent / "t_rgb.tif", "r+") as file:
        file.nodata = 0
    _write(towns.parent / "t_nir.tif", nir, nodata=0, **tiles)
    valid = _whole(towns)[2]
    assert np.argwhere(~valid).tolist() == [[3, 3], [20, 4]]


@pytest.mark.parametrize("large", [False, True])
def test_a_file_of_larger_pixels_is_sampled(towns: Path, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        _make_large(monkeypatch)
    coarse = RNG.integers(1, 255, (1, 11, 12), dtype=np.uint8)
    _write(towns.parent / "t_nir.tif", coarse, pixel=4)
    image, mask, valid = _whole(towns)
    assert np.array_equal(image[:3], COLORS) and np.array_equal(image[3, :22], coarse[0].repeat(2, 0).repeat(2, 1))
    assert valid[:22].all() and not valid[22:].any() and (mask[22:] == 255).all()


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_files_of_other_types(towns: Path, kind: str) -> None:
    _write(towns.parent / "t_rgb.tif", COLORS.astype(kind) * 100)
    with pytest.raises(DataError, match=rf"t_nir\.tif: pixels are uint8, but those of .*t_rgb\.tif {kind}"):
        _whole(towns)
    _write(towns.parent / "t_nir.tif", NIR.astype(kind) * 100)
    assert np.array_equal(_whole(towns)[0], np.concatenate([COLORS, NIR]).astype(kind) * 100)


def test_pictures_without_a_place(towns: Path) -> None:
    Image.fromarray(COLORS.transpose(1, 2, 0)).convert("RGBA").save(towns.parent / "t_rgb.png")
    Image.fromarray(NIR[0]).save(towns.parent / "t_NIR.PNG")
    towns.write_text(DESCRIPTION.replace("rgb.tif", "rgb.png").replace("nir.tif", "NIR.png"))
    assert np.array_equal(_whole(towns)[0], np.concatenate([COLORS, NIR]))
    Image.fromarray(NIR[0, :20]).save(towns.parent / "t_NIR.PNG")
    with pytest.raises(DataError, match=r"t_NIR\.PNG: 24 x 20 pixels, but its image .*t_rgb\.png has 24 x 24"):
        read_folder(towns)


def test_tiles_of_several_files_are_one_mosaic(towns: Path) -> None:
    for name, array in (("rgb", COLORS), ("nir", NIR)):
        (towns.parent / f"t_{name}.tif").unlink()
        for row in (0, 12):
            place = from_origin(500_000, 5e6 - 2 * row, 2, 2)
            _write(towns.parent / f"t_{row}_{name}.tif", array[:, row : row + 12], transform=place)
    towns.write_text('mosaic = "{town}"' + DESCRIPTION.replace("{town:1}_", "{town:1}_{row}_"))
    assert np.array_equal(_whole(towns)[0], np.concatenate([COLORS, NIR]))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            ("{town:1}_nir.tif", "{town}_ir.tif"),
            r"key 'image': .*t_ir\.tif is missing, a further file of the image .*t_rgb\.tif",
        ),
        (("{town:1}_nir.tif", "{part}.tif"), "nothing gives {part} of '{part}.tif'"),
        (("{town:1}_nir.tif", "../{town}.tif"), "key 'image' must be a path below the root, or a list of such"),
        (('["{town:1}_rgb.tif", "{town:1}_nir.tif"]', "[]"), "key 'image' must be a path below the root"),
        (('"nir"]', '"nir", "height"]'), r"_rgb\.tif \(3\), .*_nir\.tif \(1\): not together the 5 bands"),
    ],
)
def test_a_mistake_is_named(towns: Path, edit: tuple[str, str], message: str) -> None:
    towns.write_text(DESCRIPTION.replace(*edit))
    with pytest.raises(DataError, match=message):
        _whole(towns)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"transform": from_origin(500_004, 5e6, 2, 2)}, r"is 4 beside its image .*t_rgb\.tif"),
        ({"transform": from_origin(700_000, 5e6, 3, 3)}, r"shows other ground than its image .*t_rgb\.tif"),
        ({"crs": "EPSG:32632"}, "is in the coordinate system EPSG:32632"),
    ],
)
def test_a_file_of_another_place_is_named(towns: Path, keys: dict[str, Any], message: str) -> None:
    _write(towns.parent / "t_nir.tif", NIR, **keys)
    with pytest.raises(DataError, match=rf"t_nir\.tif: {message}"):
        read_folder(towns)


def test_two_ways_to_count_the_bands_are_refused(towns: Path) -> None:
    for name in ("rgb", "nir"):
        Image.fromarray(RNG.integers(0, 255, (24, 24, 4), dtype=np.uint8)).save(towns.parent / f"t_{name}.png")
    towns.write_text(
        DESCRIPTION.replace(".tif", ".png")
        .replace('"nir"]', '"nir", "x", "y", "z"]')
        .replace("{town}_mask.png", "{town}_mask.tif")
    )
    with pytest.raises(DataError, match=r"in more than one way the 7 bands that are expected"):
        _whole(towns)


def test_a_change_in_any_file_is_noticed(towns: Path, tmp_path: Path) -> None:
    first = open_store(read_folder(towns), tmp_path / "stores").digest
    assert open_store(read_folder(towns), tmp_path / "stores").digest == first
    name, stamp = plan_shards(read_folder(towns))[0].name, (towns.parent / "t_nir.tif").stat()
    _write(towns.parent / "t_nir.tif", 255 - NIR, tiled=True, blockxsize=16, blockysize=16)
    os.utime(towns.parent / "t_nir.tif", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert plan_shards(read_folder(towns))[0].name == name  # by size and time they are the same
    assert open_store(read_folder(towns), tmp_path / "stores").digest != first


def test_another_order_of_the_files_is_other_data(towns: Path) -> None:
    _write(towns.parent / "t_sar.tif", NIR)
    names = set()
    for order in ("nir sar", "sar nir"):
        files = ", ".join(f'"{{town}}_{each}.tif"' for each in order.split())
        text = DESCRIPTION.replace('"{town:1}_nir.tif"', files).replace('"nir"]', '"x", "y"]')
        towns.write_text(text)
        names.add(plan_shards(read_folder(towns))[0].name)
    assert len(names) == 2
