"""Which rules may choose for which methods."""

import pytest

from benchmark.common.errors import SettingsError
from benchmark.tuning.plan import Tuning, check_rule, why_not


def test_a_tuning_is_named_by_all_that_its_choice_depends_on():
    ways = [
        Tuning("source-validation", 8),
        Tuning("source-validation", 9),
        Tuning("nuclear-norm", 8),
        Tuning("source-validation", 8, fold="Tile 4"),
        Tuning("source-validation", 8, seed=1),
        Tuning("source-validation", 8, prune=True),
    ]
    assert ways[0].key == "source-validation-8-each-fold" and ways[3].key == "source-validation-8-tile_4"
    assert len({way.key for way in ways}) == len({way.words for way in ways if not way.seed}) + 1 == 6


def test_a_choice_that_looks_at_the_target_is_called_so():
    assert "no legitimate result" in Tuning("oracle-rule", 8).words
    assert "no legitimate result" not in Tuning("few-target-labels", 8).words


@pytest.mark.parametrize("rule", ["last-step", "leave-one-source-domain-out"])
def test_rules_that_cannot_choose_among_trials_are_refused(rule):
    with pytest.raises(SettingsError, match=f"{rule} cannot choose among trials: .*source-validation.* can"):
        check_rule(Tuning(rule, 8))


def test_the_pruner_sees_no_more_than_the_rule():
    check_rule(Tuning("source-validation", 8, prune=True))
    with pytest.raises(SettingsError, match="target-entropy may not look at"):
        check_rule(Tuning("target-entropy", 8, prune=True))


@pytest.mark.parametrize(
    ("label", "rule", "why"),
    [
        ("max-square", "source-validation", ""),
        ("oracle", "source-validation", "trained on target labels"),
        ("oracle", "oracle-rule", ""),
        ("shot", "source-validation", "no source data"),
        ("shot", "nuclear-norm", ""),
        ("tent", "nuclear-norm", "no checkpoints"),
        ("tent", "oracle-rule", ""),
    ],
)
def test_a_method_is_not_tuned_by_what_says_nothing_of_it(label, rule, why):
    found = why_not(label, rule)
    assert why in found and bool(found) == bool(why)
