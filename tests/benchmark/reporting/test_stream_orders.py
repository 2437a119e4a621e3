"""Comparisons that differ in the order of the test stream alone, side by side."""

import json
from types import SimpleNamespace

import pytest

from benchmark.evaluation.comparison import Cell, Grid
from benchmark.experiments.jobs import recipe_content
from benchmark.reporting.modalities import compare_modalities, siblings
from benchmark.reporting.stream_orders import order_record, order_siblings, order_tables
from benchmark.training.config import make_recipe

NEEDS = {"source-only": "source labels", "tent": "the test stream", "sar": "the test stream"}
GRID = Grid(tuple(NEEDS), ("north", "south"), (0, 1), NEEDS, frozenset(), "source-only")
ROUNDS = {"stream_round/1/miou": 0.6, "stream_round/3/miou": 0.5, "stream_round/forgotten": 0.25}


def _facts(order="date", **changes):
    recipe = make_recipe("tiny", {"stream_order": order, **changes})
    return {"fingerprint": "f", "dataset_digest": "d", "recipe": json.dumps(recipe_content(recipe))}


def test_siblings_differ_in_the_order_alone():
    facts = {
        "shuffled": _facts("shuffled"),
        "earlier": _facts("place"),
        "later": _facts("place"),
        "other steps": _facts("place", steps=7),
        "by date": _facts(),
        "series": _facts("recurring", series="late"),
    }
    expected = {"date": "by date", "place": "later", "shuffled": "shuffled"}
    assert list(order_siblings(facts, "by date").items()) == list(expected.items())
    assert order_siblings(facts, "earlier") == expected | {"place": "earlier"}
    assert order_siblings(facts, "series") == {"recurring": "series"}
    assert list(siblings(facts, "by date").values()) == ["by date"], "another order is no other modality"


def _cells(scores, **more):
    return [
        Cell(method, fold, seed, "done", metrics={"target/miou": score + 0.1 * seed, **of})
        for method, score in scores.items()
        for of in ({} if method == "source-only" else {"target_after_update/miou": 0.9, **more},)
        for fold in GRID.folds
        for seed in GRID.seeds
    ]


@pytest.fixture
def state():
    seen = {
        "date": (GRID, _cells({"source-only": 0.3, "tent": 0.4, "sar": 0.35})),
        "place": (GRID, _cells({"source-only": 0.3, "tent": 0.2})),
        "recurring": (GRID, _cells({"source-only": 0.3, "tent": 0.45, "sar": 0.35}, **ROUNDS)),
    }
    seen["place"][1].append(Cell("sar", "north", 1, "done", metrics={"target/miou": 0.5}))
    return SimpleNamespace(grid=GRID, orders=compare_modalities(GRID, seen, {"shuffled": "other code"}))


def test_what_a_method_loses_by_order_is_paired(state):
    (table,) = order_tables(state)
    assert table.header == ("method", "date", "place", "recurring", "first round", "last round", "forgotten")
    assert table.rows == [
        ["tent", "45.0", "25.0 (-20.0)", "50.0 (+5.0)", "60.0", "50.0", "+25.0"],
        ["sar", "40.0", "50.0 (+5.0)", "40.0 (+0.0)", "60.0", "50.0", "+25.0"],
    ], "sar by place has one cell, of the seed that is better by date, too; source-only knows no order"
    assert table.lines == ["shuffled is left out: other code"]
    assert "by date" in table.about and "Folds: north, south; seeds: 0, 1." in table.about


def test_the_record_has_the_numbers_and_one_order_is_no_table(state):
    methods = json.loads(json.dumps(order_record(state)))["stream_orders"]["methods"]
    assert methods["tent"]["place - date"] == pytest.approx(-0.2) and methods["tent"]["forgotten"] == 0.25
    nothing = SimpleNamespace(grid=GRID, orders=None)
    assert order_tables(nothing) == [] and order_record(nothing) == {}
