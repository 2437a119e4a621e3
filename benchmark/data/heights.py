"""Height above the ground, a band that is made of the elevations of the surface and of the ground."""

from pathlib import Path

import numpy as np

from benchmark.data.bands import Pixels
from benchmark.data.numbers import without_gaps

HEIGHT = "height"
"""Name of the band."""

ELEVATIONS = ("dsm", "dtm")
"""The bands of a file of elevations, in metres: of the surface, with trees and roofs, and of the ground."""

METRES = 0.2  # a count, as in FLAIR #1's fifth band: its 255 are 51 m


def height_above_ground(path: Path, elevations: Pixels) -> Pixels:
    """Return the band (1, H, W) uint8 of the heights, 0.2 m a count, rounded; 0 below the ground, 255 from 51 m on.

    Args:
        path: file that a message names.
        elevations: pixels of the bands `ELEVATIONS`.

    Raises:
        DataError: the elevations hold numbers of pixels without data that no tag marks.
    """
    metres, valid = without_gaps(path, elevations.bands, elevations.valid)
    surface, ground = metres.astype(np.float32)
    counts = np.rint((surface - ground) / METRES).clip(0, 255).astype(np.uint8)
    return Pixels(counts[None], valid, elevations.place)
