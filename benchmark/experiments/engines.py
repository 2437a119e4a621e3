"""The engine of a command: processes of this machine, or tasks of Slurm, under a progress bar."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.experiments.run_bar import RunBar

if TYPE_CHECKING:  # the heavy modules are imported after the server of worker processes is started
    from benchmark.experiments.jobs import Bench, Job
    from benchmark.experiments.provenance import Provenance
    from benchmark.experiments.session import Ended, Session, Work
    from benchmark.experiments.slurm import Profile

Describe = Callable[["Ended"], str]
"""Says the result of an ended job; "" for its target mIoU."""


def no_words(ended: "Ended") -> str:
    """Return "": the bar shows the target mIoU."""
    return ""


class Local:
    """Worker processes of this machine.

    Args:
        workers: number of worker processes.
        gpus: over which they are spread; none: each sees all.
        wait: whether to wait for runs of other calls.
    """

    def __init__(self, workers: int, gpus: Sequence[str], *, wait: bool) -> None:
        self._workers, self._gpus, self._wait = workers, gpus, wait

    def check(self, bench: "Bench", work: "Work") -> None:
        """Refuse what no training could begin with (`Bench.check_settings`), where there is one to begin."""
        if work.left:
            bench.check_settings()

    def provenance(self, bench: "Bench") -> "Provenance":
        """Return that of the trainings to come."""
        from benchmark.experiments.provenance import Provenance
        from benchmark.training.devices import device_name, make_fabric

        return Provenance.here(device_name(make_fabric(bench.plan.accelerator, bench.plan.recipe.precision)))

    def work(self, session: "Session", work: "Work", describe: Describe = no_words) -> int:
        """Train what is left under a bar, and wait for what workers of other commands have; the number that failed.

        Args:
            describe: result of an ended job in the place of its target mIoU; "" for that.
        """
        from benchmark.experiments.launchers import LocalWorkers
        from benchmark.experiments.session import ends
        from benchmark.experiments.worker import Worker

        jobs = [*work.left, *work.running]
        if not jobs:
            return 0
        session.add(jobs, again=True)
        by_key = {job.identity: job for job in jobs}
        with RunBar(len(jobs)) as bar:
            if work.running:
                bar.tell(f"{len(work.running)} of these runs are being trained by other commands")
            if min(self._workers, len(jobs)) == 1 and not self._gpus:
                watch = _Inline(session.results, by_key, bar, describe)
                Worker(
                    session.results, list(by_key), session.bench, name=watch.name, on_progress=watch, on_wait=watch.look
                ).run(wait=self._wait)
                watch.look()
            else:
                workers = LocalWorkers(
                    session.plan.results, list(by_key), min(self._workers, len(jobs)), self._gpus, wait=self._wait
                )
                try:
                    _watch(session, jobs, workers, bar, describe, family=workers.family)
                    workers.wait()
                finally:
                    workers.stop()
            open_jobs = len(jobs) - len(ends(session.results, jobs))
            if open_jobs:
                bar.tell(f"{open_jobs} runs are left to other commands; landshift report shows the table of all")
        return bar.failed


class _Inline:
    """The bar of a command whose only worker is its own process: it is called with the progress of each job.

    Attributes:
        name: name of the worker.
    """

    def __init__(self, results: Any, jobs: Any, bar: Any, describe: Describe) -> None:
        from benchmark.experiments.worker import new_name

        self._results, self._jobs, self._bar, self._describe = results, dict(jobs), bar, describe
        self._current, self.name = "", new_name()

    def __call__(self, key: str, share: float) -> None:
        if key != self._current:
            self._current = key
            self.look()
        if key in self._jobs:
            self._bar.advance(self._jobs[key], share)

    def look(self) -> None:
        """Show the jobs that have ended since the last look."""
        from benchmark.experiments.session import ends

        for ended in ends(self._results, self._jobs.values(), self.name.rpartition("/")[0]):
            del self._jobs[ended.job.identity]
            self._bar.end(ended, self._describe(ended))


class Slurm:
    """Tasks of Slurm.

    Args:
        profile: what a task requests.
        detach: submit the tasks, and do not wait for them.
    """

    def __init__(self, profile: "Profile", *, detach: bool) -> None:
        self._profile, self._detach = profile, detach

    def check(self, bench: "Bench", work: "Work") -> None:
        """Refuse what no training could begin with; devices are those of other machines."""
        if work.left or work.running:
            bench.check_settings(device=False)

    def provenance(self, bench: "Bench") -> "Provenance":
        """Return what is known of the trainings to come: code and packages, but not processor and device."""
        from benchmark.experiments.provenance import Provenance

        current = Provenance.here()
        return Provenance(current.code, current.packages)

    def work(self, session: "Session", work: "Work", describe: Describe = no_words) -> int:
        """Submit tasks and watch the queue under a bar; the number of runs that failed.

        Args:
            describe: see `Local.work`.
        """
        from benchmark.experiments.session import ends
        from benchmark.experiments.slurm import LOOK_EVERY, SlurmWorkers

        jobs = [*work.left, *work.running]
        if not jobs:
            return 0
        session.add(jobs, again=True)
        keys = [job.identity for job in (*work.done, *jobs)]
        with RunBar(len(jobs)) as bar:
            workers = SlurmWorkers(session.results, keys, self._profile, bar.tell)
            stop = f"scancel --name={workers.name}"
            if self._detach:
                bar.tell(f"the same command without --detach looks again; to stop: {stop}")
                return 0
            try:
                _watch(session, jobs, workers, bar, describe, every=LOOK_EVERY)
            except KeyboardInterrupt:
                bar.tell(f"the runs stay in Slurm's queue; to stop them: {stop}")
                raise
            left = len(jobs) - len(ends(session.results, jobs))  # whose tasks were cancelled
        return bar.failed + left


def _watch(
    session: "Session", jobs: "Sequence[Job]", workers: Any, bar: RunBar, describe: Describe, **how: Any
) -> None:
    """Show the jobs under the bar until they have ended (`benchmark.experiments.launchers.follow`)."""
    from benchmark.experiments.launchers import follow

    follow(session.results, jobs, workers, bar.advance, lambda ended: bar.end(ended, describe(ended)), **how)
