"""Orientation tags of images: turns of the stored pixels that a viewer makes before it shows them."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_TAG = 0x0112  # of EXIF and of TIFF alike
UPRIGHT = 1
_MOST_TAGS = 4096  # of one directory; a damaged file may say any number


def turned(array: NDArray, orientation: int) -> NDArray:
    """Return an array (..., H, W) as a viewer shows it.

    Args:
        array: (..., H, W) pixels as stored.
        orientation: value of the tag, 1 to 8, of EXIF 2.3 and TIFF 6.0: 3 is half a turn, 6 and 8 are quarter turns.
    """
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, -1, -2)
    down, across = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return array[..., :: -1 if down else 1, :: -1 if across else 1]


def turned_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Return height and width after `turned`."""
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def picture_orientation(picture: Image.Image) -> int:
    """Return the orientation in a picture's header, 1 if none.

    Of a PNG only what comes before its pixels is looked at: pillow would decode all of them to find more.
    """
    try:
        if picture.format != "PNG":
            return _valid(picture.getexif().get(_TAG))
        exif = Image.Exif()
        exif.load(picture.info.get("exif", b""))
        return _valid(exif.get(_TAG))
    except (ValueError, SyntaxError, KeyError, TypeError, struct.error):  # a damaged tag turns nothing
        return UPRIGHT


def tiff_orientation(path: Path) -> int:
    """Return the orientation in the first directory of a TIFF, 1 if none; GDAL does not look at it."""
    with path.open("rb") as file:
        start = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        if order is None or len(start) < 16:
            return UPRIGHT
        big = struct.unpack(f"{order}H", start[2:4])[0] == 43
        count, size, entry = ("Q", 8, 20) if big else ("H", 2, 12)
        file.seek(struct.unpack(f"{order}{'Q' if big else 'I'}", start[8:16] if big else start[4:8])[0])
        head = file.read(size)
        tags = struct.unpack(f"{order}{count}", head)[0] if len(head) == size else 0
        directory = file.read(entry * min(tags, _MOST_TAGS))
    for place in range(0, len(directory) - entry + 1, entry):
        tag, kind = struct.unpack(f"{order}HH", directory[place : place + 4])
        if (tag, kind) == (_TAG, 3):
            value = place + (12 if big else 8)
            return _valid(struct.unpack(f"{order}H", directory[value : value + 2])[0])
    return UPRIGHT


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else UPRIGHT
