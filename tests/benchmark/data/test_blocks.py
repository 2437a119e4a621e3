"""Block zones: one image is split on the ground, the same at every time, with a buffer between the squares."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin

from benchmark.common.errors import DataError
from benchmark.data.blocks import read_blocks
from benchmark.data.catalog import Catalog
from benchmark.data.folder import read_folder
from benchmark.data.georeference import Georeference

DESCRIPTION = """
name = "blocks"
bands = ["red"]
patch_size = 8
image = "{town}_{year:%Y}.tif"
place = "{town}"
time = "{year}"
zone = "block:40 m"
classes = [{name = "a", color = "#000001"}, {name = "b", color = "#000002"}]
"""


def _write(path: Path, height: int, width: int, place: Affine, crs: Any = "EPSG:32631") -> None:
    profile = {"count": 1, "height": height, "width": width, "dtype": "uint8", "transform": place, "crs": crs}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(np.random.default_rng(0).integers(0, 9, (1, height, width), dtype=np.uint8))


def _catalog(folder: Path, zone: str, more: str = "") -> Catalog:
    text = DESCRIPTION.replace("block:40 m", zone)
    (folder / "blocks.toml").write_text(text.replace("zone =", f"{more}\nzone ="))
    return read_folder(folder / "blocks.toml")


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """One ground in two years: 64 x 64 pixels of 2 m, the later image 32 m further west and south."""
    _write(tmp_path / "t_2018.tif", 64, 64, from_origin(500_000, 5_000_000, 2, 2))
    _write(tmp_path / "t_2019.tif", 64, 64, from_origin(499_968, 4_999_968, 2, 2))
    return tmp_path


def test_a_window_belongs_to_the_square_that_holds_its_centre(town: Path) -> None:
    patches = _catalog(town, "block:40 m").patches
    assert len(patches) == 128
    expected = "t/b" + (patches["y"] // 40).astype(int).astype(str) + "_" + (patches["x"] // 40).astype(int).astype(str)
    assert patches["zone"].tolist() == expected.tolist()


def test_a_place_of_which_no_window_is_left_is_named(town: Path) -> None:
    """Windows of 16 m in squares of 48 m with a buffer of 24 m: of the second town, no window is in the middle."""
    _write(town / "u_2018.tif", 8, 16, from_origin(520_000 - 520_000 % 48 - 8, 5_000_000, 2, 2))
    assert set(_catalog(town, "block:48 m").patches["place"]) == {"t", "u"}
    with pytest.raises(DataError, match=r"no window of 8 pixels of u in 2018 is left; make blocks larger, or the buff"):
        _catalog(town, "block:48 m, buffer 24 m")


def test_one_ground_has_one_zone_at_every_time(town: Path) -> None:
    patches = _catalog(town, "block:40 m").patches
    zones = patches.pivot_table(index=["x", "y"], columns="time", values="zone", aggfunc="first").dropna()
    assert len(zones) > 4 and (zones["2018"] == zones["2019"]).all()


@pytest.mark.parametrize(("side", "more"), [(100, ""), (112, "scale = 0.5")])
def test_windows_of_two_squares_are_a_buffer_apart(
    town: Path, side: int, more: str, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = _catalog(town, f"block:{side} m, buffer 12 m", more)
    boxes = catalog.footprints
    assert boxes is not None and len(boxes) >= 6
    assert f"{(128 if not more else 32) - len(boxes)} windows are too near to the border" in caplog.text
    zones = catalog.patches.set_index("id")["zone"]
    assert zones.nunique() > 2
    for one, other in combinations(boxes.index, 2):
        if zones[one] != zones[other]:
            first, second = boxes.loc[one], boxes.loc[other]
            gaps = (first["west"] - second["east"], second["west"] - first["east"])
            heights = (first["south"] - second["north"], second["south"] - first["north"])
            assert max(*gaps, *heights) >= 12 - 1e-6


def test_the_buffer_is_half_on_either_side_of_a_border() -> None:
    blocks = read_blocks("block:100 m, buffer 12 m")
    assert blocks is not None
    name = blocks.on(Georeference(Affine.identity(), CRS.from_epsg(32631)), Path("i"))
    assert [name((start, 206, end, 294)) for start, end in ((6, 94), (5.9, 90), (10, 94.1))] == ["b2_0", None, None]
    assert [name((10, south, 20, north)) for south, north in ((205.9, 290), (210, 294.1))] == [None, None]


def test_pixels_are_counted_from_the_corner_of_the_image(town: Path) -> None:
    patches = _catalog(town, "{town}/{year}/block:24px").patches
    rows, columns = patches["row"] // 24, patches["column"] // 24
    assert (
        patches["zone"].tolist()
        == ("t/" + patches["time"] + "/b" + rows.astype(str) + "_" + columns.astype(str)).tolist()
    )
    assert len(_catalog(town, "block:24 px, buffer 8 px").patches) == 2 * (1 + 1 + 1) ** 2


def test_squares_of_degrees_and_feet_have_sides_in_metres() -> None:
    blocks = read_blocks("block:1000 m")
    assert blocks is not None
    for lat in (0.0, 45.0, -60.0):
        name = blocks.on(Georeference(Affine.identity(), CRS.from_epsg(4326)), Path("i"))
        step = 1e-5
        east = pd.Series([name((lon, lat, lon + step, lat + step)) for lon in np.arange(7, 7.4, step * 20)])
        north = pd.Series([name((7, y, 7 + step, y + step)) for y in np.arange(lat, lat + 0.2, step * 20)])
        metres = 111_320 * 20 * step
        assert np.median(east.value_counts()) * metres * np.cos(np.radians(lat)) == pytest.approx(1000, rel=0.03)
        assert np.median(north.str.split("_").str[0].value_counts()) * metres == pytest.approx(1000, rel=0.03)
    in_feet = blocks.on(Georeference(Affine.identity(), CRS.from_epsg(2227)), Path("i"))
    assert [in_feet((feet, 0, feet + 2, 2)) for feet in (3200, 3300, 6600)] == ["b0_0", "b0_1", "b0_2"]


@pytest.mark.parametrize(
    "zone",
    ["block:256", "block:m", "block:0 m", "block:10 m, buffer 10 m", "block:9 m, buffer 2 px", "block: 5 m of {town}"],
)
def test_what_is_no_square_is_refused(town: Path, zone: str) -> None:
    with pytest.raises(DataError, match=r"key 'zone': '.*' must be like 'block:256 m'"):
        _catalog(town, zone)


def test_squares_in_metres_need_a_place(town: Path) -> None:
    _write(town / "t_2019.tif", 64, 64, from_origin(0, 0, 2, 2), None)
    with pytest.raises(DataError, match=r"key 'zone': blocks in metres need a coordinate system, and .*t_2019\.tif"):
        _catalog(town, "block:40 m")


def test_squares_too_small_for_a_window_are_refused(town: Path) -> None:
    with pytest.raises(DataError, match=r"key 'zone': no window of 8 pixels of t in 2018, t in 2019 is left"):
        _catalog(town, "block:20 m, buffer 8 m")
