"""Giving up a trial early, by the scores on source validation that it has at its checkpoints.

So only under a rule that sees source labels: the pruner may know no more than the rule.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import optuna
from optuna.pruners import MedianPruner

from benchmark.errors import Pruned
from benchmark.studies.queue import storage
from benchmark.studies.trial import Trial

WATCHED = "source_val/miou"
TRIALS_BEFORE = 4  # that must have ended before one is given up
Log = Callable[[Mapping[str, float], int], None]


def watched(log: Log, results: Path, trial: Trial) -> Log:
    """A log that also reports what it is given to the pruner.

    Raises:
        Pruned: from the log, where the trial is below the median of those before it at the same step.
    """
    kept = storage(results)
    study = optuna.load_study(study_name=trial.study, storage=kept, pruner=MedianPruner(n_startup_trials=TRIALS_BEFORE))
    mine = optuna.Trial(study, kept.get_trial_id_from_study_id_trial_number(study._study_id, trial.number))

    def reporting(metrics: Mapping[str, float], step: int) -> None:
        log(metrics, step)
        if WATCHED in metrics:
            mine.report(metrics[WATCHED], step)
            if mine.should_prune():
                raise Pruned(f"given up after {step} steps: source validation is below the median of the other trials")

    return reporting
