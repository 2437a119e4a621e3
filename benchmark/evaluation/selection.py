"""Selection rules: how a checkpoint is chosen. Pure functions over what was logged.

A rule is not a protocol: a protocol says what is held out, a rule how to choose without looking at the answer. One rule
here does look, and is marked: it shows what perfect choosing would give, and is never a legitimate result.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Record:
    """A candidate: a checkpoint, or a setting in a search.

    Attributes:
        step: optimiser steps done.
        source_val_miou: mean IoU on the ``source_val`` part.
        target_miou: mean IoU on the ``target_test`` part; only the oracle rule looks at it.
        scores: scores by rule, of the rules measured in training; the higher the better.
    """

    step: int
    source_val_miou: float
    target_miou: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """A selection rule: the quantity it maximises, and what that depends on beside the network.

    Attributes:
        score: NaN where it is not known of a candidate.
        sees: data that the rule looks at, in words.
        legitimate: whether a number chosen by it is a result.
        between_runs: whether it can choose among checkpoints of several runs.
        own_trainings: whether its scores need further trainings, which are run only on request.
    """

    score: Callable[[Record], float]
    sees: str
    legitimate: bool = True
    between_runs: bool = True
    own_trainings: bool = False

    @property
    def sees_source_labels(self) -> bool:
        """The rule looks at source labels."""
        return "source labels" in self.sees


def _measured(name: str, sees: str, *, own_trainings: bool = False) -> Rule:
    return Rule(lambda record: record.scores.get(name, math.nan), sees, own_trainings=own_trainings)


RULES: dict[str, Rule] = {
    "source-validation": Rule(lambda record: record.source_val_miou, "source labels"),
    "last-step": Rule(lambda record: record.step, "nothing", between_runs=False),
    "target-entropy": _measured("target-entropy", "target images"),
    "information-maximization": _measured("information-maximization", "target images and the source's class shares"),
    "soft-neighborhood-density": _measured("soft-neighborhood-density", "target images"),
    "nuclear-norm": _measured("nuclear-norm", "target images"),
    "class-correlation": _measured("class-correlation", "target images"),
    "ensemble-agreement": _measured("ensemble-agreement", "target images and the other candidates"),
    "deep-embedded-validation": _measured("deep-embedded-validation", "source labels and target images"),
    "thresholded-confidence": _measured("thresholded-confidence", "source labels and target images"),
    "difference-of-confidences": _measured("difference-of-confidences", "source labels and target images"),
    "confidence-optimal-transport": _measured("confidence-optimal-transport", "source labels and target images"),
    "transfer-score": _measured("transfer-score", "target images"),
    "mixup-validation": _measured("mixup-validation", "target images and the other candidates"),
    "leave-one-source-domain-out": _measured(
        "leave-one-source-domain-out", "source labels, in trainings of its own", own_trainings=True
    ),
    "few-target-labels": _measured("few-target-labels", "a few target labels"),
    "oracle-rule": Rule(lambda record: record.target_miou, "all target labels", legitimate=False),
}
DEFAULT_RULE = "source-validation"


def select(records: Sequence[Record], rule: str) -> int | None:
    """Return the index of the candidate that a rule takes; of equals the later, and None where no score is known."""
    scores = [RULES[rule].score(record) for record in records]
    finite = [index for index, score in enumerate(scores) if math.isfinite(score)]
    return max(finite, key=lambda index: (scores[index], index), default=None)


def regret(records: Sequence[Record], rule: str) -> float:
    """Return by how much target mean IoU the best candidate is above the one a rule takes; NaN where it takes none."""
    chosen = select(records, rule)
    if chosen is None:
        return math.nan
    return max(record.target_miou for record in records) - records[chosen].target_miou
