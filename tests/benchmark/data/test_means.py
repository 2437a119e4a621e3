"""A part of an image is shrunk as the whole is, to the last bit."""

import numpy as np
import pytest

from benchmark.data.means import mean_of_part
from benchmark.data.patches import rescale, rescaled_size


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(154, 165, 0.5), (231, 174, 0.25), (249, 194, 0.6), (101, 101, 0.293), (60, 61, 0.3)],
)
def test_a_part_is_as_in_the_whole(height: int, width: int, scale: float, kind: type) -> None:
    """In each of the first four sizes the centre of some pixel is on the border of two areas."""
    image = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (2, height, width)).astype(kind)
    whole, small = rescale(image, scale), rescaled_size(height, width, scale)
    planes = image if kind == np.uint8 else image.astype(np.float32)
    for row, column, size in ((0, 0, 9), (5, 11, 16), (small[0] - 7, small[1] - 7, 7)):
        up, left = int(row * height / small[0]), int(column * width / small[1])
        down, right = -(-(row + size) * height // small[0]), -(-(column + size) * width // small[1])
        part = mean_of_part(
            planes[:, up:down, left:right], (height, width), small, (up, left), (row, column), (size, size)
        )
        expected = whole[:, row : row + size, column : column + size]
        assert np.array_equal(part if kind == np.uint8 else np.rint(part), expected)
