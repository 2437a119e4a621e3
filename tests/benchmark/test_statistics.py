"""Summaries of tables of folds by seeds, by hand."""

import numpy as np
import pytest

from benchmark.statistics import bootstrap_interval, gap_closed, spread


def test_a_table_in_one_line():
    values = np.array([[0.2, 0.4], [0.6, 0.8]])
    line = spread(values)
    assert line.mean == pytest.approx(0.5) and line.worst == pytest.approx(0.3) and line.cells == 4
    assert line.seed_std == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert line.low < 0.5 < line.high


def test_missing_cells_are_left_out():
    line = spread(np.array([[0.2, np.nan], [0.6, 0.8], [np.nan, np.nan]]))
    assert line.mean == pytest.approx((0.2 + 0.7) / 2) and line.cells == 3
    assert np.isnan(line.seed_std), "one whole seed has no spread"


def test_nothing_gives_nothing():
    line = spread(np.full((2, 2), np.nan))
    assert np.isnan(line.mean) and line.cells == 0


def test_the_interval_covers_folds_and_seeds(noise):
    folds = np.array([[0.1], [0.9], [0.5], [0.5]]) + np.zeros((4, 3))
    low, high = bootstrap_interval(folds)
    assert high - low > 0.3, "folds that differ make the mean uncertain, however sure the seeds are"
    assert bootstrap_interval(np.full((4, 3), 0.5)) == (0.5, 0.5)
    assert bootstrap_interval(folds) == (low, high), "the same table, the same interval"


def test_the_interval_covers_the_truth_about_as_often_as_it_says(noise):
    hits = 0
    for _ in range(60):
        low, high = bootstrap_interval(noise.normal(0.5, 0.1, (12, 1)) + noise.normal(0, 0.02, (12, 3)))
        hits += low <= 0.5 <= high
    assert hits >= 50


def test_gap_closed_cell_by_cell():
    source, oracle = np.array([[0.2, 0.2, 0.5, 0.3]]), np.array([[0.6, 0.6, 0.505, 0.2]])
    closed = gap_closed(np.array([[0.4, 0.1, 0.6, 0.3]]), source, oracle)
    np.testing.assert_allclose(closed, [[0.5, -0.25, np.nan, np.nan]])
