"""One call of ``landshift tune``: the studies, their trials as jobs, and what the rule then takes."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import nan

from benchmark.errors import SettingsError
from benchmark.grid.jobs import Bench, Job
from benchmark.grid.labels import control_label
from benchmark.grid.pool import Ended
from benchmark.grid.records import read_records
from benchmark.provenance import Provenance, refuse_mixture
from benchmark.studies.queue import Claim, Study
from benchmark.studies.trial import Trial
from benchmark.tracking import RunRecord, Tracker
from benchmark.tuning.choice import best_score
from benchmark.tuning.plan import Tuning
from benchmark.tuning.space import label_of, search_space, settings

EXPERIMENT = " (tuning)"  # behind the protocol's name: trials are not among the runs of a comparison
STUDY_TAG = "landshift.study."  # tag of a run, with the study's name behind it; its value is the number of the setting


@dataclass(frozen=True)
class Search:
    """One method on one fold.

    Attributes:
        label: the method, with what its label fixes.
        fold: that is tuned on.
        jobs: one a setting.
        study: who has tried which.
    """

    label: str
    fold: str
    jobs: Sequence[Job]
    study: Study

    @property
    def id(self) -> str:
        """A short name for tags."""
        return hashlib.sha256(self.study.name.encode()).hexdigest()[:12]

    def job(self, claim: Claim, prune: bool) -> Job:
        """The job of a claimed trial."""
        watched = (self.study.name, claim.trial) if prune else ("", 0)
        return replace(self.jobs[claim.setting], trial=Trial(self.label, claim.setting, *watched))


class TuningSession:
    """Studies of several methods, opened together.

    Args:
        bench: the protocol with its data open.
        tracker: of the results folder.
        tuning: what is equal for all.
        labels: methods, with what is to be fixed in brackets.

    Raises:
        SettingsError, MethodError: an unknown fold or method, or one that cannot be run or has nothing to tune.
    """

    def __init__(self, bench: Bench, tracker: Tracker, tuning: Tuning, labels: Sequence[str]) -> None:
        self.bench, self.tracker, self.tuning = bench, tracker, tuning
        about = f"Trials of the hyperparameters, under the protocol {bench.protocol.label}."
        self.experiment = tracker.experiment(bench.protocol.label + EXPERIMENT, about)
        tracker.close_stale(self.experiment)
        folds = [tuning.fold] if tuning.fold else list(bench.folds)
        self.searches = [self._search(label, fold) for label in labels for fold in folds]
        self._claimed: dict[Job, tuple[Search, Claim]] = {}

    def refuse_mixture(self, here: Provenance) -> None:
        """Before a trial is run: it would be chosen among finished ones, of other calls too.

        Raises:
            TrackingError: some of these have another provenance.
        """
        wanted = {job.identity for search in self.searches for job in search.jobs}
        finished = self.tracker.finished(self.experiment)
        refuse_mixture([run for identity, run in finished.items() if identity in wanted], here)

    def parents(self) -> list[Job]:
        """The source-only runs, not yet there, that some of the trials start from."""
        folds = sorted({search.fold for search in self.searches if search.jobs[0].parent})
        jobs = self.bench.jobs([control_label()], [self.tuning.seed], folds) if folds else []
        done = self.tracker.finished(self.experiment)
        return [job for job in jobs if job.identity not in done]

    @property
    def left(self) -> int:
        """Trials that nobody has begun with."""
        return sum(search.study.left() for search in self.searches)

    def take(self, busy: Sequence[Job]) -> Job | None:
        """The next trial; one that was run for another study is ended at once."""
        for search in self.searches:
            while claim := search.study.claim():
                job = search.job(claim, self.tuning.prune)
                if record := self._finished(job):
                    self._tell(search, claim, record)
                else:
                    self._claimed[job] = search, claim
                    return job
        return None

    def end(self, ended: Ended) -> float:
        """Tell the study how a trial ended; the score that its rule gives it, NaN where there is none."""
        search, claim = self._claimed.pop(ended.job)
        record = None if ended.error else self._finished(ended.job)
        if record is None:
            search.study.tell(claim, None, pruned=ended.pruned)
            return nan
        return self._tell(search, claim, record)

    def _finished(self, job: Job) -> RunRecord | None:
        """The finished run of a trial; none of the thousands of others is read."""
        return self.tracker.finished(self.experiment, job.identity).get(job.identity)

    def _tell(self, search: Search, claim: Claim, record: RunRecord) -> float:
        self.tracker.tag_run(record.id, STUDY_TAG + search.id, claim.setting)
        score = best_score(read_records(record.artifacts), self.tuning.rule)
        search.study.tell(claim, score)
        return nan if score is None else score

    def _search(self, label: str, fold: str) -> Search:
        recipe, tuning = self.bench.plan.recipe, self.tuning
        tried = settings(label, recipe, tuning.trials)
        labels = [label_of(label, params, recipe) for params in tried]
        jobs = [self.bench.jobs([one], [tuning.seed], [fold])[-1] for one in labels]
        if jobs[0].skip:
            raise SettingsError(f"{label} cannot be tuned: {jobs[0].skip}")
        # The identity of the first trial stands for data, folds, recipe and the method's code.
        name = f"{label} · {fold} · {tuning.key} · {jobs[0].identity}"
        facts = {"protocol": self.bench.protocol.label, "method": label, "fold": fold, **asdict(tuning)}
        return Search(label, fold, jobs, Study(self.tracker.results, name, search_space(label, recipe), tried, facts))
