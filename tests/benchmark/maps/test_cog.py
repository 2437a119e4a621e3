import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine
from rio_cogeo.cogeo import cog_validate

from benchmark.common.errors import DataError
from benchmark.maps.cog import SIDE_FILE, assemble
from benchmark.maps.legend import NO_DATA
from benchmark.maps.map_file import read_map
from tests.benchmark.maps.conftest import SMALL

PLACE = Affine(0.2, 0, 700_000, 0, -0.2, 6_600_000)
FACTS = {"run": 'a<b>&"c"', "method": "dann", "training_domains": "D006_2020, D007_2020"}


def write_block(path, pixels, row=0, column=0, place=PLACE, crs="EPSG:2154", nodata=NO_DATA, **more):
    profile = more | {
        "driver": "GTiff",
        "dtype": "uint8",
        "nodata": nodata,
        "crs": CRS.from_user_input(crs) if crs else None,
    }
    profile |= dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(path, "w", transform=place @ Affine.translation(column, row), **profile) as file:
        file.write(pixels)
    return path


def write_blocks(folder: Path, pixels, size=400, **how) -> list[Path]:
    """Write (bands, H, W) as blocks, the last first."""
    corners = [(y, x) for y in range(0, pixels.shape[1], size) for x in range(0, pixels.shape[2], size)]
    return [
        write_block(folder / f"{y}-{x}.tif", pixels[:, y : y + size, x : x + size], y, x, **how)
        for y, x in reversed(corners)
    ]


def random_classes(height, width, seed=0):
    return np.random.default_rng(seed).choice(np.array([1, 7, 10, NO_DATA], np.uint8), (1, height, width))


