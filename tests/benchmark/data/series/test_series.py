"""Crops, turns and positions of a series."""

import datetime
from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.batches import _view
from benchmark.data.series.series import NO_DATA, Series, centre_of_window, crop, turn


def _series(rows: int = 50, columns: int = 60) -> Series:
    """One date, one band; each value says its row and column, and each cover its column."""
    values = np.add.outer(100 * np.arange(rows), np.arange(columns)).astype(np.uint16)[None, None]
    return Series(values, np.array([18_500], np.int32), (values % 100).astype(np.uint8).repeat(2, 1))


def test_a_crop_is_that_of_the_published_code_inside() -> None:
    part = crop(_series(), (25, 22), 40)
    assert part.values.shape == (1, 1, 40, 40) and part.values[0, 0, 0, 0] == 502 and part.values[0, 0, -1, -1] == 4441
    assert part.valid.all()


def test_a_crop_inside_is_a_view() -> None:
    series = _series()
    assert np.shares_memory(crop(series, (25, 25)).values, series.values)


@pytest.mark.parametrize("centre", [(0, 0), (3, 30), (30, 3), (49, 59), (25, 59), (49, 30)])
def test_a_crop_over_an_edge_is_filled_and_keeps_the_centre(centre: tuple[int, int]) -> None:
    series = _series()
    part = crop(series, centre, 40)
    assert part.values.shape == (1, 1, 40, 40) and part.covers.shape == (1, 2, 40, 40)
    assert part.values[0, 0, 20, 20] == 100 * centre[0] + centre[1]
    for row in range(40):
        for column in range(40):
            place = (centre[0] - 20 + row, centre[1] - 20 + column)
            inside = 0 <= place[0] < 50 and 0 <= place[1] < 60
            assert part.valid[0, row, column] == inside
            assert part.values[0, 0, row, column] == (100 * place[0] + place[1] if inside else 0)
    assert (part.covers[:, :, ~part.valid[0]] == NO_DATA).all()


@pytest.mark.parametrize(("centre", "size"), [((50, 0), 40), ((0, 60), 40), ((-1, 0), 40), ((5, 5), 39), ((5, 5), 0)])
def test_a_centre_outside_and_an_odd_size_are_refused(centre: tuple[int, int], size: int) -> None:
    with pytest.raises(ValueError, match=r"outside|even"):
        crop(_series(), centre, size)


def test_positions_are_days_after_the_reference_across_a_leap_day() -> None:
    days = np.array(["2020-02-29", "2020-05-15", "2020-06-01"], "datetime64[D]").astype(np.int32)
    series = Series(np.zeros((3, 1, 2, 2)), days, np.zeros((3, 2, 2, 2), np.uint8))
    assert series.days_after(datetime.date(2020, 5, 15)).tolist() == [-76, 0, 17]


@pytest.mark.parametrize("symmetry", range(8))
def test_symmetries_are_numbered_as_those_of_the_images(symmetry: int) -> None:
    array = np.arange(50).reshape(2, 5, 5)
    expected = _view(array[None], np.array([0]), np.array([0]), 5, np.array([symmetry]))[0]
    np.testing.assert_array_equal(turn(array, symmetry), expected)


@pytest.mark.parametrize("symmetry", range(8))
@pytest.mark.parametrize("corner", [(0, 0), (0, 256), (200, 40)])
def test_image_and_series_show_the_same_ground_after_crop_and_turn(symmetry: int, corner: tuple[int, int]) -> None:
    series = _series(80, 90)
    rows, columns = np.divmod(np.arange(512 * 512).reshape(512, 512), 512)
    # The row and column of the series that each pixel of the image is in; the centre of the image is the edge 40, 45.
    image = np.stack([40 + (rows + 0.5 - 256) * 0.02, 45 + (columns + 0.5 - 256) * 0.02])
    cut = image[:, corner[0] : corner[0] + 256, corner[1] : corner[1] + 256]
    centre = centre_of_window((40, 45), corner, 256, 512, 0.02, series.values.shape[-2:])
    around = crop(series, centre, 40)
    seen = turn(cut, symmetry)
    part = replace(around, values=turn(around.values, symmetry), covers=turn(around.covers, symmetry))
    assert seen.shape == (2, 256, 256) and part.values.shape == part.covers[:, :1].shape == (1, 1, 40, 40)
    assert (part.covers == part.values % 100)[:, :, part.valid[0]].all()
    for place in ((10, 20), (128, 128), (250, 3), (200, 220)):
        in_series = [20 + (pixel + 0.5 - 128) * 0.02 for pixel in place]
        value = part.values[0, 0, int(in_series[0]), int(in_series[1])]
        shown = np.array([value // 100, value % 100]) + 0.5
        assert (
            np.abs(shown - seen[:, place[0], place[1]]).max() <= 1.01
        )  # half a pixel each, of rounding and of its size
