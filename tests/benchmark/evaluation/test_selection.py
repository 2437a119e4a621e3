"""Rules on records made by hand."""

import math
from dataclasses import replace

import pytest
from scipy.stats import spearmanr

from benchmark.evaluation.selection import RULES, Record, regret, select
from benchmark.evaluation.selection_rules import rank_correlation

RECORDS = [Record(10, 0.5, 0.40), Record(20, 0.7, 0.20), Record(30, 0.7, 0.35), Record(40, 0.6, 0.30)]


def scored(rule, *values):
    return [replace(record, scores={rule: value}) for record, value in zip(RECORDS, values, strict=True)]


@pytest.mark.parametrize(
    ("rule", "chosen"), [("source-validation", 2), ("last-step", 3), ("oracle-rule", 0), ("target-entropy", None)]
)
def test_who_is_taken(rule, chosen):
    assert select(RECORDS, rule) == chosen


def test_the_highest_known_score_is_taken_and_of_equals_the_later():
    assert select(scored("nuclear-norm", 0.1, 0.3, 0.3, math.nan), "nuclear-norm") == 2
    assert select(scored("nuclear-norm", *[math.nan] * 4), "nuclear-norm") is None
    assert select([], "last-step") is None


def test_only_the_oracle_rule_looks_at_the_target():
    """Whatever the target says, the others take the same."""
    one = [replace(record, scores=dict.fromkeys(RULES, -record.step)) for record in RECORDS]
    blind = [replace(record, target_miou=math.nan) for record in one]
    differing = {rule for rule in RULES if select(one, rule) != select(blind, rule)}
    assert differing == {"oracle-rule"} == {name for name, rule in RULES.items() if not rule.legitimate}


def test_regret_is_the_distance_to_the_best():
    assert regret(RECORDS, "oracle-rule") == 0
    assert regret(RECORDS, "source-validation") == pytest.approx(0.05)
    assert math.isnan(regret(RECORDS, "target-entropy"))


def test_rank_correlation_is_spearmans():
    """Steps rank 1 2 3 4 and the target 4 1 3 2: the squared differences are 9, 1, 0, 4, so rho = 1 - 6 * 14 / 60."""
    assert rank_correlation(RECORDS, "last-step") == pytest.approx(1 - 6 * 14 / 60)
    assert rank_correlation(RECORDS, "oracle-rule") == pytest.approx(1)
    tied = scored("nuclear-norm", 0.1, 0.1, 0.3, 0.2)
    targets = [record.target_miou for record in tied]
    assert rank_correlation(tied, "nuclear-norm") == pytest.approx(spearmanr([0.1, 0.1, 0.3, 0.2], targets).statistic)


def test_there_is_no_rank_correlation_of_two_or_of_equals():
    assert math.isnan(rank_correlation(RECORDS[:2], "last-step"))
    assert math.isnan(rank_correlation(scored("nuclear-norm", 1.0, 1.0, 1.0, 1.0), "nuclear-norm"))
    assert math.isnan(rank_correlation(RECORDS, "nuclear-norm")), "nothing is known"
