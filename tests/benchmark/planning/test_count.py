"""Trainings are counted as they would be started: each job once, and finished ones not at all."""

from dataclasses import replace

import pytest

from benchmark.experiments.jobs import Bench
from benchmark.planning.count import (
    Stage,
    comparison_stage,
    skipped_reasons,
    taken_over,
    tunable,
    tuned_stage,
    tuning_stage,
    untunable,
)
from benchmark.planning.outline import outline
from benchmark.tuning.plan import Tuning
from benchmark.tuning.session import TuningSession

FOLDS = ["north", "south"]
RULE = "source-validation"


def test_what_starts_from_the_source_model_brings_it_once(outlined, recipe):
    stage = comparison_stage(outlined, ["tent", "sar", "dacs"], [0, 1, 2], FOLDS, recipe, None)
    counts = stage.counts()
    assert {row: count["new"] for row, count in counts.items()} == dict.fromkeys(
        ("source-only", "tent", "sar", "dacs"), 6
    )
    assert len(stage.work.left) == 24 and stage.starting == 12 and stage.naive == 24 + 12


@pytest.mark.parametrize("experiment", ["towns-v1", "towns-v1 (tuning)"])
def test_what_is_finished_is_not_counted_again_whoever_requested_it(outlined, recipe, results, add_run, experiment):
    job, _ = outlined.jobs(["source-only"], FOLDS, [0])
    add_run(results, experiment, job.identity, {})
    stage = comparison_stage(outlined, ["source-only", "dacs"], [0], FOLDS, recipe, results)
    assert stage.counts()["source-only"] == {"asked": 2, "done": 1, "new": 1}
    assert len(stage.work.left) == 3 and stage.naive == 4
    trials = tuning_stage(outlined, ["source-only"], ["north"], recipe, results, Tuning(RULE, 2))
    assert trials.counts()["source-only"] == {"asked": 2, "done": 1, "new": 1}


def test_what_is_running_is_not_counted_and_what_failed_is(outlined, recipe, results, add_run):
    first, second = outlined.jobs(["source-only"], FOLDS, [0])
    add_run(results, outlined.label, first.identity, {}, "running")
    add_run(results, outlined.label, second.identity, {}, "failed")
    stage = comparison_stage(outlined, ["source-only"], [0], FOLDS, recipe, results)
    assert stage.counts()["source-only"] == {"asked": 2, "running": 1, "new": 1} and stage.work.left == [second]


def test_two_ways_to_write_a_method_are_one_row(outlined, recipe):
    stage = comparison_stage(outlined, ["dacs", "dacs[confidence=0.968]"], [0], FOLDS, recipe, None)
    assert list(stage.counts()) == ["dacs"] and len(stage.work.left) == 2


def test_skipped_methods_say_why(outlined, recipe):
    bare = replace(outlined, folds={name: (*row[:2], 0, row[3]) for name, row in outlined.folds.items()})
    stage = comparison_stage(bare, ["source-only", "dacs", "mmd"], [0], ["north"], recipe, None)
    assert stage.counts()["dacs"] == {"asked": 1, "skipped": 1} and stage.naive == 1
    ((reason, labels),) = skipped_reasons(stage).items()
    assert labels == ["dacs", "mmd"] and "no target_adapt part" in reason


def test_only_what_a_rule_can_choose_for_is_tuned(recipe):
    labels = ["source-only", "dacs", "tent", "shot", "oracle"]
    assert tunable(labels, recipe, Tuning(RULE, 5)) == ["source-only", "dacs"]
    assert tunable(labels, recipe, Tuning("target-entropy", 5)) == ["source-only", "dacs", "shot"]
    reasons = untunable(labels, recipe, Tuning(RULE, 5))
    assert list(reasons.values()) == [["tent"], ["shot"], ["oracle"]] and "no source data" in list(reasons)[1]


def test_trials_are_counted_on_every_fold_and_their_source_model_once(outlined, recipe):
    stage = tuning_stage(outlined, ["source-only", "shot"], FOLDS, recipe, None, Tuning("target-entropy", 3))
    assert {row: count["asked"] for row, count in stage.counts().items()} == {"source-only": 8, "shot": 6}
    # Trial 0 of source-only is what the trials of the other start from.
    assert len(stage.work.left) == 12 and stage.counts()["source-only"]["shared"] == 2


def test_the_trials_of_a_plan_are_those_of_a_tuning(plan, tmp_path):
    plan, tuning, labels = replace(plan, results=tmp_path), Tuning("target-entropy", 3), ["source-only", "shot"]
    session = TuningSession(Bench(plan), tuning, labels)
    found = outline(plan, None)
    stage = tuning_stage(found, labels, list(found.folds), plan.recipe, None, tuning)
    assert {job.identity for job in stage.work.left} == {job.identity for job in session.jobs()}


def test_the_comparison_after_it_has_tuned_rows_and_takes_trials_over(outlined, recipe):
    labels, tuning = ["source-only", "dacs", "tent"], Tuning(RULE, 4, "north")
    trials = tuning_stage(outlined, labels, ["north"], recipe, None, tuning)
    tuned = tuned_stage(outlined, labels, [0, 1], FOLDS, recipe, None, tuning, trials)
    assert set(tuned.counts()) == {"source-only", "source-only (tuned)", "tent", "dacs (tuned)"}
    taken = taken_over([trials, tuned])
    assert {(job.label.partition("[")[0], job.fold, job.seed) for job in taken} == {
        ("source-only", "north", 0),
        ("dacs", "north", 0),
    }
    assert len(taken) == 3, "source-only as it is, and as it was chosen"
    assert len(tuned.work.left) == 4 * 4 - 3 and not {job.identity for job in taken} & {
        job.identity for job in tuned.work.left
    }


@pytest.mark.parametrize("seeds", [[0], [0, 1, 2]])
def test_a_stage_sums_up(outlined, recipe, seeds):
    stage: Stage = comparison_stage(outlined, ["source-only", "tent"], seeds, FOLDS, recipe, None)
    assert sum(count["asked"] for count in stage.counts().values()) == len(stage.asked) == 4 * len(seeds)
