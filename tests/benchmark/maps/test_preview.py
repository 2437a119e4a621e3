import base64
import io
import json
import re
import resource
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import Affine, from_origin

from benchmark.common.errors import DataError
from benchmark.maps import map_page
from benchmark.maps.legend import Legend, MapClass
from benchmark.maps.preview import write_preview
from benchmark.maps.quick_look import palette, scale_bar
from benchmark.maps.small import ground_pixel, north, read_image_on, read_small
from benchmark.maps.zone_counts import count_zones

EVIL = "</script><img src=x onerror=alert(1)>"


def _write_image(path, pixels, resolution=1.0, corner=(700_000.0, 6_600_000.0), crs="EPSG:2154", **more):
    profile = {"driver": "GTiff", "count": len(pixels), "dtype": pixels.dtype, "crs": crs, **more}
    height, width = pixels.shape[1:]
    place = from_origin(*corner, resolution, resolution)
    with rasterio.open(path, "w", height=height, width=width, transform=place, **profile) as file:
        file.write(pixels)
    return path


def _data_of(page):
    (line,) = re.findall(r"^const DATA = (.*);$", page, re.M)
    return json.loads(line)


def _picture(layer, place):
    return Image.open(io.BytesIO(base64.b64decode(layer["tiles"][place].split(",", 1)[1])))


@pytest.fixture
def town(write_map):
    values = np.full((300, 520), 1, np.uint8)
    values[:, 260:] = 10
    values[:10] = 255
    confidence = np.where(values == 255, 255, np.where(values == 1, 90, 40)).astype(np.uint8)
    return write_map(values, confidence, facts={"method": "dann", "run": EVIL, "bands": "red, green, blue"})


def test_classes_are_counted_with_their_confidence(town):
    (counts,) = count_zones([town])
    assert counts.pixels.tolist() == [290 * 260, 0, 0, 290 * 260] and counts.no_data == 5200
    assert counts.confidence[0] == 90 and counts.confidence[3] == 40 and np.isnan(counts.confidence[1])
    assert counts.shares.tolist() == [0.5, 0, 0, 0.5]


def test_a_value_that_is_no_class_is_refused(write_map):
    with pytest.raises(DataError, match="holds the value 9"):
        write_preview(write_map(np.full((4, 4), 9, np.uint8)))


def test_the_page_holds_the_map_pixel_by_pixel_and_nothing_from_elsewhere(town, tmp_path):
    image = _write_image(tmp_path / "town.tif", np.full((3, 300, 520), 77, np.uint8))
    seen = []
    picture, path = write_preview(town, image, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] and {picture.name, path.name} == {"town.preview.png", "town.preview.html"}
    assert not list(tmp_path.glob("*.part*"))
    page = path.read_text(encoding="utf-8")
    assert EVIL not in page and "default-src 'none'" in page
    ours = page.replace((Path(map_page.__file__).parent / "static" / "leaflet.js").read_text(encoding="utf-8"), "")
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:|//)|@import|sourceMappingURL""", ours)
    data = _data_of(page)
    assert (data["width"], data["height"], data["zoom"], data["metres"]) == (520, 300, 2, 1.0)
    classes, confidence, below = data["layers"]
    assert below["below"] and not classes["below"]
    tile = _picture(classes, "2/0/1")
    assert tile.convert("RGBA").getpixel((0, 20)) == (0xDB, 0x0E, 0x9A, 255)
    assert tile.convert("RGBA").getpixel((4, 20)) == (0x55, 0xFF, 0x00, 255)
    assert tile.convert("RGBA").getpixel((4, 9))[3] == 0  # no data is clear
    assert classes["labels"]["db0e9a"] == "building"
    color = "".join(f"{band:02x}" for band in _picture(confidence, "2/0/0").convert("RGB").getpixel((0, 20)))
    assert confidence["labels"][color] == "90 %"
    assert abs(_picture(below, "0/0/0").convert("RGBA").getpixel((60, 60))[0] - 77) <= 2
    assert _picture(below, "0/0/0").convert("RGBA").getpixel((60, 200))[3] == 0  # beyond the edge
    assert "50.0 %" in page and "every pixel" in page
    drawn = Image.open(picture).convert("RGB")
    colors = {color for _, color in drawn.getcolors(1 << 24)}
    assert {(0xDB, 0x0E, 0x9A), (0x55, 0xFF, 0x00)} <= colors and drawn.width > 3 * 640


def test_texts_of_classes_are_escaped(write_map):
    legend = Legend("evil", (MapClass(1, EVIL + r"$\x$", "#010203", EVIL), MapClass(2, "b", "#ffffff")))
    made = write_map(np.ones((4, 4), np.uint8), name="x", legend=legend)
    _, page = write_preview(made, warnings=[EVIL])
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text and _data_of(text)["layers"][0]["labels"]["010203"].startswith(EVIL)


