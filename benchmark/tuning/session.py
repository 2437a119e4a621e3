"""One call of ``landshift tune``: its searches, and their trials as jobs of the queue."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from optuna.distributions import BaseDistribution

from benchmark.common.errors import SettingsError
from benchmark.experiments.checkpoint_records import read_records
from benchmark.experiments.jobs import Bench, Job
from benchmark.experiments.labels import control_label
from benchmark.experiments.queue import PRUNED
from benchmark.experiments.session import Session, Work
from benchmark.experiments.trial import Trial
from benchmark.tuning.choice import best_score
from benchmark.tuning.plan import Tuning
from benchmark.tuning.space import Params, label_of, search_space, settings

WATCH = "benchmark.tuning.pruning:watched"  # gives trials up early
EXPERIMENT = " (tuning)"  # behind the protocol's name: trials are not among the runs of a comparison


@dataclass(frozen=True)
class Search:
    """The search of one method's hyperparameters on one fold.

    Attributes:
        label: the method, with what its label fixes.
        fold: the fold that the trials are trained on.
        space: the distribution of each hyperparameter that is searched.
        settings: the values of each trial.
        jobs: the job of each trial; of equal settings the same.
    """

    label: str
    fold: str
    space: Mapping[str, BaseDistribution]
    settings: Sequence[Params]
    jobs: Sequence[Job]


class TuningSession(Session):
    """The searches of several methods, opened together with the results of their trials.

    Args:
        bench: the protocol with its data open.
        tuning: what is equal for all searches.
        labels: methods, with what is to be fixed in brackets.

    Raises:
        SettingsError, MethodError: an unknown fold or method, or one that cannot be run or has nothing to tune.
    """

    def __init__(self, bench: Bench, tuning: Tuning, labels: Sequence[str]) -> None:
        super().__init__(bench.plan, bench=bench, beside=EXPERIMENT)
        self.tuning = tuning
        folds = [tuning.fold] if tuning.fold else list(bench.folds)
        self.searches = [self._search(label, fold) for label in labels for fold in folds]

    def jobs(self) -> list[Job]:
        """Return the job of every trial, each once, behind the source-only jobs that some of them start from."""
        trials: dict[str, Job] = {}
        for search in self.searches:
            for job in search.jobs:
                trials.setdefault(job.identity, job)
        folds = sorted({search.fold for search in self.searches if search.jobs[0].parent})
        parents = self.bench.jobs([control_label()], [self.tuning.seed], folds) if folds else []
        first = [_unwatched(trials.pop(parent.identity, parent)) for parent in parents]
        return [*first, *trials.values()]

    def work(self, jobs: Iterable[Job]) -> Work:
        """Return what is to be done of these jobs; a trial that was given up early is done."""
        work = super().work(jobs)
        watched = [job.identity for job in work.left if job.trial and job.trial.study]
        states = self.results.queue.states() if watched else {}
        return work.with_done([key for key in watched if key in states and states[key][0] == PRUNED])

    def score(self, job: Job) -> float | None:
        """Return the score that the tuning's rule gives a finished job; None where there is none."""
        run = self.results.finished(self.experiment, [job.identity]).get(job.identity)
        return best_score(read_records(run.artifacts), self.tuning.rule) if run else None

    def _search(self, label: str, fold: str) -> Search:
        recipe, tuning = self.bench.plan.recipe, self.tuning
        tried = settings(label, recipe, tuning.trials)
        labels = [label_of(label, params, recipe) for params in tried]
        jobs = [self.bench.jobs([one], [tuning.seed], [fold])[-1] for one in labels]
        if jobs[0].skip:
            raise SettingsError(f"{label} cannot be tuned: {jobs[0].skip}")
        # The identity of the first trial identifies data, folds, recipe and the method's code.
        study = f"{label} · {fold} · {tuning.key} · {jobs[0].identity}" if tuning.prune else ""
        jobs = [replace(job, trial=Trial(label, setting, study, WATCH)) for setting, job in enumerate(jobs)]
        return Search(label, fold, search_space(label, recipe), tried, jobs)


def _unwatched(job: Job) -> Job:
    """Return a job that must not be given up early, since others start from it."""
    return replace(job, trial=replace(job.trial, study="")) if job.trial else job
