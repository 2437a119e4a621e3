"""Files are read as they are, or a clear error names them."""

import os
import struct
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from rasterio._err import CPLE_AppDefinedError
from rasterio.errors import NotGeoreferencedWarning

from benchmark.common.errors import DataError
from benchmark.data.catalog import Catalog
from benchmark.data.classes import IGNORE, ClassSet, LandClass
from benchmark.data.patches import read_patches, rescale, rescaled_size, windows
from benchmark.data.raster import image_size, open_raster, read_image, read_mask

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 255, (3, 6, 9), dtype=np.uint8)
TWO = ClassSet("two", (LandClass("a", "#000001", (1,)), LandClass("b", "#000002", (2,))))


# --- images


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_bands_come_first(tmp_path: Path, write_tiff, dtype: type) -> None:
    image = RNG.integers(0, 255, (5, 6, 9)).astype(dtype) * 3
    path = write_tiff(tmp_path / "a.tif", image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing georeference is nobody's concern
        read = read_image(path, 5)
        assert image_size(path) == (6, 9)
    assert read.dtype == dtype
    assert np.array_equal(read, image)


def test_png_and_jpeg(tmp_path: Path, write_picture) -> None:
    png = write_picture(tmp_path / "a.PNG", RGB.transpose(1, 2, 0))
    assert np.array_equal(read_image(png, 3), RGB)
    flat = np.full((6, 9, 3), (10, 120, 200), np.uint8)
    jpeg = read_image(write_picture(tmp_path / "a.jpg", flat), 3)
    assert jpeg.shape == (3, 6, 9)
    assert np.abs(jpeg.astype(int) - flat.transpose(2, 0, 1)).max() <= 3
    assert image_size(tmp_path / "a.jpg") == (6, 9)
    gray = write_picture(tmp_path / "gray.png", RGB[0])
    assert np.array_equal(read_image(gray, 1), RGB[:1])


def test_alpha_is_no_band_unless_asked_for(tmp_path: Path, write_picture) -> None:
    with_alpha = np.concatenate([RGB.transpose(1, 2, 0), np.full((6, 9, 1), 7, np.uint8)], axis=2)
    path = write_picture(tmp_path / "a.png", with_alpha)
    assert np.array_equal(read_image(path, 3), RGB)
    assert read_image(path, 4)[3, 0, 0] == 7


@pytest.mark.parametrize("ending", ["tif", "png", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_named(tmp_path: Path, write_tiff, write_picture, ending: str, share: float) -> None:
    path = tmp_path / f"IMG_000001.{ending}"
    image = RNG.integers(0, 255, (3, 64, 64), dtype=np.uint8)
    write_tiff(path, image) if ending == "tif" else write_picture(path, image.transpose(1, 2, 0))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=f"IMG_000001.{ending}: cannot be read, perhaps truncated: .+"):
        read_image(path, 3)


def test_an_error_that_rasterio_does_not_wrap_is_told_as_any_other(tmp_path: Path, write_tiff, monkeypatch) -> None:
    class Damaged(rasterio.DatasetReader):
        @property
        def colorinterp(self):  # type: ignore[no-untyped-def]
            raise CPLE_AppDefinedError(3, 1, "Cannot read offset")

    write_tiff(tmp_path / "a.tif", RNG.integers(0, 255, (3, 8, 8), dtype=np.uint8))
    monkeypatch.setattr(rasterio, "DatasetReader", Damaged)
    with pytest.raises(DataError, match=r"a.tif: cannot be read, perhaps truncated: Cannot read offset"):
        read_image(tmp_path / "a.tif", 3)


@pytest.mark.parametrize("ending", ["tif", "png"])
def test_a_missing_file_is_named(tmp_path: Path, ending: str) -> None:
    for read in (lambda path: read_image(path, 3), read_mask, image_size):
        with pytest.raises(DataError, match=f"gone.{ending}: no such file"):
            read(tmp_path / f"gone.{ending}")


def test_wrong_bands_and_types_are_named(tmp_path: Path, write_tiff) -> None:
    with pytest.raises(DataError, match=r"a.tif: has 3 bands where 5 are expected"):
        read_image(write_tiff(tmp_path / "a.tif", RGB), 5)
    for kind in (np.float64, np.int32, np.uint32):
        with pytest.raises(DataError, match=rf"f.tif: pixels are {kind.__name__}; .*gdal_translate -ot Float32"):
            read_image(write_tiff(tmp_path / "f.tif", RGB.astype(kind)), 3)


# --- masks


def _palette_png(path: Path) -> np.ndarray:
    indices = RNG.integers(0, 2, (6, 9), dtype=np.uint8)
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([0x3C, 0x10, 0x98, 0x84, 0x29, 0xF6])
    picture.putdata(indices.ravel().tolist())
    picture.save(path)
    return indices


def test_palette_png_gives_indices_or_colors(tmp_path: Path) -> None:
    """Dubai's tiles 2 and 4 are palette files in a dataset whose masks are colours."""
    indices = _palette_png(tmp_path / "p.png")
    assert np.array_equal(read_mask(tmp_path / "p.png"), indices)
    colors = read_mask(tmp_path / "p.png", colors=True)
    assert colors.shape == (6, 9, 3)
    assert np.array_equal(colors[..., 0] == 0x84, indices == 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32])
def test_index_masks_of_all_integers(tmp_path: Path, write_tiff, dtype: type) -> None:
    mask = RNG.integers(0, 100, (6, 9)).astype(dtype)
    assert np.array_equal(read_mask(write_tiff(tmp_path / "m.tif", mask)), mask)


def test_color_masks_of_tiff_and_png(tmp_path: Path, write_tiff, write_picture) -> None:
    for path in (write_tiff(tmp_path / "m.tif", RGB), write_picture(tmp_path / "m.png", RGB.transpose(1, 2, 0))):
        assert np.array_equal(read_mask(path, colors=True), RGB.transpose(1, 2, 0))
        with pytest.raises(DataError, match=r"m\.\w+: 3 bands where one band of class values"):
            read_mask(path)


def test_masks_that_are_none(tmp_path: Path, write_tiff) -> None:
    with pytest.raises(DataError, match="float32 where integers"):
        read_mask(write_tiff(tmp_path / "f.tif", RGB[0].astype(np.float32)))
    with pytest.raises(DataError, match=r"-1..5 where 0..65535"):
        read_mask(write_tiff(tmp_path / "n.tif", np.array([[-1, 5]], np.int16)))
    with pytest.raises(DataError, match="1 bands of uint8 where colours"):
        read_mask(write_tiff(tmp_path / "c.tif", RGB[0]), colors=True)


# --- windows and scale


def test_windows_cover_the_image() -> None:
    assert windows(4, 8, 4) == [(0, 0), (0, 4)]
    assert windows(6, 4, 4) == [(0, 0), (4, 0)]  # half of the second is image


def test_windows_of_mostly_padding_are_dropped() -> None:
    assert windows(9, 8, 8) == [(0, 0)]  # the second has one row of eight
    assert windows(10, 8, 8) == [(0, 0), (8, 0)]  # exactly a quarter is kept
    assert windows(2, 2, 8) == [(0, 0)]
    assert windows(1, 20, 8) == [(0, 0), (0, 8), (0, 16)]


def test_rescale_averages_images_and_picks_labels() -> None:
    image = np.array([[[0, 4, 10, 10], [4, 8, 10, 10]]], np.uint8)
    assert rescale(image, 0.5).tolist() == [[[4, 10]]]
    big = image.astype(np.uint16) * 1000
    assert rescale(big, 0.5).tolist() == [[[4000, 10000]]]
    assert rescale(big, 0.5).dtype == np.uint16
    mask = np.array([[1, 255], [1, 255], [7, 7], [7, 7]], np.uint8)
    assert set(rescale(mask, 0.5, Image.Resampling.NEAREST).ravel()) <= {1, 7, 255}
    assert rescaled_size(643, 797, 0.5) == rescale(np.zeros((643, 797), np.uint8), 0.5).shape


# --- patches


@pytest.fixture
def one_image(tmp_path: Path, write_tiff, patches: pd.DataFrame) -> Catalog:
    """A 6 × 9 image and mask, in windows of 4."""
    image = write_tiff(tmp_path / "i.tif", RGB)
    mask = write_tiff(tmp_path / "m.tif", RNG.integers(1, 3, (6, 9), dtype=np.uint8))
    corners = windows(6, 9, 4)
    rows = patches.iloc[[0] * len(corners)].assign(
        image=str(image),
        mask=str(mask),
        id=[f"{row}_{column}" for row, column in corners],
        row=[row for row, _ in corners],
        column=[column for _, column in corners],
    )
    return Catalog("one", TWO, ("r", "g", "b"), 4, rows)


def test_patches_are_padded_by_the_border_and_ignored_there(one_image: Catalog) -> None:
    read = read_patches(one_image, one_image.patches)
    assert one_image.patches["id"].tolist() == ["0_0", "0_4", "0_8", "4_0", "4_4"]
    assert read.images.shape == (5, 3, 4, 4)
    assert read.masks.shape == (5, 4, 4)
    assert np.array_equal(read.images[1], RGB[:, :4, 4:8])
    assert np.array_equal(read.images[2], np.repeat(RGB[:, :4, 8:], 4, axis=2))
    assert (read.masks[2][:, 1:] == IGNORE).all()
    assert (read.masks[3][2:] == IGNORE).all()
    assert set(np.unique(read.masks[0])) <= {0, 1}
    assert read.has_mask
    assert read.unknown == {}


def test_patches_follow_the_rows(one_image: Catalog) -> None:
    whole = read_patches(one_image, one_image.patches)
    part = read_patches(one_image, one_image.patches.iloc[[3, 1]])
    assert np.array_equal(part.images, whole.images[[3, 1]])
    assert np.array_equal(part.masks, whole.masks[[3, 1]])


def test_without_mask_all_is_ignored(one_image: Catalog) -> None:
    read = read_patches(one_image, one_image.patches.assign(mask=""))
    assert not read.has_mask
    assert (read.masks == IGNORE).all()


def test_mask_of_another_size_is_named(one_image: Catalog, write_tiff) -> None:
    mask = Path(one_image.patches["mask"].iloc[0])
    write_tiff(mask, np.ones((6, 8), np.uint8))
    with pytest.raises(DataError, match=r"m.tif: 8 x 6 pixels, but its image .*i.tif has 9 x 6"):
        read_patches(one_image, one_image.patches)


def test_unknown_class_value_is_named(one_image: Catalog, write_tiff) -> None:
    mask = np.ones((6, 9), np.uint8)
    mask[0, :2] = 77
    write_tiff(Path(one_image.patches["mask"].iloc[0]), mask)
    with pytest.raises(
        DataError, match=r"m.tif: 3.704% .* no class of two, at most 0.000% .* 77 \(3.704%\); known are 1, 2"
    ):
        read_patches(one_image, one_image.patches)
    tolerant = Catalog("one", TWO, ("r", "g", "b"), 4, one_image.patches, unknown_share=0.04)
    read = read_patches(tolerant, tolerant.patches)
    assert read.unknown == {77: 2}
    assert read.masks[0, 0].tolist() == [IGNORE, IGNORE, 0, 0]


def test_image_that_shrank_is_named(one_image: Catalog, write_tiff) -> None:
    write_tiff(Path(one_image.patches["image"].iloc[0]), RGB[:, :3, :3])
    with pytest.raises(DataError, match=r"i.tif: smaller than"):
        read_patches(one_image, one_image.patches.assign(mask=""))


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.float32])
def test_patches_have_the_type_of_the_file(one_image: Catalog, write_tiff, kind: type) -> None:
    deep = RGB.astype(kind) * 40 - (0 if kind is np.uint16 else 99)
    write_tiff(Path(one_image.patches["image"].iloc[0]), deep)
    read = read_patches(one_image, one_image.patches).images
    assert read.dtype == kind and np.array_equal(read[0], deep[:, :4, :4])
    half = replace(one_image, scale=0.5, patches=one_image.patches.iloc[:1])
    shrunk, mean = read_patches(half, half.patches).images[0, :, :3], rescale(deep.astype(np.float32), 0.5)
    assert np.array_equal(shrunk, mean if kind is np.float32 else np.rint(mean))


