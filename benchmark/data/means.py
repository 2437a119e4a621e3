"""Means over areas of a part of an image, the same to the last bit as pillow's of the whole image.

Pillow's own `resize` with a box would take, where the border of an area is the centre of a pixel, now this pixel and
now the next: it depends on how the box's coordinates are rounded. Here they are those of the whole image.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
_BITS = 22  # of the fixed-point numbers by which pillow multiplies 8-bit pixels


def mean_of_part(planes: NDArray, whole: Size, small: Size, start: Size, corner: Size, size: Size) -> NDArray:
    """Return the shrunk pixels (N, h, w) of a part of an image: lines first, then columns, rounded between the two.

    So does pillow for all images but those more than twice as high as wide.

    Args:
        planes: (N, H, W) uint8 or float32, the pixels that the part is made of.
        whole, small: height and width of the image before and after.
        start: row and column of the planes in the image.
        corner, size: row and column of the part in the shrunk image, and its height and width.
    """
    for axis in (1, 0):
        part = slice(corner[axis], corner[axis] + size[axis])
        first, count = (line[part] for line in _ranges(whole[axis], small[axis]))
        planes = np.moveaxis(_means(np.moveaxis(planes, axis + 1, 0), first - start[axis], count), 0, axis + 1)
    return np.ascontiguousarray(planes)


def _means(lines: NDArray, first: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray:
    """Return the means (n, ...) of ranges of lines (L, ...)."""
    shape = (-1, *[1] * (lines.ndim - 1))
    exact = lines.dtype != np.uint8
    weight = (1 / count if exact else np.floor(0.5 + (1 << _BITS) / count).astype(np.int32)).reshape(shape)
    total = np.zeros((len(first), *lines.shape[1:]), np.float64 if exact else np.int32)
    for step in range(count.max()):
        within = (step < count).reshape(shape)
        total += np.where(within, lines[np.minimum(first + step, len(lines) - 1)] * weight, 0)
    return total.astype(np.float32) if exact else ((total + (1 << (_BITS - 1))) >> _BITS).astype(np.uint8)


@lru_cache(maxsize=64)
def _ranges(whole: int, small: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first pixel of a line that each pixel (small,) of the shrunk line is made of, and their number."""
    step = whole / small
    centres = (np.arange(small) + 0.5) * step
    start = np.maximum((centres - 0.5 * step + 0.5).astype(np.int64), 0)
    end = np.minimum((centres + 0.5 * step + 0.5).astype(np.int64), whole)
    pixels = start[:, None] + np.arange((end - start).max())
    places = (pixels - centres[:, None] + 0.5) * (1 / step)
    taken = (pixels < end[:, None]) & (places > -0.5) & (places <= 0.5)
    return start + taken.argmax(1), taken.sum(1)
