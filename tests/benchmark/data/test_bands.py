"""What the tags of a file say of its numbers is followed, or refused by its name."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image

from benchmark.common.errors import DataError
from benchmark.data.catalog import Catalog
from benchmark.data.classes import IGNORE, ClassSet, LandClass
from benchmark.data.patches import Patches, read_patches
from benchmark.data.raster import read_image, read_labels, read_mask, read_pixels

RNG = np.random.default_rng(3)
RGB = RNG.integers(1, 250, (3, 6, 8), dtype=np.uint8)
NAMES = ("red", "green", "blue")
CLASSES = ClassSet("three", tuple(LandClass(f"c{k}", f"#00000{k}", (k,)) for k in range(3)))

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def _tiff(path: Path, bands: np.ndarray, *, valid: np.ndarray | None = None, **profile: Any) -> Path:
    """A GeoTIFF of (C, H, W); descriptions, scales, offsets and colorinterp are set behind the pixels."""
    later = {
        name: profile.pop(name) for name in ("descriptions", "scales", "offsets", "colorinterp") if name in profile
    }
    count, height, width = bands.shape
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", **shape, **profile) as file,
    ):
        file.write(bands)
        for name, value in later.items():
            setattr(file, name, value)
        if valid is not None:
            file.write_mask(valid)
    return path


# --- which band is which


@pytest.mark.parametrize("words", [("blue", "red", "green"), ("Blue", "RED", " green")])
def test_bands_are_matched_by_the_names_in_the_file(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = _tiff(tmp_path / "a.tif", RGB[[2, 0, 1]], descriptions=words)
    assert np.array_equal(read_image(path, NAMES), RGB)


def test_near_infrared_has_several_names(tmp_path: Path) -> None:
    four = np.concatenate([RGB, RGB[:1] // 2])
    path = _tiff(tmp_path / "a.tif", four[[3, 0, 1, 2]], descriptions=("Near infrared", "Red", "Green", "Blue"))
    assert np.array_equal(read_image(path, (*NAMES, "nir")), four)


def test_colours_out_of_their_usual_order_are_matched(tmp_path: Path) -> None:
    order = [rasterio.enums.ColorInterp[name] for name in ("blue", "green", "red")]
    path = _tiff(tmp_path / "a.tif", RGB[::-1], colorinterp=order)
    assert np.array_equal(read_image(path, NAMES), RGB)
    assert np.array_equal(read_image(path, ("swir", "b2", "b3")), RGB[::-1]), "other names than colours"


def test_usual_colour_tags_of_a_false_colour_image_say_nothing(tmp_path: Path) -> None:
    path = _tiff(tmp_path / "a.tif", RGB, photometric="RGB")
    assert np.array_equal(read_image(path, ("nir", "red", "green")), RGB)


@pytest.mark.parametrize("words", [("red", "green", "nir"), ("green", "", "blue")])
def test_names_that_cannot_be_matched_are_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = _tiff(tmp_path / "a.tif", RGB, descriptions=words)
    with pytest.raises(DataError, match=r"a\.tif: calls its band \d '\w+' where the description says '\w+'"):
        read_image(path, NAMES)


# --- what is no light, or another scale


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 16), (np.uint16, 12)])
def test_white_is_zero_is_turned_to_light(tmp_path: Path, dtype: type, bits: int) -> None:
    grey = RGB[:1].astype(dtype)
    path = _tiff(tmp_path / "a.tif", (2**bits - 1 - grey).astype(dtype), photometric="MINISWHITE", nbits=bits)
    assert np.array_equal(read_image(path, 1), grey)


def test_a_colour_table_becomes_colours(tmp_path: Path) -> None:
    indices = RNG.integers(0, 4, (1, 6, 8), dtype=np.uint8)
    path = _tiff(tmp_path / "a.tif", indices)
    table = {index: (index * 60, 200 - index, 7, 255) for index in range(4)}
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, table)
    assert np.array_equal(read_image(path, NAMES)[:, 2, 3], table[int(indices[0, 2, 3])][:3])
    with pytest.raises(DataError, match=r"a\.tif: its numbers are those of a colour table"):
        read_image(path, ("red",))
    colors = read_mask(path, colors=True)
    assert np.array_equal(colors[..., 0], indices[0] * 60)
    assert np.array_equal(read_mask(path), indices[0])


SCALE_TAGS = ("scales", (1, 1, 1)), ("offsets", (0, 0, 0))


@pytest.mark.parametrize("tags", [{"scales": (0.5, 1, 2)}, {"offsets": (0, 0, 4)}])
def test_scale_and_offset_are_applied_to_light_alone(tmp_path: Path, tags: dict[str, Any]) -> None:
    read = read_image(_tiff(tmp_path / "a.tif", RGB, **tags), NAMES)
    scales, offsets = (np.array(tags.get(name, plain))[:, None, None] for name, plain in SCALE_TAGS)
    assert read.dtype == np.float32 and np.array_equal(read, RGB * scales + offsets)
    with pytest.raises(DataError, match=r"m\.tif: its tags say that numbers are to be scaled by"):
        read_mask(_tiff(tmp_path / "m.tif", RGB[:1], scales=(2.0,)))


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_printing_inks_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.full((6, 8, 4), 90, np.uint8), "CMYK").save(path)
    for names in (NAMES, (*NAMES, "nir")):
        with pytest.raises(DataError, match=r"CMYK"):
            read_image(path, names)


def test_several_images_in_one_file_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(band) for band in RGB]
    for name in ("a.tif", "a.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(DataError, match=r"holds 3 (pages|pictures)"):
            read_image(tmp_path / name, 1)


# --- bits


def _low_bit_png(path: Path, values: np.ndarray, bits: int) -> Path:
    """A grey PNG of 1, 2 or 4 bits a pixel, as tools write that make files smaller."""
    samples = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(samples.reshape(len(values), -1).astype(np.uint8), axis=1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("width", [8, 11])
def test_masks_of_few_bits_keep_their_numbers(tmp_path: Path, bits: int, width: int) -> None:
    values = RNG.integers(0, 2**bits, (5, width), dtype=np.uint8)
    path = _low_bit_png(tmp_path / "m.png", values, bits)
    assert np.array_equal(read_mask(path), values)
    with pytest.raises(DataError, match=r"bits a band|pixels are bool"):
        read_image(path, 1)


@pytest.mark.parametrize("bits", [4, 9, 12, 15, 16])
@pytest.mark.parametrize("bands", [1, 3])
def test_jpeg_2000_keeps_its_numbers(tmp_path: Path, bits: int, bands: int) -> None:
    kind = np.uint8 if bits <= 8 else np.uint16
    values = RNG.integers(0, 2**bits, (bands, 40, 48)).astype(kind)
    path = tmp_path / "a.jp2"
    profile = {"height": 40, "width": 48, "count": bands, "dtype": kind, "NBITS": bits, "REVERSIBLE": "YES"}
    with rasterio.open(path, "w", driver="JP2OpenJPEG", QUALITY=100, **profile) as file:
        file.write(values)
    assert np.array_equal(read_image(path, bands), values)
    if bands == 1:
        assert np.array_equal(read_mask(path), values[0])


def test_a_palette_of_greys_is_read_by_what_is_known(tmp_path: Path) -> None:
    values = np.array([0, 1, 17], np.uint8)[RNG.integers(0, 3, (6, 8))]
    picture = Image.fromarray(np.searchsorted([0, 1, 17], values).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 1, 1, 1, 17, 17, 17])
    picture.save(tmp_path / "m.png")
    assert np.array_equal(read_labels(tmp_path / "m.png", known=(0, 1, 17)).values, values)
    assert np.array_equal(read_labels(tmp_path / "m.png", known=(0, 1, 2)).values, np.minimum(values, 2))
    with pytest.raises(DataError, match="both are class values"):
        read_labels(tmp_path / "m.png", known=(0, 1, 2, 17))


# --- where there is no data

HOLE = np.ones((6, 8), bool)
HOLE[:3, :4] = False


def _read(tmp_path: Path, patches: pd.DataFrame, image: Path, mask: Path | None = None, **settings: Any) -> Patches:
    if mask is None:
        mask = tmp_path / "labels.png"
        Image.fromarray(np.ones((6, 8), np.uint8)).save(mask)
    rows = patches.iloc[:1].assign(image=str(image), mask=str(mask))
    catalog = Catalog("d", CLASSES, settings.pop("bands", NAMES), 8, rows, **settings)
    return read_patches(catalog, catalog.patches)


def _image_with_a_hole(path: Path, how: str) -> Path:
    pixels = np.where(HOLE, RGB, 9 if how == "tag" else 0).astype(np.uint8)
    rgba = np.concatenate([pixels, HOLE[None] * np.uint8(255)])
    if how == "png":
        Image.fromarray(rgba.transpose(1, 2, 0)).save(path.with_suffix(".png"))
        return path.with_suffix(".png")
    if how == "alpha":
        return _tiff(path, rgba, photometric="RGB", alpha="YES")
    return _tiff(path, pixels, **({"nodata": 9} if how == "tag" else {"valid": HOLE}))


@pytest.mark.parametrize("how", ["tag", "mask", "alpha", "png"])
def test_pixels_without_data_have_no_label(tmp_path: Path, patches: pd.DataFrame, how: str) -> None:
    path = _image_with_a_hole(tmp_path / "a.tif", how)
    read = _read(tmp_path, patches, path)
    assert np.array_equal(read.masks[0, :6] == IGNORE, ~HOLE)
    assert read.valid is not None and np.array_equal(read.valid[0, :6], HOLE)
    half = _read(tmp_path, patches, path, scale=0.5)
    assert (half.masks[0, :2, :2] == IGNORE).all() and (half.masks[0, :3, 2:4] == 1).all()


def test_a_pixel_holds_data_if_one_band_does(tmp_path: Path) -> None:
    dark = RGB.copy()
    dark[:2, 0, 0] = 0
    assert read_pixels(_tiff(tmp_path / "a.tif", dark, nodata=0), NAMES).valid.all()  # type: ignore[union-attr]


def test_near_infrared_tagged_alpha_is_a_band(tmp_path: Path, patches: pd.DataFrame) -> None:
    four = np.concatenate([RGB, RGB[:1]])
    four[3, :2] = 0
    for path in (_tiff(tmp_path / "a.tif", four, photometric="RGB", alpha="YES"), tmp_path / "a.png"):
        if path.suffix == ".png":
            Image.fromarray(four.transpose(1, 2, 0)).save(path)
        read = _read(tmp_path, patches, path, bands=(*NAMES, "nir"))
        assert np.array_equal(read.images[0, :, :6], four) and (read.masks[0, :6] == 1).all()


def test_a_transparent_colour_of_a_png_is_no_data(tmp_path: Path) -> None:
    pixels = np.where(HOLE, RGB, 4).astype(np.uint8)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / "a.png", transparency=(4, 4, 4))
    read = read_pixels(tmp_path / "a.png", NAMES)
    assert np.array_equal(read.bands, pixels) and np.array_equal(read.valid, HOLE)


@pytest.mark.parametrize("how", ["tag", "mask", "png"])
def test_a_mask_says_where_it_has_no_label(tmp_path: Path, patches: pd.DataFrame, how: str) -> None:
    image = tmp_path / "i.png"
    Image.fromarray(RGB.transpose(1, 2, 0)).save(image)
    values = np.where(HOLE, 2, 77).astype(np.uint8)
    path = tmp_path / "m.tif"
    if how == "png":
        path = tmp_path / "m.png"
        Image.fromarray(values).save(path, transparency=77)
    else:
        _tiff(path, values[None], **({"nodata": 77} if how == "tag" else {"valid": HOLE}))
    read = _read(tmp_path, patches, image, path)
    assert np.array_equal(read.masks[0, :6], np.where(HOLE, 2, IGNORE)) and read.unknown == {}


def test_a_class_that_is_the_nodata_value_is_refused(tmp_path: Path, patches: pd.DataFrame) -> None:
    image = _tiff(tmp_path / "i.tif", RGB)
    mask = _tiff(tmp_path / "m.tif", HOLE[None].astype(np.uint8), nodata=0)
    with pytest.raises(DataError, match=r"m\.tif: its nodata tag says 0, so .* in the description they are c0"):
        _read(tmp_path, patches, image, mask)


def test_transparent_pixels_of_a_colour_mask_have_no_label(tmp_path: Path) -> None:
    colors = np.dstack([np.full((6, 8, 3), 5, np.uint8), HOLE * np.uint8(255)])
    Image.fromarray(colors).save(tmp_path / "m.png")
    assert np.array_equal(read_labels(tmp_path / "m.png", colors=True).valid, HOLE)
