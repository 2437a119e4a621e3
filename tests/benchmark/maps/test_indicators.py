import numpy as np
import pytest

from benchmark.data.classes import FLAIR_13, FLAIR_19, ClassSet, LandClass
from benchmark.data.flairhub_classes import COSIA
from benchmark.maps.indicators import KINDS, indicators, kinds_of, lacks, unknown_share
from benchmark.maps.legend import Legend, MapClass

ALL = Legend("all", tuple(MapClass(number, name, "#000000") for number, name in enumerate(KINDS)))


def shares(legend: Legend, **of) -> np.ndarray:
    names = [each.name.replace(" ", "_") for each in legend.classes]
    return np.array([of.get(name, 0.0) for name in names])


def test_bounds_follow_the_table():
    areas = shares(
        ALL, building=10, impervious_surface=20, pervious_surface=5, swimming_pool=1, greenhouse=2,
        herbaceous_vegetation=30, bare_soil=4, agricultural_land=8, deciduous=15, water=5, other=25,
    )  # fmt: skip
    found = indicators(ALL, areas)
    assert (float(found.sealed), float(found.lower), float(found.upper)) == pytest.approx((0.3, 0.36, 0.72))
    assert indicators(ALL, np.stack([areas, 2 * areas])).upper.tolist() == pytest.approx([0.72, 0.72])
    assert np.isnan(indicators(ALL, np.zeros(len(KINDS))).upper)
    assert unknown_share(ALL, areas.astype(int), 25) == pytest.approx(50 / 150)


def test_what_is_hidden_in_other_counts_in_the_upper_bound():
    legend = Legend("13", (*Legend.of(FLAIR_13).classes, MapClass(13, "other", "#000000")))
    assert lacks(legend) == ["swimming pool", "greenhouse"]
    found = indicators(legend, shares(legend, building=1, water=1, other=2))
    assert (float(found.sealed), float(found.lower), float(found.upper)) == (0.25, 0.25, 0.75)
    assert lacks(Legend.of(FLAIR_19)) == []


@pytest.mark.parametrize("classes", [FLAIR_13, FLAIR_19, COSIA])
def test_every_class_of_flair_has_a_kind(classes):
    assert len(kinds_of(Legend.of(classes))) == classes.num_classes
    assert set(KINDS) >= {each.name for each in classes.classes}


def test_other_classes_have_no_bounds():
    trees = ClassSet("trees", (LandClass("background", "#000000", (0,)), LandClass("tree", "#00ff00", (1,))))
    assert kinds_of(Legend.of(trees)) == ()
