"""The command that counts the classes of maps in polygons."""

import json

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from benchmark.cli.app import main
from benchmark.maps.legend import Legend, MapClass
from benchmark.maps.map_file import CLASSES, LEGEND, NAMESPACE, read_map
from benchmark.maps.zone_report import FILES, labelled_zones

LEGEND_OF = Legend("two", (MapClass(1, "building", "#ff0000"), MapClass(2, "water", "#0000ff")))


def box(left, right):
    return shapely.box(700_000 + left, 6_600_000, 700_000 + right, 6_600_004)


@pytest.fixture
def maps(tmp_path):
    """Return a folder with a map of 4 x 4 metres, a quarter of it built, and polygons on its halves."""
    folder = tmp_path / "maps"
    folder.mkdir()
    values = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [2, 2, 2, 2], [2, 2, 2, 2]], np.uint8)
    profile = {"driver": "GTiff", "height": 4, "width": 4, "count": 1, "dtype": "uint8", "crs": "EPSG:2154"}
    with rasterio.open(
        folder / f"town{CLASSES}", "w", **profile, transform=from_origin(700_000, 6_600_004, 1, 1)
    ) as file:
        file.write(values, 1)
        file.update_tags(ns=NAMESPACE, **{LEGEND: LEGEND_OF.as_text()}, run="3f2a")
    features = [
        {"type": "Feature", "properties": {"quarter": name}, "geometry": json.loads(shapely.to_geojson(ground))}
        for name, ground in (("west", box(0, 2)), ("east", box(2, 4)))
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}
    content = {"type": "FeatureCollection", "crs": crs, "features": features}
    (tmp_path / "quarters.geojson").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_the_figures_are_written(maps, tmp_path, capsys):
    words = ["zones", str(maps), "--zones", str(tmp_path / "quarters.geojson"), "--zone-name", "quarter"]
    assert main([*words, "--output", str(tmp_path / "out"), "--results", str(tmp_path / "none")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    table = (tmp_path / "out/zones.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:4] for line in table[1:]] == [["west", "1", "8", "8"], ["east", "1", "8", "8"]]
    assert [line.split(",")[8] for line in table[1:]] == ["0.5", "0"]  # sealed
    assert "not corrected for the errors of the maps" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_without_polygons_the_whole_map_is_one_zone(maps, tmp_path):
    assert main(["zones", str(maps / f"town{CLASSES}"), "--results", str(tmp_path / "none")]) == 0
    assert (maps / "zones.csv").read_text(encoding="utf-8").splitlines()[1].startswith("whole map,1,16,16,0,")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{}/none"], "no such file"),
        (["{}"], "holds no map of classes"),
        (["{}/maps", "--zone-name", "a"], "give them with --zones"),
        (["{}/maps", "--zones", "{}/quarters.geojson", "--zone-name", "a"], "its attributes are quarter"),
        (["{}/maps", "--zones", "{}/none.gpkg"], "no such file"),
    ],
)
def test_what_is_wrong_is_one_line(maps, tmp_path, capsys, words, message):
    assert main(["zones", *(word.format(tmp_path) for word in words), "--results", str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and not (maps / "zones.csv").exists()


def test_labelled_zones_are_those_of_the_run_of_all_maps(maps):
    class Run:
        artifacts, metrics = maps, {"selected/step": 7.0}

    class Results:
        def find(self, run):
            assert run == "3f2a"
            return Run

    matrix = np.array([[5, 1], [0, 9], [2, 2]])
    np.savez(maps / "confusions.npz", **{"7/target_test": np.stack([matrix] * 6), "zones/target_test": list("abcdef")})
    made = read_map(maps / f"town{CLASSES}")
    assert [found.tolist() for found in labelled_zones([made], Results())] == [matrix.tolist()] * 6
    with rasterio.open(made.path, "r+") as file:
        file.update_tags(ns=NAMESPACE, run="other")
    assert labelled_zones([made, read_map(made.path)], Results()) == []


def test_a_map_is_made_and_then_counted(maps, tmp_path, monkeypatch):
    calls = []

    class Run:
        id, name = "3f2a", "dann"

    def make(results, record, images, output, *rest):
        calls.append(record.id)
        return [maps / f"town{CLASSES}"]

    monkeypatch.setattr("benchmark.experiments.results.has_results", lambda folder: True)
    monkeypatch.setattr("benchmark.maps.trained.find_run", lambda *words: Run)
    monkeypatch.setattr("benchmark.maps.predict.make_maps", make)
    monkeypatch.setattr("benchmark.maps.reading.images_of", lambda *words: {"town": tmp_path / "town.tif"})
    words = ["map", "3f2a", "town.tif", "--output", str(tmp_path / "out"), "--results", str(tmp_path / "results")]
    assert main([*words, "--zones", str(tmp_path / "none.gpkg")]) == 1 and not calls, (
        "zones are read before any map is made"
    )
    assert main([*words, "--zones", str(tmp_path / "quarters.geojson"), "--zone-name", "quarter"]) == 0
    assert calls == ["3f2a"] and (tmp_path / "out/zones.html").is_file()
