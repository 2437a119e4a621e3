"""What a run writes down of its images: their pixels on the ground, classes, places and months."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import rasterio

from benchmark.experiments.image_record import IMAGES, ImageRecord, read_record, write_record
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
