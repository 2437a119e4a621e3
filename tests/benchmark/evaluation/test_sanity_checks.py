"""A planted mistake of each kind raises its alarm, and none is raised without."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.evaluation.comparison import Cell, Grid
from benchmark.evaluation.sanity_checks import alarms, majority_miou
from benchmark.training.prediction import miou

FOLDS, SEEDS = ("north", "south"), (0, 1)


def comparison(**methods):
    """Cells of methods from their mean IoU, which is changed a little from cell to cell; a pair is (IoU, change)."""
    cells = []
    for method, value in methods.items():
        value, change = value if isinstance(value, tuple) else (value, 0.0)
        for row, fold in enumerate(FOLDS):
            for seed in SEEDS:
                score = value + 0.01 * row + 0.003 * seed + change
                cells.append(Cell(method, fold, seed, "done", metrics={"target/miou": score, "target/loss": 1 - score}))
    return cells, Grid(tuple(methods), FOLDS, SEEDS, {}, frozenset(), "control")


def test_a_sound_comparison_raises_none():
    assert alarms(*comparison(control=0.4, idea=0.5, other=0.6), {"north": 0.1, "south": 0.1}) == []


def test_two_settings_with_the_same_bits_are_found():
    (alarm,) = alarms(*comparison(control=0.4, idea=0.5, other=0.5), {})
    assert alarm == "idea and other are the same to the last bit on all 4 cells: they should differ"


def test_a_hyperparameter_that_changes_nothing_is_found():
    (alarm,) = alarms(*comparison(**{"control": 0.4, "idea": 0.5, "idea[weight=2]": 0.5}), {})
    assert "idea and idea[weight=2]" in alarm and "hyperparameters changes nothing" in alarm


def test_agreement_to_four_digits_is_found_and_to_three_is_none():
    (alarm,) = alarms(*comparison(control=0.4, idea=0.5, other=(0.5, 1e-5)), {})
    assert alarm == "idea and other agree to four digits on all 4 cells: one may do nothing"
    assert not alarms(*comparison(control=0.4, idea=0.5, other=(0.5, 1e-3)), {})


def test_a_method_below_the_control_or_the_majority_class_is_found():
    grave, light = alarms(*comparison(control=0.4, idea=0.2, other=0.6), {"north": 0.3, "south": 0.1})
    assert grave.startswith("idea is below predicting the most frequent class everywhere on north: hardly anything")
    assert light == "below control on average: idea"


def test_a_bound_below_the_control_is_no_method_that_loses():
    cells, grid = comparison(control=0.4, idea=0.5, oracle=0.3)
    (alarm,) = alarms(cells, replace(grid, bounds=frozenset({"oracle"})), {})
    assert alarm == "oracle, a bound, is below control on average: too few labels of the target, or steps"


def test_methods_below_a_classifier_of_single_pixels_are_found_together():
    cells, grid = comparison(control=0.4, idea=0.41, other=0.6)
    (alarm,) = alarms(cells, grid, {}, pixels={"north": 0.1, "south": 0.5})
    assert alarm.startswith("control, idea are below a classifier of single pixels on south: hardly anything")


def test_two_settings_with_the_same_bits_are_found_in_a_single_cell():
    cells, grid = comparison(control=0.4, idea=0.5, other=0.5)
    (alarm,) = alarms([cell for cell in cells if (cell.fold, cell.seed) == ("north", 0)], grid, {})
    assert alarm == "idea and other are the same to the last bit on the one cell of both: they should differ"
    apart = [replace(c, metrics=c.metrics | {"target/loss": 0.1}) if c.method == "other" else c for c in cells]
    (alarm,) = alarms(apart, grid, {})
    assert "agree to four digits" in alarm, "another loss: not the same bits"


def test_without_the_control_nothing_is_below_it():
    cells, grid = comparison(idea=0.5, other=0.4)
    assert alarms(cells, grid, {}) == []


def test_the_majority_class_scores_what_its_prediction_would():
    """Class 1 everywhere, of 30, 50, 0 and 20 pixels: an IoU of 50 / 100, and 0 for the two others that occur."""
    constant = np.zeros((5, 4), dtype=int)
    constant[:, 1] = [30, 50, 0, 20, 7]
    assert majority_miou(constant) == pytest.approx(0.5 / 3) == miou(constant)
    assert np.isnan(majority_miou(np.zeros((5, 4), dtype=int)))
