"""Comparisons that differ in series settings alone, side by side, and the tables about series as texts."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmark.data.series.corruptions import CORRUPTIONS
from benchmark.evaluation.comparison import Cell, Grid
from benchmark.experiments.jobs import recipe_content
from benchmark.reporting.modalities import compare_modalities, siblings
from benchmark.reporting.series_tables import series_record, series_tables
from benchmark.training.config import make_recipe

NEEDS = {"source-only": "source labels", "dacs": "target images", "oracle": "all"}
GRID = Grid(tuple(NEEDS), ("north", "south"), (0, 1), NEEDS, frozenset({"oracle"}), "source-only")
SCORES = {"source-only": 0.4, "dacs": 0.43, "oracle": 0.6}


def _facts(series="", fingerprint="f", **changes):
    recipe = make_recipe("tiny", {"series": series, **changes})
    shared = {"fingerprint": fingerprint, "dataset_digest": "d", "class_set": "c"}
    return shared | {"recipe": json.dumps(recipe_content(recipe))}


def test_siblings_differ_in_series_settings_alone():
    facts = {
        "late": _facts("late"),
        "other steps": _facts("alone", steps=7),
        "other folds": _facts("", fingerprint="g"),
        "tuned": _facts("") | {"tuned": "by a rule"},
        "no recipe": {"fingerprint": "f"},
        "alone": _facts("alone"),
        "images": _facts(),
    }
    expected = {"image alone": "images", "series alone": "alone", "image + series (late)": "late"}
    for key in ("late", "alone", "images"):
        assert list(siblings(facts, key).items()) == list(expected.items())
    assert siblings(facts, "other folds") == {"image alone": "other folds"} and siblings(facts, "no recipe") == {}


def test_settings_that_differ_are_in_the_names():
    facts = {"a": _facts("late", dates="all"), "b": _facts("late"), "images": _facts(), "c": _facts("alone")}
    assert siblings(facts, "images") == {
        "image alone": "images",
        "series alone (dates flair2)": "c",
        "image + series (late, dates all)": "a",
        "image + series (late, dates flair2)": "b",
    }


def test_of_several_with_the_same_settings_the_reported_one_is_taken_or_the_last():
    facts = {"images": _facts(), "earlier": _facts("late"), "later": _facts("late")}
    assert siblings(facts, "images")["image + series (late)"] == "later"
    assert siblings(facts, "earlier")["image + series (late)"] == "earlier"


def _cells(grid, more, lacking=()):
    return [
        Cell(method, fold, seed, "skipped", "it changes images alone")
        if method in lacking
        else Cell(method, fold, seed, "done", metrics={"target/miou": SCORES[method] + more + 0.2 * (fold == "west")})
        for method in grid.methods
        for fold in grid.folds
        for seed in grid.seeds
    ]


@pytest.fixture
def seen():
    late = replace(GRID, folds=("north", "south", "west"), seeds=(1, 0, 2))
    few = replace(GRID, methods=("source-only", "dacs"))
    return {
        "image alone": (GRID, _cells(GRID, 0)),
        "series alone": (few, _cells(few, -0.1, ["dacs"])),
        "image + series (late)": (late, _cells(late, 0.05)),
    }


def _tables(modalities):
    return series_tables(SimpleNamespace(cells=[], grid=GRID, modalities=modalities))


def test_modalities_are_columns_over_the_folds_and_seeds_that_all_have(seen):
    (table,) = _tables(compare_modalities(GRID, seen, {"image + series (corrected)": "runs of several versions"}))
    assert table.header == ("method", "image alone", "series alone", "image + series (late)")
    assert table.rows == [
        ["source-only", "40.0", "30.0", "45.0"],
        ["dacs", "43.0 (+3.0)", "skipped", "48.0 (+3.0)"],
        ["oracle (bound)", "60.0 (+20.0)", "not requested", "65.0 (+20.0)"],
        ["source-only over itself on images alone (no method)", "–", "-10.0", "+5.0"],
    ]
    assert table.lines == [
        "dacs, series alone: 4 × skipped: it changes images alone",
        "image + series (corrected) is left out: runs of several versions",
    ]
    assert "Folds: north, south; seeds: 0, 1." in table.about
    assert table.markdown.startswith("Modalities:\n\n| method | image alone |") and "\n- dacs, series" in table.markdown


def test_a_mean_over_fewer_cells_is_marked(seen):
    grid, cells = seen["image + series (late)"]
    failed = [
        replace(c, status="failed", metrics=None) if (c.method, c.fold) == ("dacs", "south") else c for c in cells
    ]
    (table,) = _tables(compare_modalities(GRID, {**seen, "image + series (late)": (grid, failed)}, {}))
    assert table.rows[1][3] == "48.0 (+3.0), 2 of 4 cells"
    assert "dacs, image + series (late): 4 × failed" not in table.lines and len(table.lines) == 2


def test_a_modality_on_other_folds_is_left_out(seen):
    other = replace(GRID, folds=("west",))
    modalities = compare_modalities(GRID, {**seen, "image alone": (other, _cells(other, 0))}, {})
    assert "image alone" not in modalities.lines and modalities.folds == GRID.folds
    assert modalities.left_out == {"image alone": "it has no fold or no seed in common with the others"}
    (table,) = _tables(modalities)
    assert table.rows[-1][1:] == ["–", "–"], "there is nothing to compare with"


def test_a_single_modality_is_no_table(seen):
    assert compare_modalities(GRID, {"image alone": seen["image alone"]}, {}) is None
    assert _tables(None) == []


def test_the_record_has_the_numbers_of_both_tables(seen):
    metrics = {f"target_missing/{name}/miou": 0.3 for name in CORRUPTIONS}
    metrics |= {"target/miou": 0.5, "target_missing/no-series/miou": 0.2}
    cells = [Cell("oracle", "north", 0, "done", metrics=metrics), Cell("oracle", "south", 0, "failed")]
    cells.append(Cell("dacs", "north", 0, "done", metrics={"target/miou": 0.25}))
    state = SimpleNamespace(cells=cells, grid=GRID, modalities=compare_modalities(GRID, seen, {}))
    missing, _ = series_tables(state)
    assert missing.header == (
        "method", "as they are", "half of the dates", "a tenth of the dates", "clouds alone", "no series",
    )  # fmt: skip
    assert missing.rows == [
        ["dacs", "25.0", "–", "–", "–", "–"],
        ["oracle (bound) (1 of 2 cells)", "50.0", "30.0", "30.0", "30.0", "20.0"],
    ]
    record = json.loads(json.dumps(series_record(state)))
    assert (
        record["missing_series"]["oracle"]["no-series"] == 0.2 and record["missing_series"]["dacs"]["no-series"] is None
    )
    found = {(one["method"], one["modality"]): one for one in record["modalities"]["methods"]}
    assert found["dacs", "series alone"]["target_miou"] is None and found["dacs", "image alone"][
        "gain"
    ] == pytest.approx(0.03)
    assert record["modalities"]["control_over_images"] == pytest.approx(
        {"series alone": -0.1, "image + series (late)": 0.05}
    )
