import re

import numpy as np
import pyogrio
import pytest
import shapely
from scipy.ndimage import gaussian_filter, label

from benchmark.common.errors import DataError, SettingsError
from benchmark.maps import polygon_file, vectors
from benchmark.maps.legend import NO_DATA
from benchmark.maps.vectors import write_vectors
from tests.benchmark.maps.conftest import SMALL


def read(path, layer=None):
    about, _, shapes, values = pyogrio.raw.read(path, layer=layer)
    return about, shapely.from_wkb(shapes), dict(zip(about["fields"].tolist(), values, strict=True))


def patchy(height, width, seed=0, noise=0.05):
    """Return values in patches of all sizes, with a ring, and a corner without data."""
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.standard_normal((height, width)), 4) for _ in range(4)]
    values = np.array(SMALL.values, np.uint8)[np.argmax(fields, axis=0)]
    loose = rng.random((height, width)) < noise
    values[loose] = rng.choice(SMALL.values, loose.sum())
    values[: height // 4, : width // 4] = NO_DATA
    return values


def patches_of(values):
    """Return value and pixels of each patch of a map, by another way than polygons."""
    found = []
    for value in set(np.unique(values).tolist()) - {NO_DATA}:
        labels, number = label(values == value)
        found += [(value, int(pixels)) for pixels in np.bincount(labels.ravel())[1 : number + 1]]
    return sorted(found)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(vectors, "SIDE", 32)
    monkeypatch.setattr(vectors, "MARGIN", 16)
    monkeypatch.setattr(polygon_file, "_AT_ONCE", 50)


def test_polygons_are_the_patches_whatever_the_tiles(write_map, tmp_path, small_tiles):
    values = patchy(100, 130)
    values[40:90, 20:120] = 1  # a ring through many tiles, with an island
    values[45:85, 25:115] = 3
    percent = np.random.default_rng(1).integers(0, 101, values.shape).astype(np.uint8)
    facts = {"run": "r1", "method": "dann", "image_date": "2021-06"}
    made = write_map(values, percent, resolution=0.5, facts=facts)
    seen = []
    number = write_vectors(made, tmp_path / "town.gpkg", on_progress=lambda *done: seen.append(done))
    assert seen[-1] == (20, 20) and not list(tmp_path.glob("*.part*"))
    about, polygons, fields = read(tmp_path / "town.gpkg", "town")
    assert about["crs"] == "EPSG:2154" and about["geometry_type"] == "Polygon"
    assert number == len(polygons) and shapely.is_valid(polygons).all()
    pixels = np.round(shapely.area(polygons) / 0.25).astype(int)
    assert sorted(zip(fields["value"].tolist(), pixels.tolist(), strict=True)) == patches_of(values)
    assert fields["area_m2"] == pytest.approx(shapely.area(polygons))
    assert list(fields) == ["value", "name", "name_fr", "area_m2", "confidence", "run", "method", "image_date"]
    largest = np.argmax(pixels)
    assert fields["name"][largest] == "impervious surface" and fields["name_fr"][largest] == "zone imperméable"
    assert set(fields["method"]) == {"dann"}
    sums = fields["confidence"] * pixels
    assert sums.sum() == pytest.approx(percent[values != NO_DATA].sum())
    west, south, east, north = shapely.total_bounds(polygons)
    assert (west, south, east, north) == (700_000, 6_599_950, 700_065, 6_600_000)
    assert shapely.union_all(polygons).area == pytest.approx(shapely.area(polygons).sum())


def test_confidence_is_that_of_a_polygon_s_own_pixels(write_map, tmp_path):
    values = np.full((4, 6), 1, np.uint8)
    values[:, 3:] = 7
    percent = np.full((4, 6), 80, np.uint8)
    percent[:, 3:] = 40
    percent[0, 0] = NO_DATA
    write_vectors(write_map(values, percent), tmp_path / "m.gpkg")
    _, _, fields = read(tmp_path / "m.gpkg", "m")
    assert dict(zip(fields["value"].tolist(), fields["confidence"].tolist(), strict=True)) == {1: 80, 7: 40}


def test_simplified_outlines_leave_no_gap(write_map, tmp_path, small_tiles):
    values = patchy(100, 130, noise=0)
    made = write_map(values)
    write_vectors(made, tmp_path / "plain.gpkg")
    write_vectors(made, tmp_path / "simple.gpkg", simplify=2)
    _, plain, _ = read(tmp_path / "plain.gpkg", "plain")
    _, polygons, fields = read(tmp_path / "simple.gpkg", "simple")
    assert shapely.is_valid(polygons).all() and shapely.coverage_is_valid(polygons)
    assert shapely.get_num_coordinates(polygons).sum() < 0.7 * shapely.get_num_coordinates(plain).sum()
    # Only the edge of what has no data may move, and each outline by little.
    assert shapely.area(polygons).sum() == pytest.approx((values != NO_DATA).sum(), rel=0.001)
    assert fields["area_m2"].sum() == (values != NO_DATA).sum()
    moved = np.abs(fields["area_m2"] - shapely.area(polygons))
    assert (moved <= shapely.length(polygons)).all() and moved.max() > 0


def test_a_long_line_has_the_corners_of_its_neighbours(write_map, tmp_path):
    rng = np.random.default_rng(0)
    values = np.full((20, 49), 1, np.uint8)  # k / 49 * 49 is not always k
    values[10:] = np.repeat(rng.choice([3, 7, 10], 49), rng.integers(1, 9, 49))[:49]
    write_vectors(write_map(values, corner=(0, 0)), tmp_path / "m.gpkg", simplify=0.5)
    assert shapely.coverage_is_valid(read(tmp_path / "m.gpkg", "m")[1])


def test_an_outline_turns_left_and_a_hole_right(write_map, tmp_path):
    values = np.full((30, 30), 1, np.uint8)
    values[10:20, 10:20] = 7
    write_vectors(write_map(values), tmp_path / "m.gpkg", simplify=0.5)
    _, polygons, fields = read(tmp_path / "m.gpkg", "m")
    around = polygons[fields["value"] == 1][0]
    assert shapely.is_ccw(around.exterior) and not shapely.is_ccw(around.interiors[0])


def test_small_patches_get_the_class_around_them(write_map, tmp_path, small_tiles):
    values = np.full((100, 100), 7, np.uint8)
    values[:, 60:] = 10
    values[30:34, 30:33] = 1  # 12 pixels of 0.25 m² over four tiles: 3 m²
    values[80:84, 20:24] = 3  # 4 m²
    values[5, 5] = NO_DATA
    made = write_map(values, resolution=0.5)
    write_vectors(made, tmp_path / "m.gpkg", min_area=3.1)
    _, _, fields = read(tmp_path / "m.gpkg", "m")
    assert sorted(fields["value"].tolist()) == [3, 7, 10]
    assert sorted(fields["area_m2"].tolist()) == [4.0, 1000.0, 1495.75]
    write_vectors(made, tmp_path / "n.gpkg", min_area=3.0)
    _, _, fields = read(tmp_path / "n.gpkg", "n")
    assert sorted(fields["value"].tolist()) == [1, 3, 7, 10]
    assert fields["area_m2"][fields["value"] == 1].tolist() == [3.0]


def test_a_patch_of_just_the_smallest_area_stays(write_map, tmp_path):
    values = np.full((9, 9), 7, np.uint8)
    values[4, 3:5] = 1
    made = write_map(values, resolution=0.7)  # 0.7 * 0.7 is a little less than 0.49
    write_vectors(made, tmp_path / "m.gpkg", min_area=0.98)
    assert sorted(read(tmp_path / "m.gpkg", "m")[2]["value"].tolist()) == [1, 7]


def test_areas_of_degrees_are_of_the_earth(write_map, tmp_path):
    made = write_map(np.full((10, 10), 1, np.uint8), resolution=1e-5, corner=(2.0, 45.0), crs="EPSG:4326")
    write_vectors(made, tmp_path / "m.gpkg")
    _, _, fields = read(tmp_path / "m.gpkg", "m")
    assert fields["area_m2"][0] == pytest.approx(100 * 1.1113 * 0.7884, rel=0.002)


def test_a_map_without_data_or_french_has_an_empty_layer(write_map, tmp_path):
    legend = type(SMALL)("l", tuple(type(each)(each.value, each.name, each.color) for each in SMALL.classes))
    (tmp_path / "m.part.gpkg").write_text("left by a kill")
    assert write_vectors(write_map(np.full((5, 5), NO_DATA, np.uint8), legend=legend), tmp_path / "m.gpkg") == 0
    about, polygons, _ = read(tmp_path / "m.gpkg", "m")
    assert len(polygons) == 0 and about["fields"].tolist() == ["value", "name", "area_m2"]


def test_qgis_finds_the_style(write_map, tmp_path):
    write_vectors(write_map(np.full((5, 5), 1, np.uint8)), tmp_path / "m.gpkg")
    _, _, fields = read(tmp_path / "m.gpkg", "layer_styles")
    assert (fields["f_table_name"][0], fields["f_geometry_column"][0], bool(fields["useAsDefault"][0])) == (
        "m",
        "geom",
        True,
    )
    assert 'attr="value"' in fields["styleQML"][0]


@pytest.mark.parametrize("asked", [{"min_area": -1}, {"simplify": float("nan")}, {"min_area": float("inf")}])
def test_numbers_are_checked(write_map, tmp_path, asked):
    with pytest.raises(SettingsError, match=re.escape("must be a number of at least 0")):
        write_vectors(write_map(np.full((5, 5), 1, np.uint8)), tmp_path / "m.gpkg", **asked)


def test_no_place_is_refused(write_map, tmp_path):
    with pytest.raises(DataError, match="names no coordinate system"):
        write_vectors(write_map(np.full((5, 5), 1, np.uint8), crs=None), tmp_path / "m.gpkg")
