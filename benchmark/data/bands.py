"""Meaning of the bands of an image file: which is which, what is no light, and which pixels hold no data."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import MaskFlags

from benchmark.common.errors import DataError
from benchmark.data.georeference import Georeference, georeference_of

_LIGHT = ("red", "green", "blue")
_WORDS = {*_LIGHT, "nir", "height"}  # names that say the same in every data set
_OTHER_NAMES = {"nearinfrared": "nir", "infrared": "nir", "elevation": "height"}
_NO_LIGHT = ("CMYK", "LAB", "CIELAB", "ICCLAB", "ITULAB")  # as pillow and GDAL call them


class BandsError(DataError):
    """A file has another number of bands than it should."""


@dataclass(frozen=True)
class Pixels:
    """Pixels of an image file.

    Attributes:
        bands: (C, H, W) as stored, in the type of the file.
        valid: (H, W) bool, False where the file says that it has no data; None where it has some everywhere.
        place: georeference of the file; None where it has none.
    """

    bands: NDArray
    valid: NDArray[np.bool_] | None = None
    place: Georeference | None = None


def check_bands(path: Path, count: int, expected: int) -> None:
    """Raise `BandsError` unless the two numbers of bands are equal."""
    if count != expected:
        raise BandsError(f"{path}: has {count} bands where {expected} are expected")


def from_gdal(path: Path, file: rasterio.DatasetReader, names: Sequence[str]) -> Pixels:
    """Return the bands of an open raster in the order of their names, with light that grows with the number.

    An alpha band beside the bands named is no band, but says where there is no data; so do a nodata tag (where all
    bands have its value; in other types than uint8, where any has) and an internal mask. As many bands as names are
    all taken, whatever their tags say: near infrared is often tagged alpha. A colour table becomes red, green and blue,
    or grey. Scale and offset tags are applied, which gives float32.

    Raises:
        DataError: inks, several pages, a colour table where no colours are expected, bands that say that they are
            others, a white that is zero or tags of scale beside numbers that these cannot be of; the message names it.
    """
    refuse_pages(path, file)
    kinds = [kind.name for kind in file.colorinterp]
    colors = file.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE", "RGB")
    if colors in _NO_LIGHT:  # GDAL has turned them into red, green, blue and an alpha of its own making
        raise DataError(f"{path}: its colours are {colors}, no red, green and blue; convert it to RGB")
    if kinds == ["palette"]:
        refuse_scaled(path, file)
        image = _light_of(path, file.colormap(1), file.read(1), len(names))
        return Pixels(image, _without_nodata(file, file.read()), georeference_of(file))
    pixels = file.read()
    alpha = file.count == len(names) + 1 and kinds[-1] == "alpha"
    bands = pixels[:-1] if alpha else pixels
    check_bands(path, len(bands), len(names))
    valid = _without_nodata(file, bands)
    if alpha:
        valid = both(valid, pixels[-1] > 0)
    order = band_order(path, names, _labels(file, kinds)[: len(bands)])
    if file.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES":
        refuse_scaled(path, file)
        if bands.dtype.kind != "u":
            raise DataError(f"{path}: its tags say that white is zero, of {bands.dtype} numbers; remove the tag")
        bits = int(file.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", bands.dtype.itemsize * 8))
        bands = ((1 << bits) - 1 - bands.astype(np.int64)).astype(bands.dtype)
    if _is_scaled(file):
        scales, offsets = (np.array(each[: len(bands)])[:, None, None] for each in (file.scales, file.offsets))
        bands = (bands * scales + offsets).astype(np.float32)
    return Pixels(bands if order is None else bands[order], valid, georeference_of(file))


def from_picture(path: Path, picture: Image.Image, names: Sequence[str]) -> Pixels:
    """Return the bands of an open picture, and where it is not transparent.

    Alpha is no band unless there are as many names as bands with it. A palette becomes red, green and blue.

    Raises:
        DataError: inks, or several pictures in one file; the message names it.
    """
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":  # of these the first is the photograph
        raise DataError(f"{path}: holds {getattr(picture, 'n_frames')} pictures where one is expected; keep one")  # noqa: B009
    if picture.mode in _NO_LIGHT:
        raise DataError(f"{path}: its colours are {picture.mode}, no red, green and blue; convert it to RGB")
    plain = {"P": "RGB", "PA": "RGB", "RGBA": "RGB", "LA": "L", "La": "L", "RGBa": "RGB"}
    wanted = plain.get(picture.mode, picture.mode)
    clear = picture.mode.endswith(("A", "a")) or "transparency" in picture.info
    whole = picture.mode[0] != "P" and len(picture.getbands()) == len(names)
    if whole and "transparency" not in picture.info:
        return Pixels(np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1))
    if not clear:
        pixels = np.atleast_3d(np.asarray(picture.convert(wanted) if picture.mode != wanted else picture))
        return Pixels(_grey_if_one(pixels.transpose(2, 0, 1), len(names)))
    pixels = np.asarray(picture.convert("RGBA" if wanted == "RGB" else "LA")).transpose(2, 0, 1)
    return Pixels(_grey_if_one(pixels[:-1], len(names)), pixels[-1] > 0)


def band_order(path: Path, names: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """Return the index of each named band in a file that says which band is which; None where it says nothing.

    Args:
        names: names of the bands, as the description of the data set has them.
        labels: names that the file gives its bands, in their order; "" where it gives none.

    Raises:
        DataError: some bands are called by another's name, and not all of them can be matched.
    """
    wanted, stored = [_plain(name) for name in names], [_plain(label) for label in labels]
    if wanted == stored or not set(stored) & (set(wanted) | _WORDS):
        return None
    if sorted(wanted) == sorted(stored):
        return [stored.index(name) for name in wanted]
    for number, (name, label) in enumerate(zip(wanted, stored, strict=True)):
        if label != name and (label in wanted or {label, name} <= _WORDS):
            raise DataError(
                f"{path}: calls its band {number + 1} '{labels[number]}' where the description says '{names[number]}'; "
                "correct 'bands', or the names in the file"
            )
    return None


def _is_scaled(file: rasterio.DatasetReader) -> bool:
    return set(file.scales) != {1.0} or set(file.offsets) != {0.0}


def refuse_scaled(path: Path, file: rasterio.DatasetReader) -> None:
    """Raise `DataError` where tags say that the stored numbers are to be multiplied or shifted: classes or colours."""
    if _is_scaled(file):
        raise DataError(
            f"{path}: its tags say that numbers are to be scaled by {file.scales[0]:g} and shifted by "
            f"{file.offsets[0]:g}, which is not done here; write the numbers out (gdal_translate -unscale), or remove "
            "the tags"
        )


def refuse_pages(path: Path, file: rasterio.DatasetReader) -> None:
    """Raise `DataError` where a file holds several images, of which only the first would be seen."""
    if len(file.subdatasets) > 1:
        raise DataError(f"{path}: holds {len(file.subdatasets)} pages where one image is expected; make a file of each")


def table_colors(path: Path, table: dict[int, tuple[int, ...]], indices: NDArray) -> NDArray[np.uint8]:
    """Return the colours (H, W, 4) that a colour table gives to indices (H, W).

    Raises:
        DataError: an index is in no entry of the table.
    """
    colors = np.zeros((max(table) + 1, 4), np.uint8)
    colors[list(table)] = list(table.values())
    if indices.max() >= len(colors):
        raise DataError(f"{path}: its colour table has no entry {indices.max()}")
    return colors[indices]


def both(one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Return where both masks are True; None is True everywhere."""
    return other if one is None else one if other is None else one & other


