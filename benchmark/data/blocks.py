"""Block zones: squares of the ground, so that one image can be split between the parts of a fold.

``zone = "block:256 m"`` makes squares of 256 m, counted from the origin of the coordinate system: images of one place
at several times get the same ones. ``"block:512 px"`` counts in pixels of the patches, from the image's top left.
A window belongs to the square that holds its centre. With ``"block:256 m, buffer 32 m"`` windows that come nearer than
16 m to the border of their square are left out, so that windows of two squares are 32 m apart or more. What is before
``block:`` is a template that the squares are named by; default: the place.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmark.common.errors import DataError
from benchmark.data.georeference import Box, Georeference

_NUMBER = r"\d+(?:\.\d+)?"
_FORM = re.compile(rf"(.*?)/?block: ?({_NUMBER}) ?(m|px)(?:, ?buffer ({_NUMBER}) ?(m|px))?")
_DEGREE = 111_320  # metres, of latitude
_ROUNDING = 1e-6  # of a side


@dataclass(frozen=True)
class Blocks:
    """A division of the ground into squares.

    Attributes:
        of: template of the name that the squares of one ground share; "" for the place.
        side: side of a square, in metres or pixels.
        in_metres: whether it is in metres.
        buffer: least distance between windows of two squares; None if a window may cross a border.
    """

    of: str
    side: float
    in_metres: bool
    buffer: float | None

    def on(self, where: Georeference | None, path: Path) -> Callable[[Box], str | None]:
        """Return the function that gives the name of the square of a window by its box.

        Args:
            where: place of the image.
            path: path of the image, for messages.

        Returns:
            A function of the window's box: in the image's coordinates for squares in metres, else in pixels (left, top,
            right, bottom). It returns None for a window that is left out.

        Raises:
            DataError: squares are in metres and the file does not say where it is.
        """
        if not self.in_metres:
            return partial(self._name, 1.0, False)
        crs = where.crs if where else None
        if crs is None or not (crs.is_geographic or crs.is_projected):
            raise DataError(
                f"key 'zone': blocks in metres need a coordinate system, and {path} names none; give the side in "
                "pixels, as in 'block:512 px'"
            )
        return partial(self._name, _DEGREE if crs.is_geographic else crs.linear_units_factor[1], crs.is_geographic)

    def _name(self, unit: float, degrees: bool, box: Box) -> str | None:
        down, below = self._number(box[1] * unit, box[3] * unit)
        if degrees:  # a degree of longitude is as long as it is in the middle of its row of squares
            unit *= math.cos(math.radians((down + 0.5) * self.side / unit))
        across, beside = self._number(box[0] * unit, box[2] * unit)
        return None if below or beside else f"b{down}_{across}"

    def _number(self, start: float, end: float) -> tuple[int, bool]:
        """Return the number of the square on a line that holds the middle of a range, and if that is left out."""
        number = math.floor((start + end) / 2 / self.side)
        if self.buffer is None:
            return number, False
        border = self.buffer / 2 - _ROUNDING * self.side
        return number, start < number * self.side + border or end > (number + 1) * self.side - border


def read_blocks(zone: str) -> Blocks | None:
    """Return the squares that the key ``zone`` of a description asks for; None if it is a template alone.

    Raises:
        DataError: it does not say how large they are, or a buffer is in another unit or too large.
    """
    if "block:" not in zone:
        return None
    found = _FORM.fullmatch(zone)
    if found is None or (found[5] and found[5] != found[3]) or float(found[2]) <= float(found[4] or 0):
        raise DataError(
            f"key 'zone': '{zone}' must be like 'block:256 m', 'block:512 px' or 'block:256 m, buffer 32 m'; the "
            "buffer is smaller, and in the same unit"
        )
    return Blocks(found[1], float(found[2]), found[3] == "m", float(found[4]) if found[4] else None)
