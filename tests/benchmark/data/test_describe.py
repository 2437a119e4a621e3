"""Descriptions of unknown folders: what is written can be read, and what is odd is said."""

import json
import re

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from PIL import Image

from benchmark.data.class_guess import guess_classes
from benchmark.data.describe import describe, equal_files
from benchmark.data.folder import read_folder
from benchmark.data.look import category_names, read_header

RED_GREEN = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)


def _mask(seed=0, side=32):
    return np.kron(np.random.default_rng(seed).integers(0, 3, (4, 4)), np.ones((side // 4,) * 2)).astype(np.uint8)


def _save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=80)


def _tif(path, array, crs="EPSG:32632", x=600_000, nodata=None, colors=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = array if array.ndim == 3 else array[None]
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    where = rasterio.transform.from_origin(x, 5_000_000, 10, 10)
    with rasterio.open(path, "w", driver="GTiff", **shape, crs=crs, transform=where, nodata=nodata, **options) as file:
        file.write(bands)
        if colors:
            file.write_colormap(1, colors)


def _described(folder):
    described = describe(folder, "mine")
    text = "\n".join([described.lines[0], f"root = {json.dumps(str(folder))}", *described.lines[1:]])
    (folder.parent / "mine.toml").write_text(text, encoding="utf-8")
    return read_folder(folder.parent / "mine.toml"), text, described.remarks


def test_colour_masks_give_their_colours(tmp_path):
    for town in ("ulm", "bad ems"):
        for number in range(2):
            _save(tmp_path / "d" / town / "images" / f"{number}.jpg", RED_GREEN[_mask(number)])
            _save(tmp_path / "d" / town / "masks" / f"{number}.png", RED_GREEN[_mask(number)])
    catalog, text, remarks = _described(tmp_path / "d")
    assert catalog.classes.colors_in_mask and set(catalog.classes.colors) == {"#000000", "#ff0000", "#00ff00"}
    assert set(catalog.domain) == {"ulm", "bad ems"} and (catalog.patches["mask"] != "").all()
    shares = [float(share) for share in re.findall(r"# ([\d.]+)% of the pixels", text)]
    assert len(shares) == 3 and sum(shares) == pytest.approx(100, abs=0.2)
    assert remarks == ["2 pairs of images are the same file, such as bad ems/images/0.jpg and ulm/images/0.jpg"]


def test_palette_names_dates_zones_and_coordinate_systems(tmp_path):
    for number, (crs, tile) in enumerate((("EPSG:32632", "T32TQM"), ("EPSG:32633", "T33TUG"))):
        for date in ("20210309", "20221001"):
            image = np.random.default_rng(number).integers(0, 3000, (4, 32, 32)).astype(np.uint16)
            _tif(tmp_path / "d" / "images" / f"{tile}_{date}_1.tif", image, crs, 600_000 * (number + 1))
            colors = {0: (1, 2, 3, 255), 1: (255, 0, 0, 255), 2: (0, 255, 0, 255)}
            path = tmp_path / "d" / "labels" / f"{tile}_{date}_1.tif"
            _tif(path, _mask(number), crs, 600_000 * (number + 1), colors=colors)
            names = "".join(f"<Category>{name}</Category>" for name in ("bare", "water", "water"))
            path.with_name(f"{path.name}.aux.xml").write_text(
                f"<PAMDataset><PAMRasterBand><CategoryNames>{names}</CategoryNames></PAMRasterBand></PAMDataset>"
            )
    catalog, text, remarks = _described(tmp_path / "d")
    assert catalog.classes.names == ("bare", "water", "class_2") and catalog.classes.colors[0] == "#010203"
    assert sorted(set(catalog.patches["date"])) == ["2021-03-09", "2022-10-01"]
    assert set(catalog.domain) == {"T32TQM@2021", "T32TQM@2022", "T33TUG@2021", "T33TUG@2022"}
    assert catalog.patches["zone"].nunique() == 2 and "EPSG:32632, EPSG:32633, 10 m a pixel" in text
    assert any("2 coordinate systems" in remark for remark in remarks) and "uint16, 0 to 29" in text
    assert any("do not say what their 4 bands are" in remark for remark in remarks)


def test_bands_are_named_by_the_files(tmp_path):
    _tif(tmp_path / "d" / "a_1.tif", np.arange(3 * 1024, dtype=np.uint16).reshape(3, 32, 32) % 251)
    with rasterio.open(tmp_path / "d" / "a_1.tif", "r+") as file:
        file.descriptions = ("B04", "B03", "B08")
    assert 'bands = ["B04", "B03", "B08"]  # as the files name them; uint16' in _described(tmp_path / "d")[1]


@pytest.mark.parametrize(
    ("alpha", "bands"), [([0, 255], ["red", "green", "blue"]), ([17, 90], ["red", "green", "blue", "nir"])]
)
def test_alpha_is_a_band_where_it_holds_more_than_on_and_off(tmp_path, alpha, bands):
    image = np.random.default_rng(0).integers(0, 255, (4, 32, 32)).astype(np.uint8)
    image[3] = np.resize(alpha, (32, 32))
    _tif(tmp_path / "d" / "a_1.tif", image, photometric="RGB", alpha="yes")
    assert list(_described(tmp_path / "d")[0].bands) == bands


def test_what_is_odd_is_said(tmp_path):
    folder = tmp_path / "d"
    rng = np.random.default_rng(0)
    for number in range(4):
        image = rng.integers(0, 255, (128, 128, 3)).astype(np.uint8)
        _save(folder / "img" / f"{number}.png", image)
        _save(folder / "msk" / f"{number + 1}.jpg", RED_GREEN[_mask(number, 128)])
    _save(folder / "img" / "0.png", np.asarray(Image.open(folder / "img" / "1.png")))
    _save(folder / "img" / "9.png", rng.integers(0, 255, (16, 40, 3)).astype(np.uint8))
    (folder / "img" / "2.png").write_bytes(b"no picture")
    (folder / "t.csv").write_text("id,site\n0,a\n1,a\n2,b\n3,b\n9,b\n")
    described = describe(folder, "mine")
    said = "\n".join(described.remarks)
    for text in (
        "1 files cannot be read",
        "2 of 5 images have no mask, such as img/0.png",
        "1 masks have no image, such as msk/4.jpg",
        "1 pairs of images are the same file, such as img/0.png and img/1.png",
        "masks are stored with loss (JPEG)",
        "the images have 2 sizes: 128 x 128 (3), 40 x 16 (1)",
    ):
        assert text in said, text
    written = "\n".join(described.lines)
    assert 'exclude = ["img/2.png"]  # no images, or damaged' in written
    assert 'place = "{site}"' in written and 'table = "t.csv"' in written
    assert len(re.findall('#(000000|[ef].0.0.|0.[ef].0.)"', written)) == 3


@pytest.mark.parametrize(
    ("values", "nodata", "classes", "ignore"),
    [
        ([0, 1, 255], None, [0, 1], [255]),
        ([0, 255], None, [0, 255], []),
        ([0, 1, 2], 2, [0, 1], [2]),
        ([5], None, [5, 0], []),
    ],
)
def test_values_of_masks(tmp_path, values, nodata, classes, ignore):
    _tif(tmp_path / "m.tif", np.resize(np.array(values, np.uint8), (16, 16)), nodata=nodata)
    guesses = guess_classes(tmp_path, {"m.tif": read_header(tmp_path / "m.tif")})
    assert [each.value for each in guesses.classes] == classes and guesses.ignore == ignore
    assert len({each.color for each in guesses.classes}) == len(classes)


def test_constant_and_equal_bands_and_nan_are_told(tmp_path):
    image = np.random.default_rng(0).random((3, 32, 32), np.float32)
    image[1], image[2], image[0, 0] = 7, image[0], np.nan
    _tif(tmp_path / "d" / "a_1.tif", image)
    _, text, remarks = _described(tmp_path / "d")
    said = "\n".join(remarks)
    assert "band green is 7 everywhere" in said and "1.04% of the pixels looked at are NaN" in said
    assert "float32, 0.00" in text


def test_polygons_become_masks(tmp_path):
    import pyogrio
    import shapely

    for town, x in (("ulm", 600_000), ("bonn", 700_000)):
        _tif(tmp_path / "d" / f"{town}.tif", np.random.default_rng(x).integers(0, 9, (3, 32, 32)).astype(np.uint8), x=x)
    shapes = shapely.to_wkb([shapely.box(x, 4_999_800, x + 100, 5_000_000) for x in (600_000, 600_100, 700_000)])
    kinds = np.array(["wood", "bog", "bog"], object)
    path = tmp_path / "d" / "use.gpkg"
    pyogrio.raw.write(path, shapes, [kinds], ["kind"], geometry_type="Polygon", crs="EPSG:32632")
    catalog, text, _ = _described(tmp_path / "d")
    assert catalog.classes.names == ("bog", "wood") and 'mask_field = "kind"' in text
    assert catalog.polygons is not None and (catalog.patches["mask"] == str(path)).all()


def test_masks_that_hold_no_classes_are_told(tmp_path):
    _tif(tmp_path / "m.tif", np.zeros((16, 16), np.float32))
    guesses = guess_classes(tmp_path, {"m.tif": read_header(tmp_path / "m.tif")})
    assert "masks of 1 bands of float32 hold no classes" in guesses.remarks[0] and len(guesses.classes) == 2


def test_names_of_an_attribute_table(tmp_path):
    field = "<FieldDefn><Name>{}</Name><Type>0</Type><Usage>{}</Usage></FieldDefn>"
    fields = field.format("Value", 5) + field.format("Class", 2)
    rows = "<Row><F>1</F><F>water</F></Row><Row><F>7.0</F><F>bog</F></Row>"
    (tmp_path / "m.tif.aux.xml").write_text(
        f"<PAMDataset><GDALRasterAttributeTable>{fields}{rows}</GDALRasterAttributeTable></PAMDataset>"
    )
    assert category_names(tmp_path / "m.tif") == {1: "water", 7: "bog"}
    (tmp_path / "m.tif.aux.xml").write_text("<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>")
    assert category_names(tmp_path / "m.tif") == {}


def test_equal_files_are_those_with_the_same_bytes(tmp_path):
    for name, content in (("a", b"xy"), ("b", b"xy"), ("c", b"zy"), ("d", b"xyz")):
        (tmp_path / name).write_bytes(content)
    assert equal_files([tmp_path / name for name in "abcd"]) == [(tmp_path / "a", tmp_path / "b")]


def test_a_large_raster_is_read_by_windows(tmp_path, monkeypatch):
    from benchmark.data.look import sample_mask

    with rasterio.open(
        tmp_path / "m.tif", "w", driver="GTiff", count=1, height=9000, width=9000, dtype="uint8", tiled=True,
        compress="deflate", sparse_ok=True, crs="EPSG:32632", transform=rasterio.transform.from_origin(0, 0, 1, 1),
    ) as file:  # fmt: skip
        file.write(np.ones((1, 512, 512), np.uint8), window=rasterio.windows.Window(0, 0, 512, 512))
    counts = sample_mask(tmp_path / "m.tif", read_header(tmp_path / "m.tif"), colored=False)
    assert counts == {0: 8 * 512**2, 1: 512**2}


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("values", [["roof", "road"], [3, 7]])
def test_polygons_give_the_attribute_of_the_class(tmp_path, one, values):
    for number, town in enumerate(("ulm", "bonn")):
        image = np.random.default_rng(number).integers(0, 255, (3, 32, 32)).astype(np.uint8)
        _tif(tmp_path / "d" / f"{town}.tif", image, x=600_000 + 320 * number)
        boxes = [shapely.box(600_000 + 320 * each, 4_999_700, 600_300 + 320 * each, 5_000_000) for each in (number, 0)]
        fields = [np.array(values), np.array(["x", "y"]), np.arange(2.0)]
        written = {
            "field_data": fields,
            "fields": ["class", "note", "area"],
            "geometry_type": "Polygon",
            "crs": "EPSG:32632",
        }
        name = "landuse.gpkg" if one else f"{town}.gpkg"
        pyogrio.raw.write(tmp_path / "d" / name, np.asarray(shapely.to_wkb(np.array(boxes)), object), **written)
    catalog, text, remarks = _described(tmp_path / "d")
    assert f'mask = "{"landuse" if one else "{stem}"}.gpkg"' in text and 'mask_field = "class"' in text
    assert catalog.classes.names == (("road", "roof") if values[0] == "roof" else ("class_3", "class_7"))
    assert (catalog.patches["mask"] != "").all() and "it could also be note (2 values)" in "\n".join(remarks)


def test_polygons_are_left_out_where_images_have_no_georeference(tmp_path):
    _save(tmp_path / "d" / "a.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "d" / "a.gpkg").write_bytes(b"no shapes")
    catalog, text, remarks = _described(tmp_path / "d")
    assert "mask" not in text.split("ignore")[0] and (catalog.patches["mask"] == "").all()
    assert "{stem}.gpkg is not used: polygons need georeferenced images" in remarks[0]
