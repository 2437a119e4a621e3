"""Distances are those of x and y, or along the ground where longitude and latitude are known."""

import numpy as np
import pandas as pd
import pytest

from protocols.base import Fold
from protocols.checks import smallest_distance
from protocols.distances import along_ground, nearest, positions


@pytest.fixture
def patches() -> pd.DataFrame:
    """Three patches by x and y and, far from there, by longitude and latitude."""
    plane = {"x": [0.0, 3.0, 0.0], "y": [0.0, 4.0, 100.0]}
    return pd.DataFrame(plane | {"longitude": [10.0, 10.0, 11.0], "latitude": [0.0, 1.0, 0.0]}, index=list("abc"))


def test_x_and_y_are_a_plane(patches):
    plane = patches[["x", "y"]]
    assert positions(plane).tolist() == plane.to_numpy().tolist()
    assert nearest(plane.loc[["b", "c"]], plane.loc[["a"]]).tolist() == [5, 100]


def test_a_degree_is_as_long_as_the_ellipsoid_has_it(patches):
    assert nearest(patches.loc[["b", "c"]], patches.loc[["a"]]) == pytest.approx([110_574, 111_319], abs=30)
    pole = positions(pd.DataFrame({"longitude": [33.0], "latitude": [-90.0]}))
    assert pole[0] == pytest.approx([0, 0, -6_356_752.3], abs=0.1)


def test_a_straight_line_is_shorter_than_the_ground():
    around = np.zeros((1, 3))
    assert along_ground([1000, 2 * 6_371_009], around) == pytest.approx([1000, np.pi * 6_371_009])


def test_the_smallest_distance_of_folds_is_along_the_ground(patches):
    fold = Fold("f", {}, {"source_train": ("a",), "source_val": (), "target_adapt": ("b",), "target_test": ("c",)})
    listed = patches.rename_axis("id").reset_index()
    assert smallest_distance([fold], listed) == pytest.approx(110_574, abs=30)
    assert smallest_distance([fold], listed.drop(columns=["longitude", "latitude"])) == 5
