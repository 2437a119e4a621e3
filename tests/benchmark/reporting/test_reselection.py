"""The headline by another rule than the runs went by."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmark.common.errors import TrackingError
from benchmark.evaluation.comparison import Cell, Grid
from benchmark.evaluation.confidence import BINS, UNIT, Confidence
from benchmark.evaluation.selection import Record
from benchmark.experiments.checkpoint_records import LEFT_OUT
from benchmark.experiments.confidence_record import write_confidences
from benchmark.reporting.reselection import by_rule
from benchmark.training.prediction import METRICS

GRID = Grid(("a", "oracle"), ("north", "south"), (0,), {}, frozenset({"oracle"}), "a")
RIGHT, HALF = np.array([[3, 0], [0, 5], [0, 0]]), np.array([[2, 2], [2, 2], [0, 0]])
RECORDS = (Record(10, 0.9, 0.33, {"nuclear-norm": 0.1}), Record(20, 0.5, 1.0, {"nuclear-norm": 0.7}))


@pytest.fixture
def cell(tmp_path):
    """A run whose first checkpoint was chosen by source validation, and whose second is right everywhere."""
    matrices = {"10/target_test": HALF[None], "20/target_test": RIGHT[None]}
    np.savez(tmp_path / "confusions.npz", **{"zones/target_test": np.array(["n|1"])}, **matrices)
    (tmp_path / "settings.json").write_text(json.dumps({"classes": ["Tall tree", "water"]}))
    metrics = {
        "target/miou": METRICS["miou"](HALF),
        "target/loss": 0.4,
        "selected/step": 10.0,
        "time/training_seconds": 7.0,
    }
    return Cell("a", "north", 0, "done", metrics=metrics, records=RECORDS, rule="source-validation")


def _chosen(cell, folder, rule):
    return by_rule([cell], GRID, {("a", "north", 0): folder, ("oracle", "north", 0): folder}, rule)[0]


def test_all_numbers_are_those_of_the_checkpoint_that_the_rule_takes(cell, tmp_path):
    chosen = _chosen(cell, tmp_path, "nuclear-norm")
    assert chosen.rule == "nuclear-norm" and chosen.metrics["selected/step"] == 20
    assert chosen.metrics["target/miou"] == chosen.metrics["target/iou/tall_tree"] == 1.0
    assert chosen.metrics["target_domain/n/miou"] == 1.0 and chosen.metrics["time/training_seconds"] == 7.0
    assert chosen.metrics["selected/source_val_miou"] == 0.5 and chosen.metrics["selected/drop"] == -0.5
    assert "target/loss" not in chosen.metrics  # it was measured at the other one


def test_the_confidence_is_that_of_the_checkpoint_that_the_rule_takes(cell, tmp_path):
    """Of a run of an older version it is not known, and that of the other checkpoint does not stay."""
    logged = replace(cell, metrics=cell.metrics | {"target/ece": 0.4})
    assert "target/ece" not in _chosen(logged, tmp_path, "nuclear-norm").metrics
    pixels, confusions = np.zeros((1, BINS, 3), np.int64), np.zeros((BINS, 2, 2), np.int64)
    pixels[0, -1], confusions[-1] = [8, 8, 8 * UNIT], RIGHT[:-1]
    write_confidences(tmp_path, {20: Confidence(pixels, confusions, float("nan"), pixels * 0)})
    metrics = _chosen(logged, tmp_path, "nuclear-norm").metrics
    assert metrics["target/ece"] == 0 and metrics["target/selective_miou"] == 1


def test_the_same_checkpoint_keeps_all_that_was_logged(cell, tmp_path):
    chosen = _chosen(cell, tmp_path, "source-validation")
    assert chosen.metrics == cell.metrics and chosen.rule == "source-validation"


def test_what_a_rule_knows_no_score_of_and_a_bound_stay_as_they_are(cell, tmp_path):
    other = replace(cell, fold="south", records=[replace(r, scores={"target-entropy": 0.0}) for r in RECORDS])
    found = by_rule([cell, other], GRID, {("a", name, 0): tmp_path for name in GRID.folds}, "target-entropy")
    assert found[0] is cell and found[1].rule == "target-entropy"
    bound = Cell("oracle", "north", 0, "done", metrics=cell.metrics, records=RECORDS)
    assert _chosen(bound, tmp_path, "nuclear-norm") is bound


def test_a_run_without_source_data_is_chosen_alike_whether_a_rule_is_named_or_not(cell, tmp_path):
    """By source validation its headline is its last step, and stays it; a rule that looks at the target alone takes
    what it takes in other runs."""
    grid, folders = replace(GRID, source_free=frozenset({"a"})), {("a", "north", 0): tmp_path}
    last = replace(cell, rule="last-step")
    other = replace(cell, method="b")
    folders["b", "north", 0] = tmp_path
    assert by_rule([last, other], grid, folders, "source-validation")[0] is last
    assert by_rule([last, other], grid, folders, "nuclear-norm")[0].metrics["selected/step"] == 20


@pytest.mark.parametrize(("rule", "why"), [("target-entropy", "of a version"), (LEFT_OUT, f"--{LEFT_OUT}")])
def test_a_rule_that_knows_no_run_is_refused(cell, tmp_path, rule, why):
    """Else the table would be that of another rule under its name."""
    with pytest.raises(TrackingError, match=why):
        _chosen(cell, tmp_path, rule)


def test_a_run_without_its_matrices_stays_as_it_is(cell, tmp_path):
    (tmp_path / "confusions.npz").unlink()
    assert _chosen(cell, tmp_path, "nuclear-norm") is cell
