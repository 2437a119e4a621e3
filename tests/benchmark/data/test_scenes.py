"""Images too large to be read at once: read piece by piece, they give what the whole gives."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from benchmark.data import areas
from benchmark.data.catalog import Catalog
from benchmark.data.folder import read_folder
from benchmark.data.shards import plan_shards
from benchmark.data.store import open_store

HEIGHT, WIDTH = 150, 200
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 255, (3, HEIGHT, WIDTH), dtype=np.uint8)
MASK = RNG.integers(0, 3, (1, HEIGHT, WIDTH), dtype=np.uint8)
DESCRIPTION = """
name = "scenes"
bands = ["red", "green", "blue"]
patch_size = 16
image = "{town:1}.tif"
mask = "{town}_mask.tif"
place = "{town}"
ignore = [0]
classes = [{name = "a", color = "#000001", value = 1}, {name = "b", color = "#000002", value = 2}]
"""
Switch = Callable[[], None]
TILED = {"tiled": True, "blockxsize": 32, "blockysize": 32}
LAYOUTS = {
    "strips": {"blockysize": 4},
    "tiles": {**TILED, "compress": "deflate"},
    "bands apart": {**TILED, "interleave": "band"},
    "big": {**TILED, "BIGTIFF": "YES", "compress": "lzw"},
}


def _write(
    path: Path, array: np.ndarray, *written: Window, size: tuple[int, int] = (HEIGHT, WIDTH), **keys: Any
) -> Path:
    """A GeoTIFF of 2 m pixels; of a sparse one only some areas are written."""
    profile = {"count": len(array), "height": size[0], "width": size[1], "dtype": array.dtype, "crs": "EPSG:32631"}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(500_000, 5e6, 2, 2), **profile | keys) as file:
        for area in written or (Window(0, 0, size[1], size[0]),):
            rows, columns = area.toslices()
            file.write(array[:, rows, columns] if array.shape[1:] == size else array, window=area)
    return path


@pytest.fixture
def towns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "a.tif", IMAGE)
    _write(tmp_path / "a_mask.tif", MASK)
    (tmp_path / "scenes.toml").write_text(DESCRIPTION)
    return tmp_path / "scenes.toml"


@pytest.fixture
def by_pieces(monkeypatch: pytest.MonkeyPatch) -> Switch:
    """From its call on, images of more than 1000 pixels are read in pieces of 12 kB."""

    def switch() -> None:
        monkeypatch.setattr(areas, "LARGE", 1000)
        monkeypatch.setattr(areas, "PIECE_BYTES", 12_000)

    return switch


def _decoded(catalog: Catalog, folder: Path) -> dict[str, Any]:
    store = open_store(catalog, folder)
    rows = np.arange(len(store.ids))
    masks = store.labels_of(rows).read(rows)
    return {"ids": store.ids, "images": store.read(rows), "masks": masks, "valid": store.valid, "digest": store.digest}


def _same(description: Path, by_pieces: Switch) -> Catalog:
    """Compare the patches of an image read at once and read by pieces; return the catalog of these."""
    whole = _decoded(read_folder(description), description.parent / "whole")
    by_pieces()
    catalog = read_folder(description)
    assert catalog.pieces
    parts = _decoded(catalog, description.parent / "parts")
    assert parts["ids"] == whole["ids"]
    for name in ("images", "masks", "valid"):
        np.testing.assert_array_equal(parts[name], whole[name])
    assert parts["digest"] == whole["digest"]
    return catalog


@pytest.mark.parametrize("scale", [1, 0.5, 0.3, 0.77])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_pieces_give_what_the_whole_gives(towns: Path, by_pieces: Switch, layout: str, scale: float) -> None:
    _write(towns.parent / "a.tif", IMAGE, **LAYOUTS[layout])
    _write(towns.parent / "a_mask.tif", MASK, **LAYOUTS[layout])
    towns.write_text(DESCRIPTION.replace("place =", f"scale = {scale}\nplace ="))
    catalog = _same(towns, by_pieces)
    assert sum(plan.num_files for plan in plan_shards(catalog)) > 1


def test_an_image_with_overviews_is_read_at_its_full_size(towns: Path, by_pieces: Switch) -> None:
    with rasterio.open(_write(towns.parent / "a.tif", IMAGE, **LAYOUTS["tiles"]), "r+") as file:
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    _same(towns, by_pieces)


def test_bands_nodata_and_sixteen_bits_are_as_in_small_images(towns: Path, by_pieces: Switch) -> None:
    deep = IMAGE.astype(np.uint16) * 30
    deep[:, 40:60, 50:90] = 0
    _write(towns.parent / "a.tif", deep, nodata=0, **LAYOUTS["tiles"])
    towns.write_text(DESCRIPTION.replace("place =", 'use = ["blue", "red"]\nscale = 0.5\nplace ='))
    _same(towns, by_pieces)


def test_a_palette_mask_gives_its_colours(towns: Path, by_pieces: Switch) -> None:
    path = _write(towns.parent / "a_mask.tif", MASK, **LAYOUTS["tiles"])
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (0, 0, 0), 1: (0, 0, 1), 2: (0, 0, 2)})
    towns.write_text(DESCRIPTION.replace("[0]", '["#000000"]').replace(", value = 1", "").replace(", value = 2", ""))
    _same(towns, by_pieces)


def test_each_block_is_decoded_about_once(towns: Path, by_pieces: Switch, monkeypatch) -> None:
    _write(towns.parent / "a.tif", IMAGE, **LAYOUTS["tiles"])
    by_pieces()
    blocks: Counter[tuple[int, int]] = Counter()
    read = areas.Area.read

    def counted(area: areas.Area, *bands: int) -> np.ndarray:
        rows, columns = area._window.toslices()
        if area.count == 3:
            blocks.update(
                (row, column)
                for row in range(rows.start // 32, -(-rows.stop // 32))
                for column in range(columns.start // 32, -(-columns.stop // 32))
            )
        return read(area, *bands)

    monkeypatch.setattr(areas.Area, "read", counted)
    open_store(read_folder(towns), towns.parent / "stores")
    twice = {block for block, count in blocks.items() if count > 1}  # the first patch shows the type of the numbers
    assert len(blocks) == 5 * 7 and twice == {(0, 0)} and blocks[0, 0] == 2


# --- what holds no data


@pytest.mark.parametrize("tag", [0, None])
def test_windows_that_a_sparse_file_does_not_hold_are_left_out(
    towns: Path, by_pieces: Switch, caplog: pytest.LogCaptureFixture, tag: int | None
) -> None:
    """Of 5 x 7 blocks two are written, one of them half; without a nodata tag the other half is black."""
    written = Window(32, 32, 32, 32), Window(64, 32, 16, 32)
    _write(towns.parent / "a.tif", IMAGE, *written, nodata=tag, SPARSE_OK=True, **LAYOUTS["tiles"])
    by_pieces()
    catalog = read_folder(towns)
    expected = {(row, column) for row in (32, 48) for column in (32, 48, 64, *([80] if tag is None else []))}
    assert set(zip(catalog.patches["row"], catalog.patches["column"], strict=True)) == expected
    assert f"{129 - len(expected)} windows of large images hold no data" in caplog.text
    assert _decoded(catalog, towns.parent / "s")["valid"].tolist() == [256] * len(expected)


def test_a_window_that_is_partly_in_a_sparse_file_is_ignored_elsewhere(towns: Path, by_pieces) -> None:
    written = Window(32, 32, 32, 32)
    _write(towns.parent / "a.tif", IMAGE, written, SPARSE_OK=True, **LAYOUTS["tiles"])
    towns.write_text(DESCRIPTION.replace("patch_size = 16", "patch_size = 40"))
    by_pieces()
    read = _decoded(read_folder(towns), towns.parent / "s")
    assert sorted(read["ids"]) == ["a/r0_c0", "a/r0_c40", "a/r40_c0", "a/r40_c40"]
    assert read["valid"].tolist() == [64, 8 * 24, 24 * 8, 24 * 24]
    assert (read["masks"][0][:32] == 255).all()


def test_a_dense_file_of_nodata_is_looked_through_once(towns: Path, by_pieces, monkeypatch) -> None:
    image = np.zeros_like(IMAGE)
    image[:, 33:35, 100] = 7
    _write(towns.parent / "a.tif", image, nodata=0, blockysize=4)
    by_pieces()
    first = read_folder(towns)
    assert first.patches["id"].tolist() == ["a/r32_c96"]
    monkeypatch.setattr("benchmark.data.scenes.read_pixels", lambda *_: pytest.fail("read again"))
    assert read_folder(towns).patches.equals(first.patches)


def test_a_sparse_raster_of_40000_pixels_is_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = {
        "SPARSE_OK": True,
        "BIGTIFF": "YES",
        "size": (40_000, 40_000),
        **TILED,
        "blockxsize": 512,
        "blockysize": 512,
    }
    island = Window(20_000, 20_000, 700, 700)
    _write(tmp_path / "a.tif", np.ones((3, 700, 700), np.uint8), island, nodata=0, **keys)
    _write(tmp_path / "a_mask.tif", np.ones((1, 700, 700), np.uint8), island, **keys)
    (tmp_path / "scenes.toml").write_text(DESCRIPTION.replace("patch_size = 16", "patch_size = 256"))
    started = time.perf_counter()
    catalog = read_folder(tmp_path / "scenes.toml")
    store = open_store(catalog, tmp_path / "stores")
    assert time.perf_counter() - started < 10  # 2 s on one core
    assert len(store.ids) == 9 and store.valid.sum() == 700**2
    assert store.class_counts(np.arange(9)).sum(0).tolist()[:2] == [700**2, 0]


def test_a_header_that_lists_no_blocks_is_no_scene(tmp_path: Path) -> None:
    file = rasterio.open(_write(tmp_path / "a.tif", IMAGE, **TILED))
    assert not areas.is_scene(file, 10_000)
    areas_large = areas.LARGE
    try:
        areas.LARGE = 100
        assert areas.is_scene(file, 10_000) and not areas.is_scene(file, 5 * 7 * 6 - 1)
    finally:
        areas.LARGE = areas_large


MEASURE = """
import resource, sys
from pathlib import Path
from benchmark.data.folder import read_folder
from benchmark.data.store import open_store

