"""Which reader takes a file, and what one that no reader takes seems to be."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from benchmark.common.errors import DataError
from benchmark.data.raster import read_image


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_jpeg_2000_of_8_bits_as_gdal_writes_it(tmp_path: Path, bands: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (bands, 24, 40), dtype=np.uint8)
    shape = {"count": bands, "height": 24, "width": 40, "dtype": "uint8"}
    with rasterio.open(tmp_path / "i.jp2", "w", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", **shape) as file:
        file.write(pixels)
    assert np.array_equal(read_image(tmp_path / "i.jp2", bands), pixels)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("i.tif", b"\xff\xd8\xff\xe0JFIF", "it begins as a JPEG image"),
        ("i.png", b"II*\0\x08\0\0\0", "it begins as a TIFF image"),
        ("i.tif", b"", "it is empty"),
        ("i.png", b"version https://git-lfs.github.com/spec/v1\n", "with 'git lfs pull'"),
        ("i.jpg", b"<!DOCTYPE html>", "it begins as a page"),
    ],
)
def test_what_an_unreadable_file_seems_to_be(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=kind):
        read_image(tmp_path / name, 3)


def test_a_kind_that_its_name_says_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "i.tif").write_bytes(b"II*\0\x08\0\0\0")
    with pytest.raises(DataError) as error:
        read_image(tmp_path / "i.tif", 3)
    assert "begins as" not in str(error.value)


def test_a_gif_is_named(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "i.gif")
    with pytest.raises(DataError, match="it begins as a GIF image"):
        read_image(tmp_path / "i.gif", 1)
