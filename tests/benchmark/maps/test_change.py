import base64
import csv
import io
import json
import re

import numpy as np
import pytest
import rasterio
from PIL import Image

from benchmark.common.errors import DataError
from benchmark.maps import change as subject
from benchmark.maps import pieces as parts
from benchmark.maps.change import change_map, compare_maps
from benchmark.maps.change_page import write_change_preview
from benchmark.maps.legend import Legend, MapClass
from benchmark.maps.map_file import NAMESPACE

ALIKE = {
    "run": "4f2a",
    "method": "dann",
    "weights": "last, step 9",
    "training_domains": "lyon",
    "bands": "red, green, blue",
    "resolution": "1 m",
}
BEFORE = np.array([[1, 1, 3, 255], [7, 7, 10, 10]], np.uint8)
AFTER = np.array([[1, 3, 3, 1], [7, 10, 10, 255]], np.uint8)


def _maps(write_map, before=BEFORE, after=AFTER, **later):
    a = write_map(
        before, np.where(before == 255, 255, 90).astype(np.uint8), "a", facts=ALIKE | {"image_date": "2019-07-02"}
    )
    facts = ALIKE | {"image_date": "2021-07-09"} | later.pop("facts", {})
    sure = np.where(after == 255, 255, np.where(after == 3, 50, 95)).astype(np.uint8)
    return a, write_map(after, sure, "b", facts=facts, **later)


def _rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _pixels(path):
    with rasterio.open(path) as file:
        return file.read(1)


def test_change_is_counted_mapped_and_rated(write_map, tmp_path):
    a, b = _maps(write_map)
    seen = []
    change = compare_maps(a, b, tmp_path / "out", lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2, 2) and change.changed == pytest.approx(2 / 6)
    assert change.doubts == ()
    made = change_map(tmp_path / "out")
    names = {each.value: each.name for each in made.legend.classes}
    assert names == {0: "no change", 1: "building → impervious surface", 2: "deciduous → herbaceous vegetation"}
    assert _pixels(made.path).tolist() == [[0, 1, 0, 255], [0, 2, 0, 255]]
    assert _pixels(made.confidence).tolist() == [[86, 45, 45, 255], [86, 86, 86, 255]]
    rows = {(row["from"], row["to"]): row for row in _rows(tmp_path / "out" / "change.csv")}
    assert len(rows) == 6
    row = rows["deciduous", "herbaceous vegetation"]
    assert (row["pixels"], row["area_m2"], row["mean_confidence_percent"]) == ("1", "1", "86")
    assert row["pixels_sure_80"] == "1" and rows["building", "impervious surface"]["pixels_sure_80"] == "0"
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.endswith(".aux.xml")) == [
        "change.classes.tif",
        "change.confidence.tif",
        "change.csv",
    ]
    assert made.facts["image_date"] == "2019-07-02 → 2021-07-09" and made.facts["run"] == "4f2a"


