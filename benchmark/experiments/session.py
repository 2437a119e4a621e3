"""A plan opened together with its results: which of its jobs are done, and which are left."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from benchmark.experiments.experiment_pages import describe
from benchmark.experiments.jobs import Bench, ExperimentPlan, Job
from benchmark.experiments.provenance import Provenance, refuse_mixture
from benchmark.experiments.queue import DONE, FAILED, PRUNED, QUEUED, RUNNING
from benchmark.experiments.request import INNER, TunedRows, key_of, remember
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.worker import Worker, entry_of
from benchmark.tracking.ui_views import table_tag


@dataclass(frozen=True)
class Work:
    """Jobs by what is to be done of them, each once, in the order they were given.

    Attributes:
        done: finished.
        running: another command's worker has them.
        skipped: cannot be run; they say why.
        left: jobs to be trained.
    """

    done: Sequence[Job]
    running: Sequence[Job]
    skipped: Sequence[Job]
    left: Sequence[Job]

    @property
    def count(self) -> int:
        """Number of all jobs."""
        return len(self.done) + len(self.running) + len(self.skipped) + len(self.left)

    def with_done(self, keys: Collection[str]) -> "Work":
        """Return the same, with those of the remaining jobs done that have these keys."""
        taken = [job for job in self.left if job.identity in keys]
        return replace(self, done=[*self.done, *taken], left=[job for job in self.left if job not in taken])


@dataclass(frozen=True)
class Ended:
    """The end of a job: its target mean IoU, or why it failed or was given up early.

    Attributes:
        seconds: seconds of its last attempt.
        elsewhere: whether a worker of another command trained it.
    """

    job: Job
    seconds: float
    miou: float = float("nan")
    error: str = ""
    pruned: bool = False
    elsewhere: bool = False


class Session:
    """A plan opened together with the results of its experiment.

    Args:
        plan: plan of the runs.
        progress: see :class:`benchmark.experiments.jobs.Bench`.
        bench: the plan, where it is open already.
        nested: keep the runs of folds inside the folds, in an experiment of their own.
        beside: keep the runs in an experiment with this behind the protocol's name; its own page is for comparisons.
    """

    def __init__(
        self,
        plan: ExperimentPlan,
        progress: Callable[[int, int], None] | None = None,
        bench: Bench | None = None,
        *,
        nested: bool = False,
        beside: str = "",
    ) -> None:
        self.plan = plan
        self.bench = bench or Bench(plan, progress)
        self.results = ResultsFolder(plan.results)
        self.experiment = self.bench.protocol.label + (INNER if nested else beside)
        self._tables: dict[str, dict[str, str]] = {}  # by job, tags that name the tables and the row
        open_experiment(self.results, self.bench, self.experiment)
        self.results.close_expired()

    def work(self, jobs: Iterable[Job]) -> Work:
        """Return what is to be done of these jobs."""
        return sort_out(jobs, self.results)

    def refuse_mixture(self, done: Sequence[Job], current: Provenance) -> None:
        """Refuse to train what would share a table with runs of another provenance.

        Args:
            done: finished jobs of the table.
            current: provenance of the trainings to come.

        Raises:
            TrackingError: they were run with another provenance.
        """
        keys = [job.identity for job in done]
        refuse_mixture(self.results.runs("", keys), current)

    def left(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs that are neither finished, nor skipped, nor running."""
        return list(self.work(jobs).left)

    def add(self, jobs: Iterable[Job], *, again: bool = False) -> None:
        """Request jobs; those that are done are only shown in this experiment, too.

        Args:
            again: queue failed jobs again.
        """
        able = [job for job in jobs if not job.skip]
        tags = {job.identity: _trial_tags(job) | self._tables.get(job.identity, {}) for job in able}
        if again:
            self.results.queue.add([entry_of(self.bench, job) for job in able], self.experiment, tags)
        else:
            states = self.results.queue.states()
            shown = [job.identity for job in able if job.identity in states]
            self.results.publications.add(shown, self.experiment, tags)

    def run(
        self,
        jobs: Sequence[Job],
        on_progress: Callable[[Job, float], None] = lambda job, share: None,
        on_end: Callable[[Ended], None] = lambda ended: None,
        *,
        publish: bool = True,
    ) -> None:
        """Train jobs in this process.

        Args:
            jobs: jobs, with those that others start from.
            publish: show them in MLflow.
        """
        self.add(jobs, again=True)
        by_key = {job.identity: job for job in jobs}
        advance = lambda key, share: on_progress(by_key[key], share)  # noqa: E731
        Worker(self.results, list(by_key), self.bench, on_progress=advance, publish=publish).run()
        for ended in ends(self.results, by_key.values()):
            on_end(ended)

    def deliver(self, jobs: Iterable[Job]) -> str:
        """Publish in MLflow what is not there yet; return why that failed, "" where it did not."""
        return self.results.deliver(self.experiment, [job.identity for job in jobs if not job.skip])

    def remember(
        self,
        jobs: Sequence[Job],
        tuned: TunedRows | None = None,
        tuned_jobs: Sequence[Job] = (),
        *,
        nested: bool = False,
        command: str = "",
    ) -> None:
        """Add the jobs to the comparison that was requested (`benchmark.experiments.request.remember`)."""
        tag = table_tag(key_of(self.bench, tuned))
        rows = {(fold, label): row for row, of in tuned.labels.items() for fold, label in of.items()} if tuned else {}
        for job in tuned_jobs:
            if (job.fold, job.label) in rows:
                self._tables[job.identity] = {tag: rows[job.fold, job.label]}
        self._tables |= {job.identity: {tag: job.label} for job in jobs}
        remember(self.results, self.experiment, self.bench, jobs, tuned, tuned_jobs, nested=nested, command=command)


