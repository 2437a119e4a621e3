"""Which dates a rule keeps, what is taken where it keeps none, and the means of months."""

import numpy as np
import pytest

from benchmark.data.series.dates import FLAIR2, FLAIRHUB, DateFilter, average_months, choose_dates, select
from benchmark.data.series.series import NO_DATA, Series, crop


def _covers(*dates: tuple[int, int, int]) -> np.ndarray:
    """A row of ten pixels a date; of each date the pixels with snow, with clouds, and with both come one by one."""
    covers = np.zeros((len(dates), 2, 1, 10), np.uint8)
    for date, (snow, clouds, both) in enumerate(dates):
        covers[date, 0, 0, : snow + both] = 100
        covers[date, 1, 0, snow : snow + both + clouds] = 100
    return covers


@pytest.mark.parametrize(
    ("rule", "date", "kept"),
    [
        (FLAIR2, (2, 2, 0), True),
        (FLAIR2, (3, 2, 0), False),  # half is not below half
        (FLAIR2, (0, 1, 2), False),  # a pixel with both counts twice
        (DateFilter(union=True), (0, 1, 2), True),
        (DateFilter(inclusive=True), (3, 2, 0), True),
        (DateFilter(share=0.2), (1, 1, 0), False),
    ],
)
def test_a_date_is_kept_by_the_share_of_its_covers(rule: DateFilter, date: tuple[int, int, int], kept: bool) -> None:
    clear = (0, 0, 0)
    chosen, fell_back = choose_dates(_covers(clear, date), rule)
    assert chosen.tolist() == ([0, 1] if kept else [0]) and not fell_back


def test_a_pixel_is_covered_from_the_probability_on() -> None:
    covers = np.zeros((2, 2, 4, 4), np.uint8)
    covers[0, 1], covers[1, 1] = 59, 60
    assert choose_dates(covers)[0].tolist() == [0]


def test_the_filter_of_the_hub() -> None:
    covers = np.ones((3, 2, 10, 10), np.uint8)  # 1 % is clear
    covers[0, 1, 0, :5] = 2
    covers[1, 1, 0, :6] = 2
    assert choose_dates(covers, FLAIRHUB)[0].tolist() == [0, 2]  # 95 % clear are enough
    covers[:, 1] = 50
    covers[1, 0] = 50
    chosen, fell_back = choose_dates(covers, FLAIRHUB)  # clouds everywhere: snow alone
    assert chosen.tolist() == [0, 2] and not fell_back
    covers[:, 0] = 50
    assert choose_dates(covers, FLAIRHUB) == (np.array([0]), True)


def test_the_clearest_date_is_taken_where_none_is_kept_and_said_so() -> None:
    chosen, fell_back = choose_dates(_covers((0, 9, 0), (1, 5, 0), (0, 6, 0)))
    assert chosen.tolist() == [1] and fell_back


def test_pixels_without_data_are_no_pixels() -> None:
    covers = _covers((0, 4, 0), (0, 4, 0), (0, 0, 0))
    covers[1, :, 0, 7:], covers[2] = NO_DATA, NO_DATA  # 4 of 7 pixels, and a date without any
    assert choose_dates(covers)[0].tolist() == [0]
    assert choose_dates(covers[1:]) == (np.array([0]), True)


def _dated(*dates: str, values: np.ndarray | None = None) -> Series:
    days = np.array(dates, "datetime64[D]").astype(np.int32)
    stored = np.arange(len(dates) * 8).reshape(len(dates), 2, 2, 2).astype(np.uint16) if values is None else values
    return Series(stored, days, np.full((len(dates), 2, 2, 2), 10, np.uint8))


def test_months_are_averaged_dated_to_the_15th_and_left_out_without_dates() -> None:
    series = _dated("2020-02-01", "2020-02-29", "2020-05-31", "2021-02-01")
    months = average_months(series)
    dates = months.days.astype("datetime64[D]").astype(str).tolist()
    assert dates == ["2020-02-15", "2020-05-15", "2021-02-15"]
    np.testing.assert_array_equal(months.values[0], series.values[:2].mean(0))
    np.testing.assert_array_equal(months.values[1:], series.values[2:])
    assert months.values.dtype == np.float32 and (months.covers == 10).all()


def test_order_of_the_dates_does_not_matter_for_months() -> None:
    rng = np.random.default_rng(0)
    series = _dated(
        *(f"2021-0{1 + k % 3}-{k + 1:02d}" for k in range(24)), values=rng.integers(0, 65536, (24, 10, 4, 4))
    )
    series = Series(series.values, series.days, rng.integers(0, 101, (24, 2, 4, 4)).astype(np.uint8))
    mixed = average_months(series.take(rng.permutation(24)))
    for name in ("values", "days", "covers"):
        np.testing.assert_array_equal(getattr(mixed, name), getattr(average_months(series), name))


def test_pixels_without_data_are_not_averaged() -> None:
    series = _dated("2021-03-01", "2021-03-05", values=np.full((2, 1, 30, 30), 7, np.uint16))
    series = Series(series.values, series.days, np.full((2, 2, 30, 30), 4, np.uint8))
    series.covers[0, :, 10, 10], series.values[0, :, 10, 10] = NO_DATA, 0
    months = average_months(crop(series, (2, 15), 20))
    assert months.values[0, 0, :8].max() == 0 and not months.valid[0, :8].any()
    assert (months.values[0, 0, 8:] == 7).all() and (months.covers[0, :, 8:] == 4).all()


def test_select_filters_and_averages() -> None:
    series = _dated("2021-03-01", "2021-03-05", "2021-04-01")
    series.covers[1] = 80
    kept, fell_back = select(series)
    assert kept.days.tolist() == series.days[[0, 2]].tolist() and not fell_back
    assert len(select(series, None)[0].days) == 3
    np.testing.assert_array_equal(select(series, monthly=True)[0].values, series.values[[0, 2]])
    series.covers[:] = 80
    assert select(series)[1] and len(select(series)[0].days) == 1
