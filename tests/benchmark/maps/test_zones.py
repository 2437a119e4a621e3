import numpy as np
import pytest
import shapely
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.warp import transform as transform_points
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.maps import pieces as subject
from benchmark.maps.zone_counts import count_zones, row_areas
from benchmark.maps.zones import WHOLE, Zones, outline, read_zones

WEST, NORTH = 700_000.0, 6_600_000.0
RANDOM = np.random.default_rng(0)
VALUES = np.array([1, 3, 7, 10, 255], np.uint8)[RANDOM.integers(0, 5, (60, 80))]


def box(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    """Return a box by columns and rows of the map."""
    return shapely.box(WEST + left, NORTH - bottom, WEST + right, NORTH - top)


def zones_of(*polygons, crs="EPSG:2154") -> Zones:
    names = tuple(f"zone {number}" for number in range(len(polygons)))
    return Zones(names, np.array(polygons, object), CRS.from_user_input(crs))


@pytest.fixture(params=[1024, 16])
def pieces(request, monkeypatch):
    monkeypatch.setattr(subject, "SIDE", request.param)


def by_class(values) -> list[int]:
    return [int((values == value).sum()) for value in (1, 3, 7, 10)]


def test_a_pixel_is_of_every_zone_that_holds_its_centre(write_map, pieces):
    percent = RANDOM.integers(0, 101, VALUES.shape).astype(np.uint8)
    percent[VALUES == 255] = 255
    made = write_map(VALUES, percent, resolution=1.0)
    triangle = shapely.Polygon([(WEST + 3.2, NORTH - 2.1), (WEST + 71.7, NORTH - 20.4), (WEST + 30.3, NORTH - 55.9)])
    shapes = [box(10.6, 5.4, 40.4, 30.6), box(20, 20, 60, 50), triangle]
    rows, columns = np.mgrid[:60, :80] + 0.5
    counted = count_zones([made], zones_of(*shapes))
    for zone, shape in zip(counted, shapes, strict=True):
        inside = shapely.contains_xy(shape, WEST + columns, NORTH - rows)
        assert zone.pixels.tolist() == by_class(VALUES[inside])
        assert zone.area.tolist() == pytest.approx(by_class(VALUES[inside]))
        assert zone.no_data == (VALUES[inside] == 255).sum()
        assert zone.coverage == pytest.approx(1)
        means = [percent[inside & (value == VALUES)].mean() for value in (1, 3, 7, 10)]
        assert zone.confidence.tolist() == pytest.approx(means)


def test_neighbours_share_no_pixel_and_lose_none(write_map, pieces):
    made = write_map(VALUES)
    edge = [(WEST + 33.5, NORTH - 60), (WEST + 33.5, NORTH - 31.5), (WEST + 50.5, NORTH - 31.5), (WEST + 47.3, NORTH)]
    left = shapely.Polygon([*edge, (WEST, NORTH), (WEST, NORTH - 60)])
    right = shapely.Polygon([*edge, (WEST + 80, NORTH), (WEST + 80, NORTH - 60)])
    counted = count_zones([made], zones_of(left, right))
    whole = count_zones([made])[0]
    assert (counted[0].pixels + counted[1].pixels).tolist() == whole.pixels.tolist() == by_class(VALUES)
    assert whole.no_data == counted[0].no_data + counted[1].no_data and whole.name == WHOLE


def test_what_is_outside_is_said(write_map):
    made = write_map(VALUES)
    counted = count_zones([made], zones_of(box(-40, 0, 40, 60), box(500, 0, 600, 10), box(5.6, 5.6, 6.4, 6.4)))
    assert [zone.coverage for zone in counted] == pytest.approx([0.5, 0, 1])
    assert counted[0].pixels.tolist() == by_class(VALUES[:, :40])
    assert counted[1].pixels.sum() == 0 and np.isnan(counted[1].confidence).all()
    assert counted[2].pixels.sum() == 0
    with pytest.raises(DataError, match="all 2 zones are outside"):
        count_zones([made], zones_of(box(500, 0, 600, 10), box(80, 0, 90, 10)))


def test_maps_side_by_side_are_one(write_map):
    whole = write_map(VALUES, name="whole")
    tiles = [
        write_map(VALUES[:, start : start + 40], name=f"tile{start}", corner=(WEST + start, NORTH)) for start in (0, 40)
    ]
    zones = zones_of(box(30.2, 5, 55.7, 44), box(60, 0, 100, 60))
    one, several = count_zones([whole], zones), count_zones(tiles, zones)
    for before, after in zip(one, several, strict=True):
        assert before.pixels.tolist() == after.pixels.tolist() and before.no_data == after.no_data
        assert after.coverage == pytest.approx(before.coverage)
    assert outline(tiles).polygons[0].equals(outline([whole]).polygons[0])
    with pytest.raises(DataError, match="shows ground that"):
        count_zones([*tiles, write_map(VALUES[:, :40], name="again", corner=(WEST + 20, NORTH))], zones)


def test_zones_in_another_system_are_brought_to_the_map(write_map, pieces):
    made = write_map(VALUES, resolution=200.0)
    shape = shapely.box(WEST + 2100, NORTH - 9100, WEST + 11_900, NORTH - 3100)
    dense = shapely.segmentize(shape, 10.0)
    degrees = shapely.transform(
        dense, lambda p: np.stack(transform_points("EPSG:2154", "EPSG:4326", p[:, 0], p[:, 1])[:2], 1)
    )
    expected, counted = count_zones([made], zones_of(shape)), count_zones([made], zones_of(degrees, crs="EPSG:4326"))
    assert counted[0].pixels.tolist() == expected[0].pixels.tolist()
    counted = count_zones([made], zones_of(degrees, shapely.box(0, 91, 1, 95), crs="EPSG:4326"))
    assert counted[0].pixels.tolist() == expected[0].pixels.tolist() and counted[1].coverage == 0


def test_a_long_edge_of_another_system_is_no_straight_line_here(write_map):
    made = write_map(np.ones((400, 900), np.uint8), resolution=100.0, corner=(655_000.0, 6_880_000.0))
    west, south, east, north = 2.45, 48.75, 3.55, 48.9
    counted = count_zones([made], zones_of(shapely.box(west, south, east, north), crs="EPSG:4326"))[0]
    lonlat = made.transform @ (np.mgrid[:900, :400].reshape(2, -1) + 0.5)
    x, y = map(np.array, transform_points("EPSG:2154", "EPSG:4326", *map(list, lonlat))[:2])
    inside = (x > west) & (x < east) & (y > south) & (y < north)
    assert counted.pixels[0] == pytest.approx(inside.sum(), abs=3)


def test_areas_in_degrees_are_those_on_the_ellipsoid(write_map):
    made = write_map(np.ones((100, 100), np.uint8), resolution=0.01, corner=(5.0, 1.0), crs="EPSG:4326")
    assert count_zones([made])[0].area[0] == pytest.approx(_band(0, 1), rel=1e-5)
    made = write_map(np.ones((100, 100), np.uint8), resolution=0.01, corner=(5.0, 49.0), crs="EPSG:4326", name="b")
    assert count_zones([made])[0].area[0] == pytest.approx(_band(48, 49), rel=1e-5)


def _band(south: float, north: float) -> float:
    """Return the area in m² between two latitudes, 1 degree wide, by the authalic function."""
    square = 1 / 298.257222101 * (2 - 1 / 298.257222101)
    e = np.sqrt(square)
    sine = np.sin(np.radians([south, north]))
    q = (1 - square) * (sine / (1 - square * sine**2) - np.log((1 - e * sine) / (1 + e * sine)) / (2 * e))
    return float(6_378_137.0**2 * np.radians(1) * (q[1] - q[0]) / 2)


def test_areas_in_a_plane_are_those_of_its_pixels():
    window = Window(0, 0, 3, 2)
    crs = CRS.from_epsg(2154)
    assert row_areas(from_origin(WEST, NORTH, 0.2, 0.5), crs, window).tolist() == pytest.approx([0.1, 0.1])
    feet = row_areas(from_origin(6_000_000, 2_000_000, 10, 10), CRS.from_epsg(2227), window)
    assert feet.tolist() == pytest.approx([(10 * 1200 / 3937) ** 2] * 2)
    web = row_areas(from_origin(260_000, 6_250_000, 10, 10), CRS.from_epsg(3857), window)  # Paris, 48.85 degrees north
    assert web.tolist() == pytest.approx([100 * np.cos(np.radians(48.86)) ** 2] * 2, rel=6e-3)
    assert np.isnan(row_areas(from_origin(0, 0, 1, 1), None, window)).all()


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "shp"])
def test_zones_are_read_by_name(tmp_path, ending):
    import pyogrio

    path = tmp_path / f"zones.{ending}"
    bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    shapes = shapely.to_wkb(np.array([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 6), bow], object))
    nom, code = np.array(["Lyon", "Lyon", "Brest"], object), np.array([1, 2, 3])
    pyogrio.raw.write(path, shapes, [nom, code], ["Nom", "code"], geometry_type="Polygon", crs="EPSG:4326")
    zones = read_zones(path)
    assert zones.names == ("Lyon", "Brest") and zones.crs.to_epsg() == 4326
    assert shapely.area(zones.polygons).tolist() == pytest.approx([2, 2])
    assert shapely.is_valid(zones.polygons).all()
    assert read_zones(path, "code").names == ("1", "2", "3")
    with pytest.raises(DataError, match="no attribute 'dep'; its attributes are Nom, code"):
        read_zones(path, "dep")


