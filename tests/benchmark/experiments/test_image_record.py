"""What a run writes down of its images: their pixels on the ground, classes, places and months."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform as transform_points

from benchmark.common.errors import DataError
from benchmark.data.georeference import Georeference
from benchmark.experiments.image_record import IMAGES, ImageRecord, metres_per_pixel, read_record, write_record
from methods.base import Needs


@pytest.fixture
def pixel(catalog):
    with rasterio.open(catalog.patches["image"][0]) as file:
        return file.transform.a


def test_a_record_is_read_as_it_was_written(bench, tmp_path, pixel):
    job = bench.jobs(["source-only"], [0], ["2020"])[0]
    write_record(tmp_path, bench, job)
    record = read_record(tmp_path)
    assert (tmp_path / IMAGES).is_file()
    assert record == ImageRecord.of(bench.catalog, bench.fold_data("2020"), Needs.SOURCE_LABELS, 32)
    assert record.classes == bench.catalog.classes and record.bands == bench.catalog.bands
    assert record.resolution == pytest.approx(pixel) and record.patch_size == 32
    assert record.places == ("D901", "D902") and {date[:4] for date in record.dates} == {"2019"}
    assert record.domains == ("D901@2019", "D902@2019")


def test_the_size_of_a_pixel_is_that_of_the_patches_after_shrinking(catalog, data, pixel):
    def resolution(other):
        return ImageRecord.of(other, data, Needs.SOURCE_LABELS, 0).resolution

    assert resolution(replace(catalog, scale=0.5)) == pytest.approx(2 * pixel)
    ids = catalog.patches["id"]
    sides = np.tile([[0.0, 0.0, 6.4, 6.4]], (len(ids), 1))
    footprints = pd.DataFrame(sides, index=pd.Index(ids), columns=["west", "south", "east", "north"])
    assert resolution(replace(catalog, footprints=footprints)) == pytest.approx(pixel)
    gone = replace(catalog, patches=catalog.patches.assign(image=[f"/nowhere/{name}.png" for name in ids]))
    assert resolution(gone) is None
    assert resolution(replace(gone, footprints=footprints)) == pytest.approx(0.2)
    assert resolution(replace(gone, footprints=footprints * np.nan)) is None


@pytest.mark.parametrize(
    ("system", "across", "sides"),
    [
        ("EPSG:2154", 0.2, (0.2, 0.2)),
        ("EPSG:2229", 1.0, (1200 / 3937, 1200 / 3937)),  # feet
        ("EPSG:3857", 0.3, (0.3 * 0.65672, 0.3 * 0.65863)),  # at 48.9 degrees north, and not 0.3 m
        ("EPSG:4326", 1e-6, (0.111209, 0.073289)),
    ],
)
def test_a_pixel_is_measured_on_the_ground(system, across, sides):
    crs = CRS.from_string(system)
    (x,), (y,) = transform_points(
        CRS.from_epsg(4326), crs, *([-118.2], [34.0]) if "2229" in system else ([2.3], [48.9])
    )
    size = (11, 21)
    upright = from_origin(x, y, across, across)
    assert metres_per_pixel(Georeference(upright, crs), size) == pytest.approx(sides, rel=1e-3)
    if system == "EPSG:2154":
        turned = upright @ Affine.rotation(30)
        assert metres_per_pixel(Georeference(turned, crs), size) == pytest.approx(sides)


def test_a_place_that_is_none_has_no_pixels_in_metres():
    assert metres_per_pixel(None, (1, 1)) is None
    assert metres_per_pixel(Georeference(from_origin(0, 0, 1, 1), None), (1, 1)) is None
    with pytest.raises(DataError, match="nowhere on the earth"):
        metres_per_pixel(Georeference(from_origin(0, 95, 1, 1), CRS.from_epsg(4326)), (1, 1))
