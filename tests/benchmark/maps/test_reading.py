"""Images are read right by parts, mirrored, resampled; and refused where a run does not fit them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS

from benchmark.common.errors import DataError
from benchmark.data import areas, raster
from benchmark.maps.reading import images_of, open_image
from benchmark.maps.windows import Span


def span(first: int, stop: int) -> Span:
    return Span(first, stop - first, first, stop)


@pytest.fixture
def whole(write_image, run):
    """Return a function that writes an image; gives it, and its pixels by rasterio."""

    def whole(*size, **profile):
        path = write_image(*size, **profile)
        with rasterio.open(path) as file:
            return open_image(path, run.images), file.read()

    return whole


def test_parts_are_those_of_the_whole_mirrored_at_its_borders(whole, monkeypatch):
    monkeypatch.setattr("benchmark.data.areas.LARGE", 1)
    image, pixels = whole(70, 90, tiled=True, blockxsize=16, blockysize=16)
    padded = np.pad(pixels, ((0, 0), (20, 20), (20, 20)), mode="reflect")
    for rows, columns in (((-20, 90), (-20, 110)), ((5, 9), (60, 105)), ((60, 80), (-3, 2)), ((69, 70), (0, 1))):
        part, valid = image.read(span(*rows), span(*columns))
        assert (part == padded[:, rows[0] + 20 : rows[1] + 20, columns[0] + 20 : columns[1] + 20]).all()
        assert valid.all()


def test_shrunk_pixels_are_means_and_enlarged_ones_interpolated(whole):
    image, pixels = whole(64, 48, step=0.5)
    part, _ = image.read(span(0, 32), span(0, 24))
    assert part == pytest.approx(pixels.reshape(5, 32, 2, 24, 2).mean((2, 4)), abs=1e-3)
    image, pixels = whole(10, 12, step=2.0)
    part, _ = image.read(span(0, 20), span(0, 24))
    between = pixels[:, 3, 4] * 0.75 * 0.75 + pixels[:, 4, 4] * 0.25 * 0.75
    between = between + pixels[:, 3, 5] * 0.75 * 0.25 + pixels[:, 4, 5] * 0.25 * 0.25
    assert part[:, 7, 9] == pytest.approx(between, abs=1e-3) and (part[:, 0, 0] == pixels[:, 0, 0]).all()


@pytest.mark.parametrize("step", [0.37, 0.8, 1.3, 3.1])
def test_resampled_parts_are_those_of_the_whole(whole, step):
    image, _ = whole(61, 53, step=step)
    all_of_it, _ = image.read(span(0, image.height), span(0, image.width))
    assert all_of_it.shape == (5, image.height, image.width) and np.isfinite(all_of_it).all()
    part, _ = image.read(span(5, 11), span(9, 14))
    assert part == pytest.approx(all_of_it[:, 5:11, 9:14], abs=1e-3)


def test_resampled_pixels_take_nothing_from_pixels_without_data(write_image, run):
    path = write_image(40, 40, step=0.5, nodata=0)
    with rasterio.open(path, "r+") as file:
        pixels = np.full((5, 40, 40), 100, np.uint8)
        pixels[:, :, 7:20] = 0
        file.write(pixels)
    part, valid = open_image(path, run.images).read(span(0, 20), span(0, 20))
    assert valid[0].tolist() == [True] * 4 + [False] * 6 + [True] * 10
    assert part[:, valid] == pytest.approx(100)


def test_bands_are_those_of_the_run(write_image, run):
    path = write_image(40, 40)
    more = replace(run.images, bands=("nir", "red"), file_bands=run.images.bands)
    with rasterio.open(path) as file:
        expected = file.read([4, 1])
    assert (open_image(path, more).read(span(0, 40), span(0, 40))[0] == expected).all()
    few = replace(run.images, bands=("red", "green", "blue"), file_bands=())
    with pytest.raises(DataError, match="has 5 bands, but the run was trained on 3: red, green, blue"):
        open_image(path, few)


def test_bands_with_names_are_brought_into_the_order_of_the_run(write_image, run):
    path = write_image(40, 40)
    with rasterio.open(path, "r+") as file:
        pixels = file.read()
        file.descriptions = ("nir", "red", "green", "blue", "height")
    part, _ = open_image(path, run.images).read(span(0, 40), span(0, 40))
    assert (part == pixels[[1, 2, 3, 0, 4]]).all()
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("green", "red", "thermal", "blue", "height")
    with pytest.raises(DataError, match="calls its band 1 'green'"):
        open_image(path, run.images).read(span(0, 40), span(0, 40))


def check(path, run):
    mean, std = (each.flatten().double().numpy() for each in (run.method.network.mean, run.method.network.std))
    open_image(path, run.images).check_numbers(run.scaling, mean, std)


@pytest.mark.parametrize("factor", [1 / 255, 40, 257])
def test_numbers_on_another_scale_are_refused(write_image, run, factor):
    path = write_image(300, 300)
    check(path, run)
    with rasterio.open(path) as file:
        pixels = file.read()
    other = write_image(300, 300, "other", dtype="float32")
    with rasterio.open(other, "r+") as file:
        file.write((pixels * np.float32(factor)).astype(np.float32))
    with pytest.raises(DataError, match=r"other.tif: band '.*' has numbers of .*, but the run was trained on a mean"):
        check(other, run)


def test_an_image_needs_a_place_unless_its_map_may_have_none(write_image, run):
    path = write_image(40, 40, crs=None)
    with pytest.raises(DataError, match=r"has no coordinate system; set it .*--no-crs"):
        open_image(path, run.images)
    image = open_image(path, run.images, no_crs=True)
    assert image.crs is None and image.resolution is None and not image.is_resampled


def test_degrees_are_metres_on_the_ground(write_image, run):
    path = write_image(100, 100)
    with rasterio.open(path, "r+") as file:
        file.crs = CRS.from_epsg(4326)
        side = (run.images.resolution or 1) / 111_195
        file.transform = rasterio.transform.from_origin(2, 60, 2 * side, side)  # a parallel is half as long there
    image = open_image(path, run.images)
    assert image.resolution == pytest.approx((run.images.resolution,) * 2, rel=0.01)
    assert not image.is_resampled


@pytest.mark.parametrize("step", [0.05, 10])
def test_pixels_of_a_far_other_size_are_refused(write_image, run, step):
    with pytest.raises(DataError, match=r"has pixels of .* m, but the run was trained on"):
        open_image(write_image(40, 40, step=step), run.images)


def test_bands_with_names_that_a_run_does_not_know_are_named(write_image, run):
    path = write_image(40, 40)
    assert open_image(path, run.images).other_names == []
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("swir", *run.images.bands[1:])
    assert open_image(path, run.images).other_names == ["swir"]


def test_pixels_without_a_width_are_refused(write_image, run):
    place = rasterio.transform.from_origin(700_000, 6_600_000, 1e-11, 1e-11)
    with pytest.raises(DataError, match=r"by its georeference a pixel is .* m wide and"):
        open_image(write_image(40, 40, transform=place), run.images)


def test_a_file_that_is_kept_open_is_opened_once(write_image, run, monkeypatch):
    monkeypatch.setattr(areas, "LARGE", 0)
    path = write_image(300, 300, tiled=True, blockxsize=128, blockysize=128)
    image, opened, part = open_image(path, run.images), [], span(100, 250)
    expected = image.read(part, part)
    open_raster = raster.open_raster
    monkeypatch.setattr(raster, "open_raster", lambda *given: opened.append(given) or open_raster(*given))
    with ThreadPoolExecutor(1) as reader:
        with image.kept_open(reader):
            found = [reader.submit(image.read, part, part).result() for _ in range(3)]
        assert len(opened) == 1
    image.read(part, part)
    assert len(opened) > 1
    assert all((each == one).all() for pair in found for each, one in zip(pair, expected, strict=True))


def test_folders_patterns_and_mosaics_are_images(write_image, tmp_path, run):
    one, two = write_image(32, 32, "one"), write_image(32, 40, "two")
    (tmp_path / "one.classes.tif").write_bytes(b"")
    assert images_of([tmp_path]) == images_of([tmp_path / "*.tif"]) == {"one": one, "two": two}
    with pytest.raises(DataError, match="holds no image"):
        images_of([tmp_path / "*.png"])
    (tmp_path / "more").mkdir()
    copy = tmp_path / "more" / "one.tif"
    copy.write_bytes(one.read_bytes())
    with pytest.raises(DataError, match="would give maps of one name"):
        images_of([one, copy])
    with rasterio.open(two, "r+") as file:
        file.transform = file.transform @ rasterio.Affine.translation(32, 0)
    image = open_image(images_of([one, two], "all")["all"], run.images)
    assert (image.height, image.width) == (32, 72)
    assert image.read(span(0, 32), span(0, 72))[1].all()
