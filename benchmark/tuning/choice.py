"""Selection of a setting by a rule, from the records of all trials. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

from benchmark.evaluation.selection import RULES, Record, regret, select


@dataclass(frozen=True)
class Chosen:
    """The setting and checkpoint that a rule takes among those of all trials.

    Attributes:
        setting: number of the trial's setting.
        score: the rule's, of that checkpoint.
        default_score: the highest under the defaults; NaN where their trial has none.
        target_miou: value of the checkpoint taken. It must not be chosen by; it shows what the choice was worth.
        regret: difference of the best checkpoint of all trials to it on the target.
    """

    setting: int
    score: float
    default_score: float
    target_miou: float
    regret: float


def choose(trials: Mapping[int, Sequence[Record]], rule: str) -> Chosen | None:
    """Choose among the settings that have records; None where the rule knows a score of none.

    Args:
        trials: checkpoints of each setting, with scores that can be compared between runs.
    """
    # Of equals `select` takes the later: so the defaults come last, and are only left for what is better.
    order = [(setting, record) for setting in sorted(trials, reverse=True) for record in trials[setting]]
    candidates = [record for _, record in order]
    index = select(candidates, rule)
    if index is None:
        return None
    defaults = trials.get(0, ())
    unchanged = select(defaults, rule)
    score = RULES[rule].score
    return Chosen(
        setting=order[index][0],
        score=score(candidates[index]),
        default_score=nan if unchanged is None else score(defaults[unchanged]),
        target_miou=candidates[index].target_miou,
        regret=regret(candidates, rule),
    )


def best_score(records: Sequence[Record], rule: str) -> float | None:
    """Return the score of the checkpoint that a rule takes in a run."""
    index = select(records, rule)
    return None if index is None else RULES[rule].score(records[index])
