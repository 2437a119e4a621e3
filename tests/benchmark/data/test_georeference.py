"""Files say where they lie: a mask is laid on its image, and distances are in metres."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform

from benchmark.common.errors import DataError
from benchmark.data.folder import read_folder
from benchmark.data.georeference import Georeference, grid_on, in_metres
from benchmark.data.patches import read_patches
from protocols.distances import ON_EARTH, nearest, positions
from protocols.ground import overlaps

DESCRIPTION = """
name = "geo"
bands = ["red"]
patch_size = 8
image = "{town}/image.tif"
mask = "{town}/mask.tif"
place = "{town}"
classes = [{name = "a", color = "#000001", value = 1}, {name = "b", color = "#000002", value = 2}]
"""
MASK = np.random.default_rng(0).integers(1, 3, (1, 16, 8), dtype=np.uint8)
IMAGE = np.random.default_rng(1).integers(0, 99, (1, 16, 8), dtype=np.uint8)


def _write(path: Path, array: np.ndarray, place: Affine, crs: Any, **keys: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = array.shape
    profile = {"count": count, "height": height, "width": width, "dtype": array.dtype, "transform": place, "crs": crs}
    with rasterio.open(path, "w", driver="GTiff", **profile, **keys) as file:
        file.write(array)


@pytest.fixture
def geo(tmp_path: Path) -> Path:
    """Two towns of 2 m pixels, 10 km apart; x and y are in no key of the description."""
    (tmp_path / "geo.toml").write_text(DESCRIPTION)
    for town, west in (("a", 500_000), ("b", 510_000)):
        for name, array in (("image", IMAGE), ("mask", MASK)):
            _write(tmp_path / f"{town}/{name}.tif", array, from_origin(west, 5_000_000, 2, 2), "EPSG:32631")
    return tmp_path / "geo.toml"


def _masks(description: Path) -> np.ndarray:
    catalog = read_folder(description)
    return read_patches(catalog, catalog.patches.iloc[:2]).masks.reshape(16, 8) + np.uint8(1)


def test_centres_and_footprints_come_from_the_files(geo: Path) -> None:
    catalog = read_folder(geo)
    assert catalog.patches[["x", "y"]].to_numpy().tolist() == [
        [west + 8, 5_000_000 - south] for west in (500_000, 510_000) for south in (8, 24)
    ]
    assert catalog.footprints is not None
    assert catalog.footprints.loc["b/r8_c0"].tolist() == [510_000, 4_999_968, 510_016, 4_999_984]
    geo.write_text(DESCRIPTION.replace("place =", 'x = "3"\ny = "4"\nscale = 0.5\nplace ='))
    given = read_folder(geo)
    assert given.patches[["x", "y"]].iloc[0].tolist() == [3, 4]
    assert given.footprints is not None and given.footprints.iloc[0].tolist() == [
        500_000,
        4_999_968,
        500_016,
        5_000_000,
    ]


@pytest.mark.parametrize("other", ["EPSG:32632", "EPSG:4326"])
def test_places_of_several_systems_lie_in_one_plane_of_metres(geo: Path, other: str) -> None:
    """40 km from west to east over the border of two UTM zones; or degrees for one of the towns."""
    for town, lon in (("a", 5.75), ("b", 6.25)):
        crs = "EPSG:32631" if town == "a" else other
        (x,), (y,) = transform("EPSG:4326", crs, [lon], [45.0])
        size = 2 if crs != "EPSG:4326" else 2e-5
        for name, array in (("image", IMAGE), ("mask", MASK)):
            _write(geo.parent / f"{town}/{name}.tif", array, from_origin(x, y, size, size), crs)
    patches = read_folder(geo).patches
    middles = patches.groupby("place")[["x", "y"]].mean()
    assert np.hypot(*(middles.loc["a"] - middles.loc["b"])) == pytest.approx(39_427, rel=2e-3)
    towns = [patches[patches["place"] == town] for town in "ab"]
    assert nearest(*towns) == pytest.approx(39_427, rel=2e-3) and positions(patches).shape[1] == 3


def test_feet_become_metres() -> None:
    boxes = [(6e6, 2e6, 6e6 + 1000, 2e6 + 1000)]
    metres = in_metres(boxes, [rasterio.crs.CRS.from_epsg(2227)])
    assert metres is not None
    for box in (metres.boxes[0], metres.footprints[0]):
        assert box[2] - box[0] == pytest.approx(304.8, rel=0.01)
    assert in_metres(boxes, [None]) is None


CORNERS = {32631: (300_000, 6_900_000), 32655: (700_000, 4_900_000), 32719: (300_000, 6_000_000), 32701: (1e5, 8e6)}
CORNERS |= {3035: (2_800_000, 5_000_000)}  # Iceland, where this system's north is turned by 25 degrees


def _grids() -> pd.DataFrame:
    """Four neighbours of 640 m at each of five corners, in all continents and oceans, and one of them twice."""
    boxes = [
        (west + 640 * column, south + 640 * row, west + 640 * (column + 1), south + 640 * (row + 1))
        for west, south in CORNERS.values()
        for row in range(2)
        for column in range(2)
    ]
    systems = [rasterio.crs.CRS.from_epsg(code) for code in CORNERS for _ in range(4)]
    metres = in_metres([*boxes, boxes[0]], [*systems, systems[0]])
    assert metres is not None and metres.lonlat is not None
    table = pd.DataFrame(metres.footprints, columns=["west", "south", "east", "north"])
    return table.assign(
        zone=range(len(table)), **dict(zip(ON_EARTH, metres.lonlat.T, strict=True)), x=metres.boxes[:, 0], y=0.0
    )


def test_neighbours_in_far_systems_do_not_overlap() -> None:
    assert overlaps(_grids()) == [(0, 20, pytest.approx(1))]


def test_distances_are_along_the_ground_however_far_apart_places_are() -> None:
    grids = _grids()
    first = grids.iloc[0:20:4]
    beside, above = grids.iloc[1:20:4], grids.iloc[2:20:4]
    for others in (beside, above):  # a kilometre of a system is not quite one on the ground
        assert nearest(first, others) == pytest.approx(640, rel=0.02)
    degrees = pd.DataFrame({"longitude": [0.0, 179.9, 0], "latitude": [0.0, 0, 51.5], "x": 0, "y": 0})
    east = pd.DataFrame({"longitude": [90.0, -179.9], "latitude": [0.0, 0], "x": 0, "y": 0})
    quarter = np.pi / 2 * 6_371_009
    assert nearest(degrees, east)[:2] == pytest.approx([quarter, 0.2 / 90 * quarter], rel=3e-3)
    london, york = degrees[2:], pd.DataFrame({"longitude": [-74.0], "latitude": [40.7], "x": 0, "y": 0})
    assert nearest(london, york) == pytest.approx(5_586_000, rel=3e-3)


def test_places_on_both_sides_of_the_date_line_are_near() -> None:
    boxes = [(179.9, -17, 179.901, -16.999), (-179.9, -17, -179.899, -16.999)]
    metres = in_metres(boxes, [rasterio.crs.CRS.from_epsg(4326)] * 2)
    assert metres is not None
    assert np.hypot(*(metres.boxes[0, :2] - metres.boxes[1, :2])) == pytest.approx(21_300, rel=0.01)


def test_pixels_without_an_area_are_refused(geo: Path) -> None:
    _write(geo.parent / "a/mask.tif", MASK, Affine(2, 0, 500_000, 0, 0, 5_000_000), "EPSG:32631")
    with pytest.raises(DataError, match=r"a/mask.tif: by its georeference a pixel has no area"):
        _masks(geo)


def test_a_box_nowhere_on_the_earth_is_refused() -> None:
    systems = [rasterio.crs.CRS.from_epsg(code) for code in (32631, 32632)]
    boxes = [(5e5, 5e6, 5e5 + 640, 5e6 + 640), (1e8, 5e6, 1e8 + 640, 5e6 + 640)]
    with pytest.raises(DataError, match=r"images in EPSG:32632 at 1e\+08 to .* nowhere on the earth"):
        in_metres(boxes, systems)
    with pytest.raises(DataError, match=r"images in EPSG:4326 at 8 to 8 and 95"):
        in_metres([(8, 95, 8.0001, 95.0001)], [rasterio.crs.CRS.from_epsg(4326)])


def test_where_one_file_says_nothing_none_is_placed(geo: Path) -> None:
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        _write(geo.parent / "b/image.tif", IMAGE, Affine.identity(), None)
    catalog = read_folder(geo)
    assert catalog.footprints is None and catalog.patches["x"].isna().all()


def test_a_mask_with_its_rows_upwards_is_turned(geo: Path) -> None:
    upwards = Affine(2, 0, 500_000, 0, 2, 5_000_000 - 32)
    _write(geo.parent / "a/mask.tif", MASK[:, ::-1], upwards, "EPSG:32631")
    assert np.array_equal(_masks(geo), MASK[0])
    _write(geo.parent / "a/mask.tif", MASK[:, ::-1, ::-1], Affine(-2, 0, 500_016, 0, 2, 5_000_000 - 32), "EPSG:32631")
    assert np.array_equal(_masks(geo), MASK[0])


def test_a_system_without_a_code_is_the_images(geo: Path) -> None:
    plain = rasterio.crs.CRS.from_proj4("+proj=utm +zone=31 +ellps=GRS80 +towgs84=1,2,3 +units=m")
    _write(geo.parent / "a/mask.tif", MASK, from_origin(500_000.9, 5_000_000, 2, 2), plain)  # within a pixel
    assert np.array_equal(_masks(geo), MASK[0])


@pytest.mark.parametrize(
    ("place", "crs", "message"),
    [
        (
            from_origin(500_320, 5_000_000, 2, 2),
            "EPSG:32631",
            r"is 320 beside its image .*160.0 columns and 0.0 rows",
        ),
        (from_origin(500_000, 5_000_002, 2, 2), "EPSG:32631", "is 2 beside"),
        (from_origin(500_000, 5_000_100, 3, 3), "EPSG:32631", "shows other ground .* 0% of the smaller"),
        (from_origin(500_014, 5_000_030, 3, 2), "EPSG:32631", "shows other ground .* 1% of the smaller"),
        (Affine(2, 1, 500_000, 0, -2, 5_000_000), "EPSG:32631", "is turned against its image"),
        (from_origin(500_000, 5_000_000, 2, 2), "EPSG:32632", "EPSG:32632, its image .* in EPSG:32631"),
    ],
)
def test_a_mask_beside_its_image_is_refused(geo: Path, place: Affine, crs: str, message: str) -> None:
    _write(geo.parent / "a/mask.tif", MASK, place, crs)
    with pytest.raises(DataError, match=rf"a/mask\.tif: .*{message}"):
        _masks(geo)


FINE = np.random.default_rng(2).integers(1, 3, (1, 48, 24), dtype=np.uint8)


@pytest.mark.parametrize("by_pieces", [False, True])
@pytest.mark.parametrize(
    ("mask", "place", "expected"),
    [
        (FINE, from_origin(500_000, 5_000_000, 2 / 3, 2 / 3), FINE[0, 1::3, 1::3]),
        (FINE[:, ::-1], Affine(2 / 3, 0, 500_000, 0, 2 / 3, 5_000_000 - 32), FINE[0, 1::3, 1::3]),
        (MASK[:, ::2, ::2], from_origin(500_000, 5_000_000, 4, 4), MASK[0, ::2, ::2].repeat(2, 0).repeat(2, 1)),
        (FINE, from_origin(500_000 - 10, 5_000_000 + 20, 2, 2), FINE[0, 10:26, 5:13]),
        (FINE, from_origin(500_000 - 10.9, 5_000_000 + 20.9, 2, 2), FINE[0, 10:26, 5:13]),
        (FINE, from_origin(500_000 - 11, 5_000_000 + 21, 2, 2), FINE[0, 11:27, 6:14]),
        (MASK[:, :12, 2:], from_origin(500_004, 5_000_000, 2, 2), np.pad(MASK[0, :12, 2:], ((0, 4), (2, 0)))),
    ],
)
def test_a_mask_on_another_grid_is_sampled_at_the_centres(
    geo: Path, mask: np.ndarray, place: Affine, expected: np.ndarray, by_pieces: bool, monkeypatch
) -> None:
    """A finer one, one upside down, a coarser, a larger, two off its grid, one without some rows and columns."""
    _write(geo.parent / "a/mask.tif", mask, place, "EPSG:32631")
    if by_pieces:
        monkeypatch.setattr("benchmark.data.areas.LARGE", 64)
        monkeypatch.setattr("benchmark.data.areas.PIECE_BYTES", 64)
        _write(geo.parent / "a/image.tif", IMAGE, from_origin(500_000, 5_000_000, 2, 2), "EPSG:32631", blockysize=4)
    assert len(read_folder(geo).pieces) == by_pieces
    assert np.array_equal(_masks(geo), expected)  # 0 is what is ignored, of which the number is 255


def test_a_colour_mask_is_turned_whole() -> None:
    colors = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    north, south = Georeference(from_origin(0, 2, 1, 1), None), Georeference(Affine(1, 0, 0, 0, 1, 0), None)
    size = (2, 3)
    assert np.array_equal(grid_on(size, south, size, north, Path("m"), Path("i")).take(colors), colors[::-1])
    assert grid_on(size, None, size, north, Path("m"), Path("i")).is_same(colors.shape)


def test_neighbours_in_two_zones_touch_and_do_not_overlap():
    """A square of UTM is turned by up to some degrees in the common plane: its box there must not grow."""
    boxes = [(x, 5_800_000.0, x + 640, 5_800_640.0) for x in (200_000.0, 200_640.0, 800_000.0)]
    metres = in_metres(boxes, [rasterio.crs.CRS.from_epsg(code) for code in (32632, 32632, 32633)])
    assert metres is not None
    west, _, east, _ = metres.footprints.T
    assert np.allclose(east - west, 640, rtol=0.01) and east[0] - west[1] < 0.01 * 640