def test_pieces_give_what_the_whole_gives(write_map, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    before, after = rng.choice([1, 3, 7, 10, 255], (2, 40, 50)).astype(np.uint8)
    a, b = _maps(write_map, before, after)
    whole = compare_maps(a, b, tmp_path / "whole")
    monkeypatch.setattr(parts, "SIDE", 16)
    pieces = compare_maps(a, b, tmp_path / "pieces")
    assert np.array_equal(whole.pixels, pieces.pixels) and np.allclose(whole.confidence, pieces.confidence)
    assert whole.pixels.sum() == ((before != 255) & (after != 255)).sum()
    for ending in ("classes", "confidence"):
        one, other = (_pixels(tmp_path / name / f"change.{ending}.tif") for name in ("whole", "pieces"))
        assert np.array_equal(one, other)


def test_the_second_map_is_brought_onto_the_grid_of_the_first(write_map, tmp_path):
    after = np.full((4, 4), 3, np.uint8)
    after[1, 2] = 7
    a, b = _maps(write_map, np.full((4, 4), 3, np.uint8), after, corner=(700_001.2, 6_599_999.0))
    change = compare_maps(a, b, tmp_path / "out")
    drawn = _pixels(tmp_path / "out" / "change.classes.tif")
    assert drawn[2, 3] == 1 and (drawn == 1).sum() == 1  # of the second map row 1, column 2
    assert (drawn[0] == 255).all() and (drawn[:, 0] == 255).all() and change.pixels.sum() == 9
    (doubt,) = [doubt for doubt in change.doubts if "nearest pixel" in doubt]
    assert "0.2 and 0" in doubt


def test_the_rarest_pairs_are_one_class(write_map, tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "_MOST_PAIRS", 1)
    after = np.array([[1, 3, 3, 1], [7, 10, 1, 1]], np.uint8)
    before = np.array([[1, 1, 7, 3], [7, 7, 10, 10]], np.uint8)
    compare_maps(*_maps(write_map, before, after), tmp_path / "out")
    made = change_map(tmp_path / "out")
    assert [each.value for each in made.legend.classes] == [0, 1, 254]
    assert _pixels(made.path).tolist() == [[0, 254, 254, 254], [0, 254, 1, 1]]


@pytest.mark.parametrize(
    ("facts", "doubt"),
    [
        ({"run": "9999"}, "different runs"),
        ({"method": "source-only"}, "different methods"),
        ({"weights": "last, step 8"}, "different weights"),
        ({"training_domains": "lyon, nice"}, "different training data"),
        ({"resolution": "0.2 m"}, "different resolutions"),
        ({"resampled_from": "0.2 m"}, "resolutions of their images"),
        ({"image_date": "2021-02-09"}, "seasons (July, February)"),
        ({"image_date": ""}, "date of an image is not known"),
        ({"run": ""}, "not known of both maps: run"),
        ({"adapted_on_the_way": "by batches"}, "learned from the image"),
    ],
)
def test_whatever_differs_beside_the_ground_is_a_doubt(write_map, tmp_path, facts, doubt):
    a, b = _maps(write_map, facts=facts)
    change = compare_maps(a, b, tmp_path / "out")
    assert len(change.doubts) == 1 and doubt in change.doubts[0]
    with rasterio.open(tmp_path / "out" / "change.classes.tif") as file:
        assert doubt in file.tags(ns=NAMESPACE)["doubts"]
    page = write_change_preview(a, b, change, tmp_path / "out")[1].read_text(encoding="utf-8")
    assert doubt in page and "Mean confidence" in page


def test_maps_that_are_wrong_more_often_than_they_differ_are_doubted(write_map, tmp_path):
    a = write_map(BEFORE, np.full(BEFORE.shape, 50, np.uint8), "a", facts=ALIKE | {"image_date": "2019-07-02"})
    b = write_map(AFTER, np.full(AFTER.shape, 50, np.uint8), "b", facts=ALIKE | {"image_date": "2021-07-02"})
    (doubt,) = compare_maps(a, b, tmp_path / "out").doubts
    assert "33.3%" in doubt and "75.0%" in doubt


def test_another_coding_is_compared_by_names(write_map, tmp_path):
    other = Legend(
        "other",
        (
            MapClass(9, "herbaceous vegetation", "#55ff00"),
            MapClass(8, "deciduous", "#46e483"),
            MapClass(1, "impervious surface", "#f80c00"),
            MapClass(2, "building", "#db0e9a"),
        ),
    )
    after = np.array([2, 1, 8, 9], np.uint8)[np.searchsorted([1, 3, 7, 10], AFTER) % 4]
    after[AFTER == 255] = 255
    a, b = _maps(write_map, after=after, legend=other)
    change = compare_maps(a, b, tmp_path / "out")
    assert change.changed == pytest.approx(2 / 6) and "small, other" in change.doubts[0]


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ({"legend": Legend("x", (MapClass(1, "road", "#010203"),))}, "road"),
        ({"crs": "EPSG:32631"}, "coordinate system"),
        ({"resolution": 0.5}, "one resolution"),
        ({"corner": (800_000.0, 6_600_000.0)}, "no pixel has data in both"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(write_map, tmp_path, later, reason):
    with pytest.raises(DataError, match=reason):
        compare_maps(*_maps(write_map, **later), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_value_that_is_no_class_is_refused(write_map, tmp_path):
    with pytest.raises(DataError, match="value 5"):
        compare_maps(*_maps(write_map, after=np.full((2, 4), 5, np.uint8)), tmp_path / "out")


def test_without_confidence_and_place_there_are_pixels_alone(write_map, tmp_path):
    a, b = (write_map(values, name=name, crs=None, facts=ALIKE) for name, values in (("a", BEFORE), ("b", AFTER)))
    change = compare_maps(a, b, tmp_path / "out")
    assert not (tmp_path / "out" / "change.confidence.tif").exists()
    rows = _rows(tmp_path / "out" / "change.csv")
    assert {row["area_m2"] for row in rows} == {""} and {row["mean_confidence_percent"] for row in rows} == {""}
    doubts = " ".join(change.doubts)
    assert "Confidence is not known" in doubts and "no place on the earth" in doubts
    page = write_change_preview(a, b, change, tmp_path / "out")[1].read_text(encoding="utf-8")
    assert "From class to class, pixels" in page


def test_on_the_page_what_did_not_change_is_clear(write_map, tmp_path):
    a, b = _maps(write_map)
    page = write_change_preview(a, b, compare_maps(a, b, tmp_path / "out"), tmp_path / "out")[1]
    (line,) = re.findall(r"^const DATA = (.*);$", page.read_text(encoding="utf-8"), re.M)
    change, _, earlier, later = json.loads(line)["layers"]
    assert (earlier["title"], later["title"]) == ("earlier map (a)", "later map (b)")
    assert change["clear"] == "no change" and earlier["clear"] == ""
    data = base64.b64decode(change["tiles"]["0/0/0"].split(",", 1)[1])
    clear = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[:2, :4, 3] == 0
    assert clear.tolist() == [[True, False, True, True], [True, False, True, True]]
