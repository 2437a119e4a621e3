"""Giving up a trial early, by the scores on source validation that it has at its checkpoints.

So only under a rule that sees source labels: the pruner may know no more than the rule.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.pruners import MedianPruner
from optuna.trial import TrialState, create_trial

from benchmark.common.errors import Pruned
from benchmark.experiments.jobs import Bench, Job
from benchmark.experiments.queue import DONE
from benchmark.experiments.results import ResultsFolder
from benchmark.tuning.session import EXPERIMENT

WATCHED = "source_val/miou"
TRIALS_BEFORE = 4  # that must be finished before one is given up
PREFIX = "pruning/"  # of the names of documents, with a digest of the study's name behind it
Log = Callable[[Mapping[str, float], int], None]
SourceValidation = Mapping[str, Mapping[str, float]]
"""Source validation at each step of each trial, by its job's key."""


def watched(log: Log, results: ResultsFolder, bench: Bench, job: Job) -> Log:
    """Return a log that also keeps a trial's source validation, and gives the trial up by it.

    Args:
        log: takes all metrics.
        results: results folder that holds the other trials of the study.
        bench: bench of the protocol.
        job: the trial; `Trial.study` is the name of its study.

    Raises:
        Pruned: from the log, where the trial is below the median of the finished ones at the same step.
    """
    study = job.trial.study if job.trial else ""
    name = PREFIX + hashlib.sha256(study.encode()).hexdigest()[:16]

    def reporting(metrics: Mapping[str, float], step: int) -> None:
        log(metrics, step)
        if WATCHED not in metrics:
            return

        def add(old: Any) -> Any:
            values = dict(old or {})
            values[job.identity] = {**values.get(job.identity, {}), str(step): metrics[WATCHED]}
            return values

        values: SourceValidation = results.database.edit(bench.protocol.label + EXPERIMENT, name, add)
        ended = {key for key, (state, _) in results.queue.states().items() if state == DONE}
        others = {key: of for key, of in values.items() if key in ended and key != job.identity}
        if is_below(values[job.identity], others.values(), step):
            raise Pruned(f"given up after {step} steps: source validation is below the median of the other trials")

    return reporting


def is_below(own: Mapping[str, float], others: Any, step: int) -> bool:
    """Return whether Optuna's median pruner gives up a trial.

    Args:
        own: values of the trial by step, of which those after `step` are of an earlier attempt.
        others: values of each finished trial.
        step: step of the trial.
    """
    optuna.logging.set_verbosity(logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for values in others:
        # The pruner compares values at one step, and never the final one.
        study.add_trial(create_trial(value=0.0, intermediate_values=_by_step(values)))
    until = {at: value for at, value in _by_step(own).items() if at <= step}
    trial = create_trial(state=TrialState.RUNNING, intermediate_values=until)
    return MedianPruner(n_startup_trials=TRIALS_BEFORE).prune(study, trial)


def _by_step(values: Mapping[str, float]) -> dict[int, float]:
    return {int(step): value for step, value in values.items()}
