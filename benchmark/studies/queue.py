"""A study in Optuna's own storage: a queue of settings that any number of processes take from, each setting once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.pool import NullPool

from benchmark.tracking import is_gone, locked, this_process, told

FILE = "optuna.db"
SETTING, OWNER = "setting", "owner"  # attributes of a trial
LOST = "killed"  # attribute of a study: the trials whose process was killed
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Claim:
    """A setting that this process has taken: which of the study's, and Optuna's number of the trial."""

    setting: int
    trial: int


class Study:
    """One method on one fold, opened for trying.

    What a killed process had taken, and what failed in an earlier call, is queued again.

    Args:
        results: folder whose ``optuna.db`` holds the study.
        name: of the study; everything that its scores depend on must be in it.
        space: what is searched.
        settings: values to try; an older study of this name may know some of the first.
        facts: shown beside the study.
    """

    def __init__(
        self,
        results: Path,
        name: str,
        space: Mapping[str, BaseDistribution],
        settings: Sequence[Mapping[str, Any]],
        facts: Mapping[str, Any],
    ) -> None:
        self._results, self._space, self._settings = results, dict(space), list(settings)
        with locked(results), told(f"the study {name} cannot be opened"):
            # Named settings are all that is ever tried, so that no sampler of Optuna's is asked.
            self._study = optuna.create_study(
                storage=storage(results), study_name=name, direction="maximize", load_if_exists=True
            )
            for key, value in facts.items():
                self._study.set_user_attr(key, value)
            self._release()
            states = self._states()
            for index, params in enumerate(settings):
                if states.get(index, TrialState.FAIL) is TrialState.FAIL:
                    self._study.enqueue_trial(dict(params), {SETTING: index})

    @property
    def name(self) -> str:
        return self._study.study_name

    @property
    def optuna(self) -> optuna.Study:
        """For Optuna's own figures."""
        return self._study

    def claim(self) -> Claim | None:
        """Take the next setting; None if all are taken."""
        with locked(self._results), told(f"no trial of {self.name} can be taken"):
            self._release()
            if not self._trials(TrialState.WAITING):
                return None
            trial = self._study.ask(self._space)
            trial.set_user_attr(OWNER, this_process())
            return Claim(int(trial.user_attrs[SETTING]), trial.number)

    def tell(self, claim: Claim, score: float | None, *, pruned: bool = False) -> None:
        """End a trial: with its score, with none because it failed, or as given up early."""
        state = TrialState.PRUNED if pruned else TrialState.FAIL if score is None else TrialState.COMPLETE
        with told(f"a trial of {self.name} cannot be ended"):
            self._study.tell(claim.trial, score if state is TrialState.COMPLETE else None, state, skip_if_finished=True)

    def left(self) -> int:
        """How many settings nobody has begun with."""
        return len(self._trials(TrialState.WAITING))

    def states(self) -> list[TrialState]:
        """How far each setting is."""
        states = self._states()
        return [states.get(index, TrialState.WAITING) for index in range(len(self._settings))]

    def _states(self) -> dict[int, TrialState]:
        """Of each setting, the state of its newest trial that was not lost."""
        lost = self._study.user_attrs.get(LOST, [])
        return {trial.user_attrs[SETTING]: trial.state for trial in self._trials() if trial.number not in lost}

    def _release(self) -> None:
        """Queue again what a killed process had taken; the caller holds the lock."""
        for trial in self._trials(TrialState.RUNNING):
            owner = trial.user_attrs.get(OWNER)
            if owner is None or is_gone(owner):  # without an owner: killed in the moment of taking it
                self._study.set_user_attr(LOST, [*self._study.user_attrs.get(LOST, []), trial.number])
                self._study.tell(trial.number, state=TrialState.FAIL)
                setting = trial.user_attrs[SETTING]
                self._study.enqueue_trial(dict(self._settings[setting]), {SETTING: setting})

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)


@cache
def storage(results: Path) -> optuna.storages.RDBStorage:
    """Optuna's storage in a results folder; the caller holds the folder's lock where it may be new."""
    optuna.logging.set_verbosity(logging.WARNING)
    # A connection must not cross a fork, and a busy file is waited for.
    engine = {"poolclass": NullPool, "connect_args": {"timeout": 60}}
    return optuna.storages.RDBStorage(f"sqlite:///{results.resolve() / FILE}", engine)