def test_a_page_that_would_be_too_large_drops_its_finest_level_and_says_so(write_map, monkeypatch):
    noise = np.random.default_rng(0).choice([1, 3, 7, 10], (600, 600)).astype(np.uint8)
    made = write_map(noise)
    monkeypatch.setattr(map_page, "MOST_BYTES", 100_000)
    page = write_preview(made)[1].read_text(encoding="utf-8")
    data = _data_of(page)
    assert (data["width"], data["zoom"], data["metres"]) == (300, 1, 2.0) and "reduced 2 times" in page
    assert read_small(made, None, 100_000).classes.shape == (300, 300)
    tile = np.asarray(_picture(data["layers"][0], "1/0/0").convert("RGB"))
    assert np.array_equal(tile, palette(made.legend)[noise[:512:2, :512:2]])


def test_an_image_is_brought_onto_the_grid_of_its_map(write_map, tmp_path):
    made = write_map(np.ones((4, 4), np.uint8), corner=(700_002.0, 6_599_998.0), facts={"bands": "blue,green,red"})
    ramp = np.zeros((3, 16, 16), np.uint8)
    ramp[2, 4:, 4:] = 200  # of red, from where the map begins, at half its resolution
    image = _write_image(tmp_path / "i.tif", ramp, 0.5)
    light = read_image_on(made, image, (4, 4))
    assert light.shape == (4, 4, 3) and (light[..., 0] == 200).all() and (light[..., 2] == 0).all()


def test_of_a_file_with_more_bands_than_the_run_took_the_first_three_are_shown(write_map, tmp_path):
    made = write_map(np.ones((2, 2), np.uint8), facts={"bands": "red, green, blue"})
    levels = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    light = read_image_on(made, _write_image(tmp_path / "i.tif", levels), (2, 2))
    assert light[0, 0].tolist() == [0, 1, 2]


def test_numbers_are_stretched_and_no_data_is_white(write_map, tmp_path):
    made = write_map(np.ones((10, 10), np.uint8))
    numbers = np.tile(np.linspace(1000, 3000, 100).reshape(1, 10, 10), (1, 1, 1)).astype(np.uint16)
    numbers[:, 0, 0] = 0
    light = read_image_on(made, _write_image(tmp_path / "i.tif", numbers, nodata=0), (10, 10))
    assert light[0, 0].tolist() == [255] * 3 and light[0, 1].tolist() == [0] * 3 and light[9, 9].tolist() == [255] * 3


def test_a_large_image_is_read_small(write_map, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.data.areas.LARGE", 1000)
    made = write_map(np.ones((64, 64), np.uint8), facts={"bands": "red,green,blue"})
    pixels = np.zeros((3, 64, 64), np.uint8)
    pixels[0, :, 32:] = 100
    tiled = _write_image(tmp_path / "i.tif", pixels, tiled=True, blockxsize=16, blockysize=16)
    light = read_image_on(made, tiled, (16, 16))
    assert light.shape == (16, 16, 3) and light[3, 4, 0] == 0 and light[3, 12, 0] == 100


@pytest.mark.parametrize(
    ("size", "more"),
    [((8, 8), {"corner": (700_100.0, 6_600_000.0)}), ((8, 8), {"crs": "EPSG:32631"}), ((2, 2), {})],
)
def test_an_image_of_other_ground_is_refused(write_map, tmp_path, size, more):
    made = write_map(np.ones((8, 8), np.uint8))
    image = _write_image(tmp_path / "i.tif", np.zeros((3, *size), np.uint8), **more)
    with pytest.raises(DataError, match="ground"):
        write_preview(made, image)


def test_without_a_georeference_sizes_must_fit_and_nothing_is_in_metres(write_map, tmp_path):
    made = write_map(np.ones((8, 8), np.uint8), crs=None)
    Image.new("RGB", (8, 8), (9, 8, 7)).save(tmp_path / "i.png")
    page = write_preview(made, tmp_path / "i.png")[1].read_text(encoding="utf-8")
    assert _data_of(page)["metres"] is None and 'id="north"' not in page
    Image.new("RGB", (8, 9)).save(tmp_path / "i.png")
    with pytest.raises(DataError, match="8 x 9"):
        write_preview(made, tmp_path / "i.png")


@pytest.mark.parametrize(
    ("crs", "corner", "resolution", "metres"),
    [
        ("EPSG:3857", (260_000.0, 6_250_000.0), 10.0, 10 * np.cos(np.radians(48.86))),
        ("EPSG:4326", (2.0, 48.86), 1e-4, 11.132 * np.cos(np.radians(48.86))),
        ("EPSG:2227", (6_000_000.0, 2_000_000.0), 10.0, 3.048),
    ],
)
def test_a_pixel_is_measured_on_the_ground(write_map, crs, corner, resolution, metres):
    made = write_map(np.ones((8, 8), np.uint8), crs=crs, corner=corner, resolution=resolution)
    assert ground_pixel(made) == pytest.approx(metres, rel=0.005)


def test_bars_and_north():
    assert scale_bar(0.2, 200) == (100, "20 m") and scale_bar(30, 200)[1] == "5 km"
    assert north(from_origin(0, 0, 2, 2)) == 0 and abs(north(Affine(1, 0, 0, 0, 1, 0))) == 180
    assert north(from_origin(0, 0, 1, 1) @ Affine.rotation(-90)) == pytest.approx(90)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_map(write_map):
    made = write_map(np.ones((12_000, 12_000), np.uint8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_preview(made)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10
