"""Trials of a search, in words that need no Optuna."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """The trial that a job is; no part of its key.

    Attributes:
        method: label of the method that is tuned.
        setting: number of the setting among those tried; 0 is the defaults.
        study: name that its checkpoints' scores are kept under, if it may be given up early; else "".
        watch: ``module:function`` of landshift that then watches these scores (`benchmark.tuning.pruning.watched`).
    """

    method: str
    setting: int
    study: str = ""
    watch: str = ""
