"""Images and masks are read as a viewer shows them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image, ImageOps
from rasterio.transform import from_origin

from benchmark.common.errors import DataError
from benchmark.data.catalog import Catalog
from benchmark.data.orientation import tiff_orientation, turned, turned_size
from benchmark.data.patches import read_patches
from benchmark.data.raster import image_size, read_image, read_labels, read_mask

PIXELS = np.random.default_rng(5).integers(0, 250, (5, 9, 3), dtype=np.uint8)


def _save(path: Path, pixels: np.ndarray, orientation: int) -> Path:
    picture = Image.fromarray(pixels)
    if path.suffix == ".tif":
        picture.save(path, tiffinfo={274: orientation})
    else:
        exif = picture.getexif()
        exif[274] = orientation
        picture.save(path, exif=exif.tobytes(), quality=100)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_as_pillow_does(orientation: int) -> None:
    picture = Image.fromarray(PIXELS)
    picture.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(turned(PIXELS.transpose(2, 0, 1), orientation).transpose(1, 2, 0), expected)
    assert turned_size(5, 9, orientation) == expected.shape[:2]


@pytest.mark.parametrize("ending", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_every_kind_of_file_is_turned(tmp_path: Path, ending: str, orientation: int) -> None:
    path = _save(tmp_path / f"a.{ending}", PIXELS, orientation)
    plain = read_image(_save(tmp_path / f"b.{ending}", PIXELS, 1), 3)
    assert np.array_equal(read_image(path, 3), turned(plain, orientation))
    assert image_size(path) == turned_size(5, 9, orientation)
    if ending in ("png", "tif"):
        mask = _save(tmp_path / f"m.{ending}", PIXELS[..., 0], orientation)
        assert np.array_equal(read_mask(mask), turned(PIXELS[..., 0], orientation))
        assert np.array_equal(
            read_labels(path, colors=True).values.transpose(2, 0, 1), turned(PIXELS.transpose(2, 0, 1), orientation)
        )


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_tag_of_either_byte_order_is_found(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.tif"
    profile = {"count": 1, "height": 4, "width": 4, "dtype": "uint8", "ENDIANNESS": "BIG" if order == ">" else "LITTLE"}
    for big in ("NO", "YES"):
        with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
            rasterio.open(path, "w", driver="GTiff", BIGTIFF=big, **profile).close()
        assert tiff_orientation(path) == 1
        content = bytearray(path.read_bytes())
        # The tag of the photometric interpretation becomes one of orientation, half a turn.
        kind = np.array([262, 3], f"{order}u2").tobytes()
        place = content.index(kind)
        content[place : place + 2] = np.array([274], f"{order}u2").tobytes()
        value = place + (12 if big == "YES" else 8)
        content[value : value + 2] = np.array([3], f"{order}u2").tobytes()
        path.write_bytes(content)
        assert tiff_orientation(path) == 3


def test_a_damaged_tag_turns_nothing(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert np.array_equal(read_image(tmp_path / "a.png", 3), PIXELS.transpose(2, 0, 1))


def test_a_georeferenced_file_with_a_turn_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.tif", PIXELS[..., 0], 6)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(path, "r+") as file:
        file.transform = from_origin(1000, 2000, 0.5, 0.5)
    with pytest.raises(DataError, match=r"a\.tif: has a georeference and an orientation tag \(6\)"):
        read_image(path, 1)


def test_a_pair_that_fits_only_when_turned_says_so(tmp_path: Path, write_picture, patches: pd.DataFrame) -> None:
    image = _save(tmp_path / "i.png", PIXELS, 6)
    mask = write_picture(tmp_path / "m.png", np.ones((5, 9), np.uint8))
    rows = patches.iloc[:1].assign(image=str(image), mask=str(mask))
    from benchmark.data.classes import ClassSet, LandClass

    classes = ClassSet("two", (LandClass("a", "#000001", (1,)), LandClass("b", "#000002", (2,))))
    catalog = Catalog("d", classes, ("red", "green", "blue"), 4, rows)
    with pytest.raises(DataError, match="turned by a quarter they fit: one of them lost its orientation tag"):
        read_patches(catalog, catalog.patches)
