"""Which dates are left of a series where something is missing."""

import numpy as np

from benchmark.data.series.corruptions import CORRUPTIONS, draw_dates, most_clouded
from benchmark.data.series.series import CLOUD, NO_DATA, SNOW, Series


def _series(dates: int) -> Series:
    values, covers = np.zeros((dates, 10, 4, 4), np.uint16), np.zeros((dates, 2, 4, 4), np.uint8)
    return Series(values, np.arange(dates, dtype=np.int32), covers)


def test_a_share_of_the_dates_is_drawn_for_each_patch_and_a_smaller_one_from_it() -> None:
    half, tenth = (draw_dates(_series(70), "a", share) for share in (0.5, 0.1))
    assert len(set(half)) == len(half) == 35 and len(tenth) == 7 and set(tenth) < set(half)
    assert (np.diff(half) > 0).all() and half[-1] < 70
    assert draw_dates(_series(70), "a", 0.5).tolist() == half.tolist() != draw_dates(_series(70), "b", 0.5).tolist()


def test_at_least_one_date_is_drawn() -> None:
    assert len(draw_dates(_series(3), "a", 0.1)) == 1


def test_the_most_clouded_date_is_the_one_with_most_pixels_under_a_cloud() -> None:
    series = _series(5)
    series.covers[0, SNOW], series.covers[0, :, :2] = 100, NO_DATA
    series.covers[1, CLOUD, :3], series.covers[2, CLOUD, :2] = 60, 100  # 12 pixels, and 8
    series.covers[3, CLOUD] = 59  # no cloud yet
    series.covers[4] = NO_DATA
    assert most_clouded(series, "a").tolist() == [1]
    series.covers[4, :, 0, 0] = 90  # its one pixel with data is clouded
    assert most_clouded(series, "a").tolist() == [4]


def test_without_a_cloud_the_first_date_with_data_is_taken() -> None:
    series = _series(3)
    series.covers[0] = NO_DATA
    assert most_clouded(series, "a").tolist() == [1]


def test_names_are_headings_of_columns_and_parts_of_metrics() -> None:
    assert list(CORRUPTIONS) == ["half-of-the-dates", "a-tenth-of-the-dates", "clouds-alone", "no-series"]
    assert CORRUPTIONS["no-series"].choose is None
