"""What several commands have asked of one comparison."""

from dataclasses import replace

import pytest

from benchmark.experiments.request import _with, drop_rows, facts_that_differ, read_request
from benchmark.experiments.session import Session

ONE = [["a", "b"], ["north"], [0]]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ([["a"], ["north"], [0]], [ONE]),
        ([["a", "b"], ["north", "south"], [0]], [[["a", "b"], ["north", "south"], [0]]]),
        ([["a"], ["south"], [0]], [ONE, [["a"], ["south"], [0]]]),
    ],
)
def test_a_block_is_kept_unless_it_lies_within_another(block, expected):
    assert _with([ONE], block) == expected


def test_a_place_that_only_the_grid_of_two_commands_has_is_not_asked_for(bench, tmp_path):
    session = Session(replace(bench.plan, results=tmp_path), bench=bench)
    session.remember(bench.jobs(["source-only", "dacs"], [0], ["2019", "2020"]))
    session.remember(bench.jobs(["source-only"], [7], ["2019"]))
    asked = read_request(session.results, session.experiment, bench.comparison)
    assert asked.grid.seeds == (0, 7) and asked.wants("source-only", "2019", 7) and asked.wants("dacs", "2020", 0)
    assert not asked.wants("dacs", "2019", 7) and not asked.wants("source-only", "2020", 7)


def test_a_table_knows_what_its_methods_see_and_which_controls_it_lacks(bench, tmp_path):
    session = Session(replace(bench.plan, results=tmp_path), bench=bench)
    session.remember(bench.jobs(["source-only", "dacs", "tent", "oracle"], [0], ["2019"]))
    grid = read_request(session.results, session.experiment, bench.comparison).grid
    assert grid.source_free == {"tent"} and grid.target_images == {"dacs"}
    lacking = _names(grid.lacking)
    assert {"source-only-augmented", "batch-norm-adaptation", "few-target-labels"} <= lacking
    assert "source-only-target-statistics" in lacking and not lacking & {"source-only", "oracle"}
    session.remember(bench.jobs(["source-only-augmented[blur=0.1]"], [0], ["2019"]))
    grid = read_request(session.results, session.experiment, bench.comparison).grid
    assert "source-only-augmented" not in _names(grid.lacking)


def test_controls_that_say_nothing_about_the_methods_or_cannot_be_run_are_not_named(bench, tmp_path, monkeypatch):
    def lacking(name, *labels):
        session = Session(replace(bench.plan, results=tmp_path / name), bench=bench)
        session.remember(bench.jobs(labels, [0], ["2019"]))
        return _names(read_request(session.results, session.experiment, bench.comparison).grid.lacking)

    assert lacking("source", "source-only", "style-randomization") == {"source-only-augmented", "oracle"}
    stream = lacking("stream", "source-only", "tent", "oracle")
    assert stream == {"source-only-augmented", "batch-norm-adaptation", "few-target-labels"}
    folds = {name: replace(fold, few=()) for name, fold in bench.folds.items()}
    monkeypatch.setattr(bench, "folds", folds)
    assert "few-target-labels" not in lacking("none set aside", "source-only", "dacs")


def test_a_comparison_of_a_hundred_settings_can_be_kept(bench, tmp_path):
    session = Session(replace(bench.plan, results=tmp_path), bench=bench)
    labels = [f"dacs[confidence=0.{number},decay=0.{number}]" for number in range(901, 1000)]
    session.remember(bench.jobs(["source-only", *labels], [0], ["2019", "2020"]))
    asked = read_request(session.results, session.experiment, bench.comparison)
    assert len(asked.grid.methods) == 100 and len(asked.grid.target_images) == 99


def test_the_commands_that_requested_rows_are_kept_each_once_in_their_order(bench, tmp_path):
    session = Session(replace(bench.plan, results=tmp_path), bench=bench)
    for labels, command in ((["source-only"], "one"), (["source-only", "dacs"], "two"), (["source-only"], "one")):
        session.remember(bench.jobs(labels, [0], ["2019"]), command=command)
    session.remember(bench.jobs(["oracle"], [0], ["2019"]))

    def calls():
        asked = read_request(session.results, session.experiment, bench.comparison)
        return [(command, rows) for _, command, rows in asked.calls]

    assert calls() == [("one", ["source-only"]), ("two", ["source-only", "dacs"])]
    drop_rows(session.results, session.experiment, bench.comparison, ["source-only"])
    assert calls() == [("two", ["dacs"])]


def _names(controls):
    return {control.partition(" (")[0] for control in controls}


def test_what_differs_between_two_comparisons_is_said_in_words():
    one = {"comparison": "a", "steps": "5", "batch_size": "2"}
    assert facts_that_differ(one, {"comparison": "b", "steps": "6", "batch_size": "2"}) == "steps 5"
    assert facts_that_differ(one, one | {"comparison": "b"}) == "other rows"
