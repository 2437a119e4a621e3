"""One call of ``landshift run``: what is done already, and what is left."""

from collections.abc import Callable, Sequence

from benchmark.grid.asked import TunedRows, remember
from benchmark.grid.jobs import Bench, Job, Plan
from benchmark.grid.leftovers import sweep
from benchmark.grid.pool import Ended, run_all
from benchmark.grid.publishing import describe
from benchmark.grid.standing import NESTED
from benchmark.grid.waiting import Waiting
from benchmark.grid.work import Work, sort_out
from benchmark.provenance import Provenance, refuse_mixture
from benchmark.tracking import Tracker

INNER = " (source domains held out)"  # the name of the experiment with runs inside the folds of another


class Session:
    """A plan opened together with its MLflow experiment.

    Args:
        plan: what to run.
        progress: see :class:`benchmark.grid.jobs.Bench`.
        bench: the plan, where it is open already.
        nested: keep the runs of folds inside the folds, in an experiment of their own.
        beside: keep the runs in an experiment with this behind the protocol's name; its own page is for comparisons.
    """

    def __init__(
        self,
        plan: Plan,
        progress: Callable[[int, int], None] | None = None,
        bench: Bench | None = None,
        *,
        nested: bool = False,
        beside: str = "",
    ) -> None:
        self.plan = plan
        self.bench = bench or Bench(plan, progress)
        self.tracker = Tracker(plan.results)
        self.experiment = open_experiment(self.tracker, self.bench, beside)
        if nested:
            outer, self.experiment = self.experiment, self.tracker.experiment(self.bench.protocol.label + INNER)
            self.tracker.tag(outer, NESTED, self.experiment)
        self.tracker.close_stale(self.experiment)

    def work(self, jobs: Sequence[Job]) -> Work:
        """What is to be done of these jobs; what was saved of finished ones is removed."""
        found = sort_out(jobs, self.tracker.cells(self.experiment))
        sweep(self.plan.results, {job.identity for job in found.done})
        return found

    def refuse_mixture(self, done: Sequence[Job], here: Provenance) -> None:
        """Before anything is trained: what is to be trained would share a table with these.

        Args:
            here: of the trainings to come.

        Raises:
            TrackingError: they were run with another provenance.
        """
        wanted = {job.identity for job in done}
        refuse_mixture([run for run in self.tracker.cells(self.experiment) if run.identity in wanted], here)

    def left(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that are neither finished, nor skipped, nor running in another process."""
        return list(self.work(jobs).left)

    def run(
        self,
        jobs: Sequence[Job],
        workers: int,
        on_progress: Callable[[Job, float], None],
        on_end: Callable[[Ended], None],
        gpus: Sequence[str] = (),
    ) -> None:
        """Run jobs in processes of this machine; whatever happens, what is finished stays finished.

        A job that another call has is left to it, and so are those that start from it (:mod:`benchmark.grid.together`
        waits for them).

        Args:
            gpus: see :func:`benchmark.grid.pool.run_all`.
        """
        waiting = Waiting(jobs)

        def end(ended: Ended) -> None:
            waiting.learn(ended)
            on_end(ended)
            for child in waiting.without_children_of(ended.job) if ended.taken else ():
                on_end(Ended(child, 0.0, taken=True))

        workers = min(workers, len(jobs)) or 1
        run_all(self.plan, self.experiment, waiting, workers, self.bench, on_progress, end, gpus)

    def remember(
        self,
        jobs: Sequence[Job],
        tuned: TunedRows | None = None,
        tuned_jobs: Sequence[Job] = (),
        *,
        nested: bool = False,
    ) -> None:
        """Write what is asked for into the experiment (`benchmark.grid.asked.remember`)."""
        remember(self.tracker, self.experiment, self.bench, jobs, tuned, tuned_jobs, nested=nested)


def open_experiment(tracker: Tracker, bench: Bench, beside: str = "") -> str:
    """The id of the MLflow experiment of a protocol, which is made if there is none yet.

    Args:
        beside: of the one with this behind the protocol's name.
    """
    protocol = bench.protocol
    facts = {"protocol": protocol.name, "fingerprint": bench.fingerprint}
    return tracker.experiment(protocol.label + beside, describe(protocol), facts)
