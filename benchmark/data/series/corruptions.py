"""Series of which something is missing where a map is made: dates, a clear sky, or all of it; pure functions.

A run whose network sees series predicts its test once more with each of these, after its checkpoint is chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmark.data.series.dates import FLAIR2
from benchmark.data.series.series import CLOUD, Series
from methods.parts.randomness import numpy_generator

MISSING = "target_missing"
"""How the metrics of these predictions begin, and the parts in a run's file of confusion matrices."""


@dataclass(frozen=True)
class Corruption:
    """Loss of a part of a series, before the config filters its dates; where a single one is left, that is kept.

    Attributes:
        words: description, as a table has it.
        choose: gives the numbers (k,) int64 of the dates that are left, at least one, of a crop and the name of its
            patch; None where no date is left.
    """

    words: str
    choose: Callable[[Series, str], NDArray[np.int64]] | None


def draw_dates(series: Series, patch: str, share: float) -> NDArray[np.int64]:
    """Return the numbers of a share of the dates, at least one, in their order: the same ones for every seed.

    Those of a smaller share are among those of a larger one.

    Args:
        patch: name of the patch, which addresses the draw.
    """
    count = len(series.days)
    order = numpy_generator("missing dates", patch).permutation(count)
    return np.sort(order[: max(1, round(share * count))])


def most_clouded(series: Series, patch: str) -> NDArray[np.int64]:
    """Return the number (1,) of the date with the largest share of pixels under a cloud, the first of equals.

    A pixel counts from the probability of FLAIR #2's filter on. Dates without a pixel come last.
    """
    seen = series.valid
    clouds = ((series.covers[:, CLOUD] >= FLAIR2.probability) & seen).sum((1, 2))
    pixels = seen.sum((1, 2))
    return np.array([np.where(pixels > 0, clouds / np.maximum(pixels, 1), -1).argmax()])


CORRUPTIONS = {
    "half-of-the-dates": Corruption(
        "a random half of each patch's dates is left, before the config filters and averages them",
        partial(draw_dates, share=0.5),
    ),
    "a-tenth-of-the-dates": Corruption("the same with a tenth, at least one date", partial(draw_dates, share=0.1)),
    "clouds-alone": Corruption("only the date is left that shows most clouds", most_clouded),
    "no-series": Corruption("no date is left", None),
}
"""By the name in metrics; with spaces, it is the heading of a column."""
