"""The study of budgets: gains, how alike two rankings are, and labels that can be read, from numbers made by hand."""

import importlib.util
import math
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "results" / "scripts" / "budget.py"


@pytest.fixture(scope="module")
def budget():
    spec = importlib.util.spec_from_file_location("budget", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def means():
    """At 200 steps the order of the last is turned around, and at 500 two of the neighbours have changed places."""
    return {
        "source-only": {200: 0.4, 500: 0.4, 1000: 0.4},
        "dacs": {200: 0.3, 500: 0.6, 1000: 0.5},
        "style-randomization": {200: 0.2, 500: 0.5, 1000: 0.6},
        "oracle": {200: 0.1, 500: 0.9, 1000: 0.9},
    }


def test_gains_and_rankings(budget, means):
    assert budget.gains_of(means)["dacs"] == pytest.approx({200: -10, 500: 20, 1000: 10})
    assert budget.agreements(means) == pytest.approx({200: -1, 500: 1 / 3, 1000: 1})


def test_the_page_has_the_most_gained_first_and_the_bound_last(budget, means):
    page = budget.as_markdown(means, {200: 0.5, 500: 0.6, 1000: 0.7}, "world", "command")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert rows[2:] == [
        "| style-randomization | -20.0 | +10.0 | +20.0 |",
        "| dacs | -10.0 | +20.0 | +10.0 |",
        "| oracle (bound) | -30.0 | +50.0 | +50.0 |",
        "| source-only: target | 40.0 | 40.0 | 40.0 |",
        "| source-only: source validation | 50.0 | 60.0 | 70.0 |",
        "| Kendall's τ with the last ranking | -1.00 | +0.33 | +1.00 |",
    ]
    assert "ranking of 3\nmethods" in page and "at 1,000 steps" in page


def test_every_number_is_in_the_table(budget, means):
    rows = budget.as_csv(means, {200: 0.5, 500: 0.6, 1000: 0.7})
    assert len(rows) == 1 + 4 * 3 and ["dacs", "500", "0.6", "20", "0.6", "0.333333"] in rows


def test_a_mean_that_lacks_a_cell_is_none(budget):
    cells = [{"method": "dacs", "target/miou": "0.5"}, {"method": "dacs", "target/miou": ""}]
    assert math.isnan(budget._mean(cells, "dacs", "target/miou"))
    assert budget._mean(cells[:1], "dacs", "target/miou") == 0.5


def test_cells_of_other_seeds_and_folds_do_not_count(budget):
    rows = [{"fold": fold, "seed": seed} for fold in ("2019", "2020") for seed in "012"]
    assert budget.cells_of(rows, (0, 2), ()) == [rows[0], rows[2], rows[3], rows[5]]
    assert budget.cells_of(rows, (1,), ("2020",)) == [rows[4]]


def _write_cells(path, values):
    rows = [f"{method},2020,0,{value},0.7" for method, value in values.items()]
    rows += [f"{method},2020,1,,0.1" for method in values]  # of another command
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["method,fold,seed,target/miou,selected/source_val_miou", *rows]))


def test_every_budget_is_a_run_and_no_other_table_is_taken_for_it(budget, tmp_path, monkeypatch, capsys):
    asked = []

    def run(words):
        asked.append(words)
        steps = int(words[words.index("--steps") + 1])
        if steps > 500:
            return 1  # refused: nothing is written
        _write_cells(
            tmp_path / budget.load("world-leave-times-out").label / "cells.csv",
            dict.fromkeys(budget.METHODS, steps / 1000),
        )
        return 0

    monkeypatch.setattr(budget, "main", run)
    monkeypatch.setattr(budget, "draw", lambda *what: None)
    words = [str(tmp_path / "out"), "--results", str(tmp_path), "--workers", "2", "--budgets"]
    budget.study([*words, "500,200"])
    rows = (tmp_path / "out" / "budget.csv").read_text().splitlines()
    assert rows[1].startswith("source-only,200,0.2,0,0.7,") and rows[2].startswith("source-only,500,0.5,0,0.7,")
    assert all(one[-2:] == ["--workers", "2"] and one.count("--method") == len(budget.METHODS) for one in asked)
    assert all(one[one.index("--seeds") + 1] == "0" and "--folds" not in one for one in asked)
    with pytest.raises(SystemExit):
        budget.study([*words, "500,1000"])


def test_labels_are_moved_apart_and_keep_their_order(budget):
    placed = budget.spread_out({"a": 0.0, "b": 0.1, "c": 5.0, "d": 0.2}, least=1.0)
    assert placed == pytest.approx({"a": -0.9, "b": 0.1, "d": 1.1, "c": 5.0})


def test_a_figure_is_drawn_of_what_is_complete(budget, means, tmp_path):
    budget.draw({**means, "mmd": dict.fromkeys((200, 500, 1000), math.nan)}, tmp_path / "budget.png", "title")
    assert (tmp_path / "budget.png").stat().st_size > 10_000
