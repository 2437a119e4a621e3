"""The patch on which the methods differ most."""

import numpy as np
import pytest
from PIL import Image

from benchmark.data.classes import ClassSet, LandClass
from benchmark.data.patch_images import GAP, SIDE, prediction_panel
from benchmark.evaluation.comparison import Cell
from benchmark.reporting.gallery import ACROSS, TITLE, differing, widest


@pytest.fixture
def classes():
    return ClassSet("two", (LandClass("water", "#0000ff", (1,)), LandClass("land", "#00ff00", (2,))))


@pytest.fixture
def panel(tmp_path, classes):
    """Writes what a method predicts for three patches, each of one class."""

    def write(method, *predicted, true=0):
        images = np.stack([np.full((3, 8, 8), 60 * k, np.uint8) for k in range(3)])
        truth = np.full((3, 8, 8), true, np.uint8)
        masks = np.stack([np.full((8, 8), value, np.uint8) for value in predicted])
        prediction_panel(images, truth, masks, classes, ("red", "green", "blue")).save(tmp_path / f"{method}.png")
        return tmp_path / f"{method}.png"

    return write


def test_the_patch_with_most_disagreement_is_shown_with_every_method(panel):
    """On the second patch one of three differs, on the third all agree, on the first all agree."""
    panels = {"a": panel("a", 0, 0, 1), "b": panel("b", 0, 1, 1), "c": panel("c", 0, 0, 1)}
    sheet, share = differing(panels)
    assert share == pytest.approx(1 / 3)
    tile = [sheet.getpixel((GAP + k * (SIDE + GAP) + SIDE // 2, GAP + TITLE + SIDE // 2)) for k in range(5)]
    assert tile == [(60, 60, 60), (0, 0, 255), (0, 0, 255), (0, 255, 0), (0, 0, 255)]
    assert sheet.width == ACROSS * (SIDE + GAP) + GAP


def test_with_fewer_than_two_methods_there_is_nothing_to_show(panel, tmp_path):
    assert differing({"a": panel("a", 0, 0, 0), "b": tmp_path / "none.png"}) is None and differing({}) is None


def test_panels_of_other_patches_are_left_out(panel):
    panels = {"a": panel("a", 0, 0, 1), "b": panel("b", 0, 1, 1), "c": panel("c", 1, 1, 0, true=1)}
    assert differing(panels)[1] == pytest.approx(1 / 2)
    assert differing({"a": panels["a"], "c": panels["c"]}) is None


def test_many_methods_take_several_rows(panel):
    sheet, _ = differing({f"method {k}": panel(f"m{k}", 0, k % 2, 0) for k in range(9)})
    below = 2 * (SIDE + GAP + TITLE) + GAP
    assert isinstance(sheet, Image.Image) and sheet.height > below
    legend = sheet.crop((0, below, sheet.width, sheet.height)).getcolors(1 << 20)
    assert {(0, 0, 255), (0, 255, 0)} <= {color for _, color in legend}


def test_folds_are_sorted_by_how_far_the_methods_lie_apart():
    def cell(method, fold, value, seed=0):
        return Cell(method, fold, seed, "done", metrics={"target/miou": value})

    near, far = [cell("a", "near", 0.5), cell("b", "near", 0.6)], [cell("a", "far", 0.1), cell("b", "far", 0.9)]
    elsewhere = [cell("a", "near", 0.0, seed=1), Cell("a", "none", 0, "failed")]
    assert widest([*near, *far, *elsewhere], 0) == ["far", "near"]
    unknown = Cell("a", "unknown", 0, "done", metrics={"target/loss": 1.0})
    assert widest([unknown, *near, *far], 0) == ["far", "near", "unknown"]
