"""Selection rules: how a checkpoint is chosen. Pure functions over what was logged.

A rule is not a protocol: a protocol says what is held out, a rule how to choose without looking at the answer. The last
rule here does look, and is marked: it shows what perfect choosing would give, and is never a legitimate result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """What is known of one checkpoint.

    Attributes:
        step: optimiser steps done.
        source_val_miou: mean IoU on the ``source_val`` part.
        target_miou: mean IoU on the ``target_test`` part; only the oracle rule looks at it.
    """

    step: int
    source_val_miou: float
    target_miou: float


def last_step(records: Sequence[Record]) -> int:
    """The last checkpoint."""
    return len(records) - 1


def source_validation(records: Sequence[Record]) -> int:
    """The checkpoint with the best mean IoU on source validation; of equals, the later."""
    return max(range(len(records)), key=lambda index: (records[index].source_val_miou, index))


def oracle(records: Sequence[Record]) -> int:
    """The checkpoint that is best on the test itself: not a legitimate result, only a bound."""
    return max(range(len(records)), key=lambda index: (records[index].target_miou, index))


RULES: dict[str, Callable[[Sequence[Record]], int]] = {
    "source-validation": source_validation,
    "last-step": last_step,
    "oracle-rule": oracle,
}
DEFAULT_RULE = "source-validation"
