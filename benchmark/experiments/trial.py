"""What a training is a trial of, in words that need no Optuna."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """What a job is a trial of; no part of its key.

    Attributes:
        method: label of the method that is tuned.
        setting: number of the setting among those tried; 0 is the defaults.
        study: under which name the scores of its checkpoints are kept, if it may be given up early; "" if not.
        watch: ``module:function`` of landshift that then watches these scores (`benchmark.tuning.pruning.watched`).
    """

    method: str
    setting: int
    study: str = ""
    watch: str = ""
