"""What a training is a trial of, in words that need no Optuna."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """What a job is a trial of; no part of its identity.

    Attributes:
        method: label of the method that is tuned.
        setting: number of the setting among those tried; 0 is the defaults.
        study, number: where Optuna keeps the trial, if it may be given up early; "" if not.
    """

    method: str
    setting: int
    study: str = ""
    number: int = 0