def test_what_is_no_file_of_zones_is_one_error(tmp_path):
    import pyogrio

    for path, text in ((tmp_path / "a.csv", "in a file"), (tmp_path / "a.gpkg", "no such file")):
        with pytest.raises(DataError, match=text):
            read_zones(path)
    (tmp_path / "b.gpkg").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no gpkg file"):
        read_zones(tmp_path / "b.gpkg")
    path = tmp_path / "c.geojson"
    lines = shapely.to_wkb(np.array([shapely.LineString([(0, 0), (1, 1)])], object))
    pyogrio.raw.write(path, lines, [np.array([1])], ["a"], geometry_type="LineString", crs="EPSG:4326")
    with pytest.raises(DataError, match="where polygons are expected"):
        read_zones(path)


def test_maps_that_do_not_fit_are_refused(write_map, tmp_path):
    with pytest.raises(DataError, match="holds the value 9"):
        count_zones([write_map(np.full((4, 4), 9, np.uint8))])
    wrong = write_map(np.ones((4, 4), np.uint8), np.full((4, 4), 101, np.uint8))
    with pytest.raises(DataError, match="above 100 percent"):
        count_zones([wrong])
    (tmp_path / "alone").mkdir()
    nowhere = write_map(VALUES, crs=None, folder=tmp_path / "alone")
    assert np.isnan(count_zones([nowhere])[0].area).all()
    with pytest.raises(DataError, match="names no coordinate system"):
        count_zones([nowhere], zones_of(box(0, 0, 1, 1)))


def test_a_zone_that_crosses_itself_in_the_system_of_the_map_is_mended(write_map):
    made = write_map(np.ones((400, 900), np.uint8), resolution=100.0, corner=(655_000.0, 6_880_000.0))
    # A corner 0.1 mm above the southern edge, which bends by 2 mm where it is cut into straight pieces.
    inlet = 2.45 + 1.1 * 128.5 / 256, 48.75 + 1e-9
    zone = shapely.Polygon([(2.45, 48.75), (3.55, 48.75), (3.55, 48.9), inlet, (2.45, 48.9)])
    assert zone.is_valid
    zones = zones_of(zone, crs="EPSG:4326")
    assert shapely.is_valid(zones.on(made)).all()
    (counted,) = count_zones([made], zones)
    assert counted.coverage == pytest.approx(1, abs=1e-6)