def open_experiment(results: ResultsFolder, bench: Bench, experiment: str) -> None:
    """Note what an experiment is about."""
    facts = {"protocol": bench.protocol.name, "fingerprint": bench.fingerprint}
    results.describe(experiment, describe(bench.protocol), facts)


def sort_out(jobs: Iterable[Job], results: ResultsFolder | None) -> Work:
    """Sort jobs by their state in the queue.

    Args:
        jobs: jobs, of which the first of equal keys is taken.
        results: results folder; None where there is none yet.
    """
    states = results.queue.states() if results else {}
    once: dict[str, Job] = {}
    for job in jobs:
        once.setdefault(job.identity, job)
    done, running, skipped, left = list[Job](), list[Job](), list[Job](), list[Job]()
    for job in once.values():
        state = states.get(job.identity, ("", 0.0))[0]
        place = skipped if job.skip else done if state == DONE else running if state == RUNNING else left
        place.append(job)
    return Work(done, running, skipped, left)


def ends(results: ResultsFolder, jobs: Iterable[Job], family: str = "") -> list[Ended]:
    """Return how jobs ended that have.

    Args:
        family: family of this command's workers (`Worker.name` before the last ``/``); "" for any.
    """
    by_key = {job.identity: job for job in jobs}
    ended = []
    for row in results.queue.rows(keys=list(by_key)):
        if row.state in (DONE, FAILED, PRUNED):
            ended.append(
                Ended(
                    by_key[row.key],
                    max(row.ended - row.started, 0.0),
                    row.metrics.get("target/miou", float("nan")),
                    row.error,
                    row.state == PRUNED,
                    bool(family) and row.worker.rpartition("/")[0] != family,
                )
            )
    return ended


def is_open(state: str) -> bool:
    """Return whether a job in this state has not ended."""
    return state in (QUEUED, RUNNING, "expired")


def _trial_tags(job: Job) -> dict[str, str]:
    return {"study": job.trial.method, "trial": str(job.trial.setting)} if job.trial else {}
