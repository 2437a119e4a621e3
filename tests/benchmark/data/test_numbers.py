"""Numbers of other types than uint8: what replaces missing ones, what is refused, and what a store knows of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin

from benchmark.common.errors import DataError
from benchmark.data.catalog import Catalog
from benchmark.data.classes import FLAIR_13, IGNORE
from benchmark.data.numbers import fill_in, sum_pixels, without_gaps
from benchmark.data.raster import read_pixels
from benchmark.data.statistics import domain_statistics
from benchmark.data.store import open_store

FILE = Path("i.tif")
RNG = np.random.default_rng(0)
MASK = RNG.integers(1, 5, (1, 16, 16), dtype=np.uint8)


def _tiff(path, array, **tags):
    count, height, width = array.shape
    settings = {"count": count, "height": height, "width": width, "dtype": array.dtype}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(0, 0, 1, 1), **settings, **tags) as file:
        file.write(array)
    return path


@pytest.fixture
def open_images(tmp_path, patches):
    """Opens the store of three images (2, 16, 16), of which the first two are one domain."""

    def opened(arrays, **tags):
        mask = _tiff(tmp_path / "m.tif", MASK)
        paths = [_tiff(tmp_path / f"{number}.tif", array, **tags) for number, array in enumerate(arrays)]
        table = patches.assign(id=["a", "b", "c"], time="2021", image=[*map(str, paths)], mask=str(mask))
        catalog = Catalog("numbers", FLAIR_13, ("nir", "height"), 16, pd.DataFrame(table))
        return catalog, open_store(catalog, tmp_path / "stores")

    return opened


def _images(kind):
    return [RNG.normal(300, 90, (2, 16, 16)).astype(kind) * np.array([[[1]], [[4]]], kind) for _ in range(3)]


@pytest.mark.parametrize(("value", "kind"), [(-9999, np.int16), (-32768, np.int16), (-9999, np.float32)])
def test_a_number_that_programs_write_where_there_is_no_data_is_refused(value, kind):
    image = RNG.normal(300, 90, (2, 16, 16)).astype(kind)
    image[0, :4] = value  # one band alone may hold it
    assert without_gaps(FILE, image, None)[1] is None
    image[1, :4] = value
    with pytest.raises(DataError, match=f"holds {value} in all bands of 25.0% of its pixels, which looks like"):
        without_gaps(FILE, image, None)
    assert without_gaps(FILE, image, np.arange(16)[:, None] >= np.full(16, 4))[0].min() > value  # a tag says it


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.float32])
def test_a_store_keeps_the_numbers_and_their_statistics(open_images, kind):
    arrays = _images(kind)
    if kind is not np.uint16:
        arrays = [array - kind(500) for array in arrays]
    catalog, store = open_images(arrays)
    rows = store.rows(["a", "b", "c"])
    assert store.kind == kind and np.array_equal(store.read(rows), arrays)
    for some in ([0, 1, 2], [1]):
        pixels = np.stack(arrays)[some].astype(float)
        mean, std = store.band_statistics(rows[some])
        np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-6)
        np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-6)
        assert np.array_equal(store.range_of(rows[some]), [pixels.min((0, 2, 3)), pixels.max((0, 2, 3))])
        sample = store.sample(rows[some])
        assert sample.dtype == kind and sample.shape == (2, 128 * len(some))
        assert all(np.isin(sample[band], pixels[:, band]).all() for band in range(2))
    last = domain_statistics(catalog, store, (0.1, 0.5))[-1]
    expected = np.quantile(np.stack(arrays).swapaxes(0, 1).reshape(2, -1), (0.1, 0.5), axis=1).T
    np.testing.assert_allclose(last.quantiles, expected, atol=120)


def test_what_is_not_finite_is_no_data_and_is_filled_with_the_mean(open_images, caplog):
    arrays = _images(np.float32)
    arrays[0][0, :4] = np.nan
    arrays[0][1, 4:6] = np.inf
    arrays[1][:, 8:] = -9999
    arrays[1][0, :2] = -9999  # one band alone
    catalog, store = open_images(arrays, nodata=-9999)
    rows = store.rows(["a", "b", "c"])
    images, masks = store.read(rows), store.labels_of(rows).read(rows)
    assert np.isfinite(images).all() and store.valid[rows].tolist() == [160, 96, 256]
    filled = np.broadcast_to(arrays[0][:, 6:].mean((1, 2))[:, None, None], (2, 6, 16))
    np.testing.assert_allclose(images[0, :, :6], filled, rtol=1e-6)
    assert np.array_equal(images[0, :, 6:], arrays[0][:, 6:])
    np.testing.assert_allclose(images[1, :, 8:].std(), images[1, :, :1].std(), rtol=1e-5)
    assert (masks[0, :6] == IGNORE).all() and (masks[0, 6:] != IGNORE).all() and (masks[1, 8:] == IGNORE).all()
    seen = np.concatenate([arrays[0][:, 6:], arrays[1][:, 2:8]], 1).astype(float)
    np.testing.assert_allclose(store.band_statistics(rows[:2])[0], seen.mean((1, 2)), rtol=1e-6)
    assert store.sample(rows[:2]).min() > -2000
    assert "% of the pixels hold no data" in caplog.text and catalog.patches["place"][0] in caplog.text


def test_an_image_without_any_data_is_zero_and_in_no_statistics(open_images):
    arrays = [np.full((2, 16, 16), -9999, np.int16), *_images(np.int16)[1:]]
    _, store = open_images(arrays, nodata=-9999)
    rows = store.rows(["a", "b"])
    assert not store.read(rows[:1]).any() and store.sample(rows).shape == (2, 128)
    assert store.image_keys[rows[0]] == "" and store.image_keys[rows[1]] != ""


def test_eight_bits_stay_as_they_are():
    image, valid = RNG.integers(0, 9, (2, 4, 4), dtype=np.uint8), np.eye(4, dtype=bool)
    assert without_gaps(FILE, image, valid) == (image, valid)
    assert np.array_equal(fill_in(image[None], valid[None])[0], image)


def test_a_forgotten_nodata_tag_is_named():
    image = np.ones((2, 4, 4), np.float32)
    image[:, 0] = np.finfo(np.float32).min
    with pytest.raises(DataError, match=r"i\.tif: holds -3.40282e\+38, .*-a_nodata -3.40282347e\+38"):
        without_gaps(FILE, image, None)


def test_two_types_in_one_data_set_are_refused(open_images):
    one, other = _images(np.uint16)[0], _images(np.float32)[0]
    with pytest.raises(DataError, match=r"1\.tif: pixels are float32, but those of .*0\.tif uint16; .*gdal_translate"):
        open_images([one, other, one])
    with pytest.raises(DataError, match=r"c: pixels are float32, but those of a uint16; all images"):
        open_images([one, one, other])  # another domain, and so another shard


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_a_constant_band_raises_the_alarm(open_images, caplog, kind):
    arrays = _images(kind)
    for array in arrays[:2]:
        array[1] = -7.5 if kind is np.float32 else -7
    _, store = open_images(arrays)
    value = "-7.5" if kind is np.float32 else "-7"
    assert f"band height is {value} in every pixel of P1@2021" in caplog.text and "nir" not in caplog.text
    assert "P2@2021" not in caplog.text
    assert (store.band_statistics(store.rows(["a", "b"]))[1] > 0).all()


def test_the_same_bytes_of_another_type_have_another_digest(open_images):
    array = _images(np.uint16)
    assert open_images(array)[1].digest != open_images([each.view(np.int16) for each in array])[1].digest


def test_the_extremes_of_bytes_are_those_of_the_pixels_with_data():
    images, valid = RNG.integers(3, 250, (3, 2, 8, 8), dtype=np.uint8), RNG.random((3, 8, 8)) < 0.5
    valid[2] = False
    sums = sum_pixels(images, valid)
    seen = [image[:, where] for image, where in zip(images[:2], valid[:2], strict=True)]
    expected = [np.stack([values.min(1), values.max(1)], 1) for values in seen]
    assert np.array_equal(sums.extremes[:2], expected) and np.isinf(sums.extremes[2]).all()
    assert sums.varies.tolist() == [True, True, False]


def test_white_is_zero_of_signed_numbers_is_refused(tmp_path):
    path = _tiff(tmp_path / "w.tif", _images(np.int16)[0][:1], photometric="MINISWHITE")
    with pytest.raises(DataError, match=r"w\.tif: its tags say that white is zero, of int16"):
        read_pixels(path, ("grey",))