catalog = read_folder(Path(sys.argv[1]))
print(len(open_store(catalog, Path(sys.argv[1]).parent / "stores").ids))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_raster(tmp_path: Path) -> None:
    """One of 4608² pixels, and one of 40,000² (1.6 GB) of which every fifth block is written."""
    used = []
    for side, step in ((4608, 1), (40_000, 5)):
        folder = tmp_path / str(side)
        folder.mkdir()
        corners = [(row, column) for row in range(0, side, 512) for column in range(0, side, 512)][::step]
        keys = {"blockxsize": 512, "blockysize": 512, "compress": "deflate", "SPARSE_OK": True, "tiled": True}
        windows = [Window(column, row, min(512, side - column), min(512, side - row)) for row, column in corners]
        profile = {"count": 1, "height": side, "width": side, "dtype": "uint8", **keys}
        with (
            pytest.warns(rasterio.errors.NotGeoreferencedWarning),
            rasterio.open(folder / "a.tif", "w", driver="GTiff", **profile) as file,
        ):
            for window in windows:
                file.write(np.full((1, window.height, window.width), 7, np.uint8), window=window)
        text = DESCRIPTION.replace('["red", "green", "blue"]', '["red"]').replace('mask = "{town}_mask.tif"', "")
        (folder / "scenes.toml").write_text(text.replace("patch_size = 16", "patch_size = 512"))
        command = [sys.executable, "-c", MEASURE, str(folder / "scenes.toml")]
        output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout.split()
        assert int(output[0]) > 0.9 * len(corners)
        used.append(float(output[1]))
    assert used[1] < used[0] + 60  # MiB