def _light_of(path: Path, table: dict[int, tuple[int, ...]], indices: NDArray, count: int) -> NDArray[np.uint8]:
    image = _grey_if_one(table_colors(path, table, indices)[..., :3].transpose(2, 0, 1), count)
    if len(image) != count and count == 1:
        raise BandsError(f"{path}: its numbers are those of a colour table, no light; 'bands' must be red, green, blue")
    check_bands(path, len(image), count)
    return image


def _grey_if_one(image: NDArray, count: int) -> NDArray:
    """Return the first of three bands that are alike, where one is expected."""
    alike = count == 1 and len(image) == 3 and (image[0] == image[1]).all() and (image[0] == image[2]).all()
    return image[:1] if alike else image


def _labels(file: rasterio.DatasetReader, kinds: list[str]) -> list[str]:
    """Return the descriptions of the bands; else their colours, unless these are in the order of every writer."""
    described = [text or "" for text in file.descriptions]
    if any(_plain(text) in _WORDS for text in described) or tuple(kinds[:3]) == _LIGHT:
        return described
    tagged = [kind if kind in _LIGHT else "" for kind in kinds]
    return tagged if set(_LIGHT) <= set(tagged) and not any(described) else described


def _plain(name: str) -> str:
    letters = re.sub(r"[\W_]+", "", name).lower()
    return _OTHER_NAMES.get(letters, letters)


def _without_nodata(file: rasterio.DatasetReader, bands: NDArray) -> NDArray[np.bool_] | None:
    flags = file.mask_flag_enums[0]
    valid = None
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        valid = file.read_masks(1) > 0
    if file.nodata is not None:
        missing = bands == file.nodata
        # Of 8 bits the value, often 0, occurs in single bands of pixels with data; of more bits it is not light.
        valid = both(valid, ~(missing.all(axis=0) if bands.dtype == np.uint8 else missing.any(axis=0)))
    return valid
