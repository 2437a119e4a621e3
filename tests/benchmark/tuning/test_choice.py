"""Which setting a rule takes."""

import math

from benchmark.evaluation.selection import Record
from benchmark.tuning.choice import best_score, choose


def _records(*values):
    """Records of (source validation, target, score)."""
    return [
        Record(step, source, target, {"nuclear-norm": score}) for step, (source, target, score) in enumerate(values)
    ]


TRIALS = {
    0: _records((0.5, 0.3, 0.1), (0.6, 0.2, 0.9)),
    2: _records((0.7, 0.1, 0.2), (0.4, 0.8, 0.3)),
    3: _records((0.1, 0.4, 0.4)),
}


def test_the_winner_of_each_rule_among_all_checkpoints_of_all_trials():
    by_source, by_norm, by_target = (
        choose(TRIALS, rule) for rule in ("source-validation", "nuclear-norm", "oracle-rule")
    )
    assert (by_source.setting, by_source.score, by_source.target_miou) == (2, 0.7, 0.1)
    assert by_source.default_score == 0.6
    assert math.isclose(by_source.regret, 0.8 - 0.1)
    assert (by_norm.setting, by_norm.score) == (0, 0.9)
    assert (by_target.setting, by_target.regret) == (2, 0.0)


def test_of_equal_settings_the_earlier_is_taken_so_that_defaults_are_left_for_better_only():
    alike = {0: _records((0.5, 0.3, 0.1)), 1: _records((0.5, 0.4, 0.1)), 4: _records((0.5, 0.2, 0.1))}
    assert choose(alike, "source-validation").setting == 0


def test_without_a_score_there_is_no_choice_and_without_the_defaults_still_one():
    unknown = {0: [Record(1, 0.5, 0.5)]}
    assert choose(unknown, "nuclear-norm") is None and choose({}, "source-validation") is None
    lost = choose({3: TRIALS[3]}, "source-validation")
    assert lost.setting == 3 and math.isnan(lost.default_score)


def test_a_run_has_the_score_of_the_checkpoint_that_the_rule_takes():
    assert best_score(TRIALS[2], "source-validation") == 0.7
    assert best_score([], "source-validation") is None
