import csv

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.crs import CRS

from benchmark.common.errors import DataError
from benchmark.maps.legend import Legend, MapClass
from benchmark.maps.zone_report import FILES, report_zones
from benchmark.maps.zones import Zones
from tests.benchmark.maps.conftest import SMALL

WEST, NORTH = 700_000.0, 6_600_000.0
VALUES = (
    np.array([[1, 3, 7, 10], [1, 7, 7, 10], [10, 10, 255, 255], [10, 10, 255, 255]], np.uint8).repeat(5, 0).repeat(5, 1)
)
PERCENT = np.where(VALUES == 255, 255, 80).astype(np.uint8)
# Each zone's own: of the buildings a tenth is seen as sealed ground, of the rest all is right.
LABELLED = [
    np.vstack([np.array([[18 - n, 2 + n, 0, 0], [0, 20, 0, 0], [0, 0, 40, 0], [0, 0, 0, 20]]), np.full(4, 7)])
    for n in range(6)
]


@pytest.fixture
def zones():
    north, south = (shapely.box(WEST, NORTH - bottom, WEST + 20, NORTH - top) for top, bottom in ((0, 10), (10, 20)))
    away = shapely.box(WEST + 90, NORTH, WEST + 95, NORTH + 5)
    return Zones(("<b>north</b>", "south", "away"), np.array([north, south, away], object), CRS.from_epsg(2154))


def rows(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_files_hold_the_figures(write_map, zones, tmp_path):
    made = write_map(VALUES, PERCENT, facts={"run": "3f2a", "fold": "D075_2021"})
    paths = report_zones([made], zones, tmp_path / "out", LABELLED)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    north, south, away = rows(paths[0])
    assert (north["zone"], north["area_m2"], north["pixels"], north["coverage"]) == ("<b>north</b>", "200", "200", "1")
    shares = [north[f"{name}_share"] for name in ("building", "sealed", "artificialised_lower", "artificialised_upper")]
    assert shares == ["0.25", "0.375", "0.375", "0.625"]
    assert (south["no_data_pixels"], south["unknown_share"], south["artificialised_upper_share"]) == ("100", "0.5", "1")
    assert (away["coverage"], away["pixels"], away["building_share"], away["unknown_share"]) == ("0", "0", "", "")
    building = next(row for row in rows(paths[1]) if row["class"] == "building")
    assert (building["pixels"], building["area_m2"], building["confidence_percent"]) == ("50", "50", "80")
    missed = np.mean([2 + n for n in range(6)]) / 100
    assert float(building["corrected_share"]) == pytest.approx(0.25 + missed)
    assert 0.2 < float(building["corrected_low"]) < 0.25 + missed < float(building["corrected_high"])
    small = next(row for row in rows(paths[1]) if row["class"] == "building" and row["zone"] == "away")
    assert (small["corrected_share"], small["corrected_low"]) == ("", "")
    sealed = next(row for row in rows(paths[1]) if row["class"] == "sealed")
    assert float(sealed["corrected_share"]) == pytest.approx(0.375)  # what is lost by buildings is found beside them


def test_large_areas_are_whole_numbers(write_map, tmp_path):
    made = write_map(VALUES, resolution=12340.0, corner=(100_000, 7_200_000))
    paths = report_zones([made], None, tmp_path / "out")
    assert rows(paths[0])[0]["area_m2"] == str(300 * 12340**2)
    assert "<td>45,683</td>" in paths[3].read_text(encoding="utf-8")


def test_the_geopackage_has_the_zones_with_their_figures(write_map, zones, tmp_path):
    import pyogrio

    path = report_zones([write_map(VALUES)], zones, tmp_path / "out")[2]
    about, _, shapes, values = pyogrio.raw.read(path)
    table = dict(zip(about["fields"], values, strict=True))
    assert (
        table["zone"].tolist() == ["<b>north</b>", "south", "away"]
        and CRS.from_user_input(about["crs"]).to_epsg() == 2154
    )
    assert table["sealed_share"][:2].tolist() == [0.375, 0] and np.isnan(table["sealed_share"][2])
    assert shapely.from_wkb(shapes)[0].equals(zones.polygons[0])


def test_the_page_says_what_must_be_known(write_map, zones, tmp_path):
    made = write_map(VALUES, facts={"run": "3f2a", "fold": "D075_2021"})
    page = report_zones([made], zones, tmp_path / "out")[3].read_text(encoding="utf-8")
    for text in (
        "Not the legal figure: use is not observed",
        "No class of their own have swimming pool and greenhouse: they are mapped as another class, so neither",
        "Not corrected for the errors of the map",
        "Outside of the maps: 1 zone (away)",
        "&lt;b&gt;north&lt;/b&gt;",
    ):
        assert text in page
    assert page.count("data:image/png;base64,") == 3 and "<b>north" not in page and "What it confounds" not in page
    page = report_zones([made], None, tmp_path / "out", LABELLED)[3].read_text(encoding="utf-8")
    assert "the 6 labelled zones" in page and "other domains than D075_2021" in page and "whole map" in page


def test_what_other_hides_is_said(write_map, zones, tmp_path):
    legend = Legend("odd", (*SMALL.classes[:3], MapClass(10, "other", "#55ff00")))
    page = report_zones([write_map(VALUES, legend=legend)], zones, tmp_path / "out")[3].read_text(encoding="utf-8")
    assert "they are within &#39;other&#39;, which the upper bound counts" in page


def test_a_name_is_no_formula(write_map, zones, tmp_path):
    odd = Zones((r"$\nothing$", "a$b", "$"), zones.polygons, zones.crs)
    legend = Legend("odd", (*SMALL.classes[:3], MapClass(10, r"$\grass$", "#55ff00")))
    assert report_zones([write_map(VALUES, legend=legend)], odd, tmp_path / "out")[3].is_file()


def test_other_classes_have_shares_alone(write_map, zones, tmp_path):
    trees = Legend("trees", (MapClass(0, "background", "#000000"), MapClass(1, "tree", "#00ff00")))
    made = write_map((VALUES == 7).astype(np.uint8), legend=trees)
    paths = report_zones([made], zones, tmp_path / "out")
    assert set(rows(paths[0])[0]) >= {"tree_share", "background_share"} and "sealed_share" not in rows(paths[0])[0]
    assert "no bounds of the artificialised share" in paths[3].read_text(encoding="utf-8")


def test_a_run_of_other_classes_is_refused(write_map, zones, tmp_path):
    with pytest.raises(DataError, match="not of the 4 classes"):
        report_zones([write_map(VALUES)], zones, tmp_path / "out", [np.zeros((3, 2), int)])
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_map(write_map, tmp_path):
    """The map is read in pieces: a file of 100 million pixels that is empty takes no time and no memory."""
    import tracemalloc

    made = write_map(VALUES)
    with rasterio.open(made.path) as file:
        profile, tags = file.profile, file.tags(ns="LANDSHIFT")
    side = 10_240
    profile |= {"height": side, "width": side, "tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True}
    with rasterio.open(made.path, "w", **profile) as file:
        file.update_tags(ns="LANDSHIFT", **tags)
    from benchmark.maps.map_file import read_map
    from benchmark.maps.zone_counts import count_zones

    tracemalloc.start()
    (whole,) = count_zones([read_map(made.path)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert whole.no_data == side**2 and peak < 60e6
