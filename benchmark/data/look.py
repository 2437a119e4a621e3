"""A first look into files of an unknown kind: headers, and the numbers of a few of their pixels."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.common.files import read_text
from benchmark.data.drivers import TIFF
from benchmark.data.georeference import Georeference, georeference_of
from benchmark.data.orientation import picture_orientation, turned_size
from benchmark.data.raster import open_picture, open_raster, read_image, read_labels, readable

_SIDE, _WINDOWS = 512, 9  # of one large file
_PAM_BYTES = 1 << 20
_COLORS = {"1": "grey", "L": "grey", "LA": "grey", "P": "palette", "PA": "palette", "I": "grey", "I;16": "grey"}


@dataclass(frozen=True)
class Header:
    """Header of an image or a mask.

    Attributes:
        height, width: size in pixels.
        count: number of bands.
        dtype: type of the numbers.
        kinds: colour interpretation of each band: ``red``, ``alpha``, ``palette``, ``grey`` …
        descriptions: name of each band, "" where the file gives none.
        nodata: value of pixels without data.
        scaled: whether tags say that numbers are to be scaled.
        lossy: whether pixels were stored with loss.
        colors: colour ``#rrggbb`` of each index of a palette.
        place: georeference, None if there is none.
    """

    height: int
    width: int
    count: int
    dtype: str
    kinds: tuple[str, ...]
    descriptions: tuple[str, ...] = ()
    nodata: float | None = None
    scaled: bool = False
    lossy: bool = False
    colors: dict[int, str] = field(default_factory=dict)
    place: Georeference | None = None


def read_header(path: Path) -> Header:
    """Return the header of a file.

    Raises:
        DataError: it is no image, damaged, or absurdly large.
    """
    with readable(path):
        if path.suffix.lower() in TIFF:
            with open_raster(path) as file:
                kinds = tuple(kind.name.replace("gray", "grey") for kind in file.colorinterp)
                return Header(
                    file.height,
                    file.width,
                    file.count,
                    file.dtypes[0],
                    kinds,
                    descriptions=tuple(text or "" for text in file.descriptions),
                    nodata=file.nodata,
                    scaled=set(file.scales) != {1.0} or set(file.offsets) != {0.0},
                    lossy=str(file.compression).lower().endswith("jpeg"),
                    colors={i: f"#{r:02x}{g:02x}{b:02x}" for i, (r, g, b, _) in file.colormap(1).items()}
                    if kinds == ("palette",)
                    else {},
                    place=georeference_of(file),
                )
        with open_picture(path) as picture:
            bands = picture.getbands()
            names = {"R": "red", "G": "green", "B": "blue", "A": "alpha"}
            palette = picture.getpalette("RGB") or [] if picture.mode == "P" else []
            kinds = tuple(names.get(band, band) for band in bands)
            return Header(
                *turned_size(picture.height, picture.width, picture_orientation(picture)),
                len(bands),
                "uint16" if picture.mode.startswith("I") else "float32" if picture.mode == "F" else "uint8",
                (_COLORS[picture.mode], *kinds[1:]) if picture.mode in _COLORS else kinds,
                lossy=picture.format in ("JPEG", "WEBP"),
                colors={
                    index: "#{:02x}{:02x}{:02x}".format(*palette[3 * index : 3 * index + 3])
                    for index in range(len(palette) // 3)
                },
            )


def sample_image(path: Path, header: Header) -> NDArray:
    """Return some pixels (bands, n) of an image as they are stored."""
    if path.suffix.lower() not in TIFF:
        return read_image(path, header.count).reshape(header.count, -1)
    with readable(path), open_raster(path) as file:
        parts = [file.read(window=window).reshape(file.count, -1) for window in _windows(file)]
    return np.concatenate(parts, 1)


def sample_mask(path: Path, header: Header, *, colored: bool) -> dict[int, int]:
    """Return how many of some pixels of a mask have each value; packed colours where masks hold colours.

    Pixels without a label (nodata, transparent) are left out.

    Raises:
        DataError: the pixels cannot be read.
    """
    if path.suffix.lower() in TIFF:
        with readable(path), open_raster(path) as file:
            pixels = np.concatenate([file.read(window=each).reshape(file.count, -1) for each in _windows(file)], 1)
        if "alpha" in header.kinds:
            pixels = pixels[:, pixels[header.kinds.index("alpha")] > 0]
        if header.nodata is not None and not colored:
            pixels = pixels[:, pixels[0] != header.nodata]
        if colored and header.colors:
            table = np.zeros((max(header.colors) + 1, 3), np.uint8)
            table[list(header.colors)] = [
                [int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in header.colors.values()
            ]
            pixels = table[np.minimum(pixels[0], len(table) - 1)].T
    else:
        labels = read_labels(path, colored)
        pixels = labels.values.reshape(-1, 3 if colored else 1).T
        if labels.valid is not None:
            pixels = pixels[:, labels.valid.ravel()]
    values = pixels[0]
    if colored:
        red, green, blue = pixels[:3].astype(np.int64)
        values = red << 16 | green << 8 | blue
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _windows(file: rasterio.DatasetReader) -> Iterator[Window]:
    """Yield a few windows, spread over a file; all of a small one."""
    if file.height * file.width <= _WINDOWS * _SIDE**2:
        yield Window(0, 0, file.width, file.height)
        return
    across = down = round(_WINDOWS**0.5)
    for row in range(down):
        for column in range(across):
            top = (file.height - _SIDE) * row // (down - 1) if file.height > _SIDE else 0
            left = (file.width - _SIDE) * column // (across - 1) if file.width > _SIDE else 0
            yield Window(left, top, min(_SIDE, file.width), min(_SIDE, file.height))


def category_names(path: Path) -> dict[int, str]:
    """Return the names of a raster's values, of the list or the attribute table that GDAL keeps beside it."""
    beside = path.with_name(f"{path.name}.aux.xml")
    try:
        text = read_text(beside, _PAM_BYTES)
        if re.search(r"<!(DOCTYPE|ENTITY)", text):
            return {}
        tree = ElementTree.fromstring(text)
    except (OSError, ValueError, DataError, ElementTree.ParseError):
        return {}
    listed = {
        number: (each.text or "").strip() for number, each in enumerate(tree.iterfind(".//CategoryNames/Category"))
    }
    return {number: name for number, name in listed.items() if name} or _attribute_table(tree)


def _attribute_table(tree: ElementTree.Element) -> dict[int, str]:
    usages = [(each.findtext("Usage") or "", each.findtext("Name") or "") for each in tree.iterfind(".//FieldDefn")]
    value = _column(usages, ("5", "3"), ("value",))
    name = _column(usages, ("2",), ("class", "classname", "class_name", "name", "label"))
    if value is None or name is None:
        return {}
    names = {}
    for row in tree.iterfind(".//Row"):
        cells = [(cell.text or "").strip() for cell in row.iterfind("F")]
        if len(cells) == len(usages) and re.fullmatch(r"\d+(\.0*)?", cells[value]) and cells[name]:
            names[int(float(cells[value]))] = cells[name]
    return names


def _column(usages: Sequence[tuple[str, str]], kinds: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the number of the column of one of these usages (of GDAL's GFU), else names."""
    for kind in kinds:
        for number, (usage, _) in enumerate(usages):
            if usage == kind:
                return number
    return next((number for number, (_, name) in enumerate(usages) if name.lower() in names), None)