def test_blocks_become_a_cog_of_classes(tmp_path):
    pixels = random_classes(700, 1300)
    target = tmp_path / "town.classes.tif"
    assemble(write_blocks(tmp_path / "blocks", pixels), target, SMALL, FACTS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blocks", target.name, target.name + SIDE_FILE]
    assert cog_validate(target, strict=True) == (True, [], [])
    made = read_map(target)
    assert (made.legend, made.facts, made.crs.to_epsg(), made.transform) == (SMALL, FACTS, 2154, PLACE)
    with rasterio.open(target) as file:
        assert np.array_equal(file.read(), pixels)
        assert file.nodata == NO_DATA and file.colorinterp[0].name == "palette"
        assert file.colormap(1)[1] == (0xDB, 0x0E, 0x9A, 255) and file.colormap(1)[NO_DATA][3] == 0
        levels = len(file.overviews(1))
    assert levels == 2
    for level in range(levels):
        with rasterio.open(target, overview_level=level) as file:
            assert set(np.unique(file.read())) <= {1, 7, 10, NO_DATA}


def test_overviews_are_the_most_frequent_class(tmp_path):
    pixels = np.full((1, 1024, 1024), 1, np.uint8)
    pixels[:, ::2, ::2] = 7
    assemble(write_blocks(tmp_path / "blocks", pixels), tmp_path / "m.tif", SMALL, {})
    with rasterio.open(tmp_path / "m.tif", overview_level=0) as file:
        assert np.unique(file.read()).tolist() == [1]


def test_gdal_reads_the_names_of_classes(tmp_path):
    target = tmp_path / "town.classes.tif"
    assemble(write_blocks(tmp_path / "blocks", random_classes(4, 4)), target, SMALL, {})
    rasterio.shutil.copy(target, tmp_path / "read.vrt", driver="VRT")  # GDAL's own reading of the side file
    names = [each.text or "" for each in ET.parse(tmp_path / "read.vrt").iter("Category")]
    assert names[1] == "building" and names[10] == "herbaceous vegetation" and names[0] == names[2] == ""


@pytest.mark.parametrize(
    "crs, place", [(None, Affine.identity()), (None, PLACE), ("EPSG:4326", Affine(1, 0, 3, 0, -1, 4))]
)
def test_any_place_is_kept(tmp_path, crs, place):
    pixels = random_classes(30, 50)
    assemble(write_blocks(tmp_path / "blocks", pixels, 20, place=place, crs=crs), tmp_path / "m.tif", SMALL, {})
    made = read_map(tmp_path / "m.tif")
    assert made.transform.almost_equals(place) and made.crs == (CRS.from_user_input(crs) if crs else None)
    with rasterio.open(tmp_path / "m.tif") as file:
        assert np.array_equal(file.read(), pixels)


@pytest.mark.parametrize("kind, bands", [("confidence", 1), ("probabilities", 4)])
def test_percents_have_means_as_overviews(tmp_path, kind, bands):
    pixels = np.zeros((bands, 1024, 1024), np.uint8)
    pixels[:, ::2] = 100
    pixels[:, :, 0] = NO_DATA
    target = tmp_path / "m.tif"
    assemble(write_blocks(tmp_path / "blocks", pixels), target, SMALL, FACTS, kind=kind)
    assert cog_validate(target, strict=True) == (True, [], [])
    with rasterio.open(target) as file:
        assert np.array_equal(file.read(), pixels) and file.nodata == NO_DATA
        assert file.tags(ns="LANDSHIFT")["method"] == "dann"
        assert file.descriptions == ((None,) if bands == 1 else tuple(c.name for c in SMALL.classes))
        assert {kind.name for kind in file.colorinterp} <= {"gray", "undefined"}
    with rasterio.open(target, overview_level=0) as file:
        assert np.unique(file.read()).tolist() == [50]
    assert not (tmp_path / f"m.tif{SIDE_FILE}").exists()


def test_three_bands_of_probabilities_are_no_colors(tmp_path):
    legend = type(SMALL)("three", SMALL.classes[:3])
    pixels = np.full((3, 40, 40), 33, np.uint8)
    assemble(write_blocks(tmp_path / "blocks", pixels), tmp_path / "m.tif", legend, {}, kind="probabilities")
    with rasterio.open(tmp_path / "m.tif") as file:
        assert "red" not in [kind.name for kind in file.colorinterp] and file.profile.get("photometric") != "ycbcr"


def test_the_same_blocks_give_the_same_bytes(tmp_path):
    pixels = random_classes(700, 700)
    written = []
    for name in ("a", "b"):
        (tmp_path / "m.tif.part").write_bytes(b"left by a kill")
        (tmp_path / "m.tif.part.ovr.tmp").write_bytes(b"left by a kill")
        assemble(write_blocks(tmp_path / name, pixels), tmp_path / "m.tif", SMALL, FACTS)
        written.append((tmp_path / "m.tif").read_bytes())
    assert written[0] == written[1]
    assert not list(tmp_path.glob("*.tmp"))


def test_what_is_no_map_is_refused(tmp_path):
    one = write_block(tmp_path / "b" / "one.tif", random_classes(20, 20))
    target = tmp_path / "m.tif"

    def refused(other, message):
        with pytest.raises(DataError, match=re.escape(message)):
            assemble([one, other], target, SMALL, {})
        assert not target.exists()

    refused(write_block(tmp_path / "b" / "gap.tif", random_classes(20, 20), 30), "a block is missing")
    refused(one, "two overlap")
    refused(write_block(tmp_path / "b" / "off.tif", random_classes(20, 20), 20.5), "off.tif: is not on the grid")
    refused(write_block(tmp_path / "b" / "crs.tif", random_classes(20, 20), 20, crs="EPSG:2975"), "is not on the grid")
    refused(write_block(tmp_path / "b" / "none.tif", random_classes(20, 20), 20, nodata=0), "is no block of 1 band")
    (tmp_path / "b" / "text.tif").write_text("text")
    refused(tmp_path / "b" / "text.tif", "text.tif: cannot be read")


@pytest.mark.parametrize("kept", [0.5, 1.0])
def test_a_damaged_block_is_named(tmp_path, kept):
    paths = write_blocks(tmp_path / "b", random_classes(300, 300), 150, compress="DEFLATE")
    content = bytearray(paths[1].read_bytes())
    content[2000:4000] = b"\xff" * 2000
    paths[1].write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match=paths[1].name):
        assemble(paths, tmp_path / "m.tif", SMALL, {})
    assert not (tmp_path / "m.tif").exists()