def test_scaled_patches(one_image: Catalog) -> None:
    half = Catalog("half", TWO, ("r", "g", "b"), 4, one_image.patches.iloc[:1], scale=0.5)
    read = read_patches(half, half.patches)
    assert np.array_equal(read.images[0, :, :3, :4], rescale(RGB, 0.5))
    assert (read.masks[0, 3] == IGNORE).all()


def test_a_16_bit_colour_png_keeps_its_bits(tmp_path: Path) -> None:
    pixels = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5) * 100
    path = tmp_path / "deep.png"
    with (
        pytest.warns(NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="PNG", count=3, height=4, width=5, dtype="uint16") as file,
    ):
        file.write(pixels)
    np.testing.assert_array_equal(read_image(path, 3), pixels)


VRT = """<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""


def test_a_file_that_names_others_is_no_image(tmp_path, write_tiff):
    secret = write_tiff(tmp_path / "secret.tif", np.ones((1, 4, 4), np.uint8))
    (tmp_path / "image.tif").write_text(VRT.format(secret))
    for read in (image_size, read_mask, lambda path: read_image(path, 1)):
        with pytest.raises(DataError, match=r"image\.tif: cannot be read"):
            read(tmp_path / "image.tif")


@pytest.mark.parametrize(
    "path", ["/vsicurl/http://127.0.0.1:9/x.tif", "http://127.0.0.1:9/x.tif", "/vsizip//x.zip/x.tif"]
)
def test_an_address_is_no_file(path):
    with pytest.raises(DataError, match="no such file"):
        read_image(Path(path), 1)


def test_side_files_are_not_looked_at(tmp_path, write_tiff):
    path = write_tiff(tmp_path / "image.tif", np.ones((1, 4, 4), np.uint8))
    (tmp_path / "image.tif.aux.xml").write_text("<PAMDataset><Metadata><MDI key='k'>v</MDI></Metadata></PAMDataset>")
    with open_raster(path) as file:
        assert "k" not in file.tags()
        assert file.files == [str(path)]


def _header_alone(path: Path, side: int, bands: int) -> Path:
    """A TIFF that says how large it is, and holds nothing."""
    entries = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, bands)]
    entries += [(322, 4, 1, 512), (323, 4, 1, 512), (324, 4, 1, 0), (325, 4, 1, 0)]
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + b"\0\0\0\0")
    return path


@pytest.mark.parametrize(("side", "bands"), [(100_000, 500), (65_000, 1), (30_000, 1)])
def test_an_absurd_size_is_refused_by_its_header(tmp_path, side, bands):
    path = _header_alone(tmp_path / "image.tif", side, bands)
    tracemalloc.start()
    for read in (image_size, read_mask, lambda path: read_image(path, bands)):
        with pytest.raises(DataError, match=rf"image\.tif: (its header says {side} x {side} pixels|cannot be read)"):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_pillow_is_asked_for_few_formats(tmp_path):
    (tmp_path / "image.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match=r"image\.png: cannot be read"):
        read_mask(tmp_path / "image.png")


def test_a_pipe_is_no_image(tmp_path):
    for name in ("image.tif", "image.png"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DataError, match="no such file"):
            read_image(tmp_path / name, 1)
