"""A trial is given up by the source validation of the finished trials of its study, and by nothing else."""

from types import SimpleNamespace

import pytest

from benchmark.common.errors import Pruned
from benchmark.experiments.listing import Job
from benchmark.experiments.trial import Trial
from benchmark.tuning.pruning import WATCHED, watched

BENCH = SimpleNamespace(protocol=SimpleNamespace(label="tiny"))
EXPERIMENT = "tiny (tuning)"


@pytest.fixture
def reports(results, add_run):
    """Adds a trial with its values at steps 1, 2 ..., and ends it; returns what its log was given."""

    def report(key, values, state="done", study="a study"):
        logged = []
        job = Job("max-square", "north", 0, key, trial=Trial("max-square", 0, study))
        log = watched(lambda metrics, step: logged.append((step, metrics)), results, BENCH, job)
        for step, value in enumerate(values, 1):
            log({WATCHED: value}, step)
        add_run(results, EXPERIMENT, key, {}, state)
        return logged

    return report


@pytest.fixture
def four(reports):
    """Four finished trials with a median of 0.45 at step 1, and of 0.5 at step 2."""
    for key, values in enumerate([(0.3, 0.4), (0.4, 0.4), (0.5, 0.6), (0.6, 0.7)]):
        reports(f"{key}", values)


def test_everything_is_logged_and_only_what_is_below_the_median_is_given_up(four, reports):
    assert reports("above", [0.46, 0.51]) == [(1, {WATCHED: 0.46}), (2, {WATCHED: 0.51})]
    with pytest.raises(Pruned, match="given up after 1 steps: source validation is below the median"):
        reports("below", [0.44])
    with pytest.raises(Pruned, match="given up after 2 steps"):
        reports("later", [0.47, 0.48])


def test_of_a_trial_its_best_value_counts(four, reports):
    reports("fell", [0.9, 0.1])


def test_other_metrics_say_nothing(four, results):
    job = Job("max-square", "north", 0, "other", trial=Trial("max-square", 0, "a study"))
    watched(lambda metrics, step: None, results, BENCH, job)({"loss": 0.0, "target/miou": 0.0}, 1)


def test_with_fewer_finished_trials_nothing_is_given_up(reports):
    for key in range(3):
        reports(f"{key}", [0.9])
    for key, state in enumerate(["failed", "pruned", "running", "interrupted"]):
        reports(f"not finished {key}", [0.9], state)
    reports("low", [0.1])


def test_trials_of_another_study_say_nothing(four, reports):
    reports("low", [0.1, 0.1], study="another")


def test_an_earlier_attempt_says_nothing_of_the_steps_to_come(four, reports, results):
    results.database.edit(EXPERIMENT, next(iter(results.database.documents(EXPERIMENT, "pruning/"))), _with_earlier)
    with pytest.raises(Pruned, match="after 1 steps"):
        reports("again", [0.1])


def _with_earlier(values):
    return {**values, "again": {"1": 0.1, "2": 0.9}}
