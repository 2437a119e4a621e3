"""What runs on a node: one task of Slurm, with one job or several side by side."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import Stopped, TrackingError, TrainingError
from benchmark.grid.cluster.slurm import log_of
from benchmark.grid.jobs import Bench, Job, Plan
from benchmark.grid.pool import Ended, run_all
from benchmark.grid.waiting import Waiting
from benchmark.grid.warm import warm_up
from benchmark.locations import add_folder
from benchmark.tracking import RunRecord, Tracker, is_store, this_task

DECISION = 600  # seconds that a stopped task waits for Slurm to end it


class Task:
    """Jobs that run in one task of Slurm; called by submitit on the node.

    The same task may begin several times: after its time was over, or when another user's had precedence.

    Args:
        plan: what the jobs belong to, with absolute paths.
        experiment: id of the MLflow experiment.
        jobs: run side by side, if there are several.
        folder: of the logs.
    """

    def __init__(self, plan: Plan, experiment: str, jobs: Sequence[Job], folder: Path) -> None:
        self.plan, self.experiment, self.jobs, self.folder = plan, experiment, list(jobs), folder
        self.working_folder = Path.cwd()

    def __call__(self) -> None:
        """Run the jobs; whatever happens to them is in the store."""
        signals = _Signals()
        try:
            self._work(signals)
        except Stopped:
            signals.leave()

    def checkpoint(self) -> Any:
        """What submitit puts back into the queue: the same again. The jobs themselves know where they were."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _work(self, signals: "_Signals") -> None:
        os.chdir(self.working_folder)
        add_folder(str(self.working_folder))  # for methods that are named module:Class
        if not is_store(self.plan.results):
            raise TrackingError(f"this node does not see the results folder {self.plan.results}; it must be shared")
        tracker = Tracker(self.plan.results)
        again = f"its Slurm task {this_task()} was ended and went back into the queue"
        tracker.close_task(self.experiment, this_task(), again)
        left = self._left(tracker)
        workers = min(len(self.jobs), len(left))
        if workers > 1:
            signals.keep_from_children()
        if left:
            bench = Bench(self.plan) if workers == 1 else None
            run_all(
                self.plan, self.experiment, Waiting(left), workers, bench, lambda job, share: None,
                lambda ended: self._tell(tracker, ended),
            )  # fmt: skip

    def _left(self, tracker: Tracker) -> list[Job]:
        """The jobs that an earlier beginning of this task did not end."""
        last = newest(tracker, self.experiment)
        return [job for job in self.jobs if not has_ended(last.get(job.identity), this_task())]

    def _tell(self, tracker: Tracker, ended: Ended) -> None:
        """Print how a job ended, and see to it that the store has it, too, with the name of the log."""
        job = ended.job
        print(f"{job.label}, {job.fold}, seed {job.seed}: {ended.error or ended.miou}", flush=True)
        if not ended.error or ended.taken:
            return
        reason = f"{ended.error} (log: {log_of(self.folder, this_task())})"
        last = newest(tracker, self.experiment)
        record = last.get(job.identity)
        if record and record.task == this_task():
            if record.status == "FAILED":
                tracker.tag_run(record.id, "error", reason)
            return  # if it is not failed, its process was killed, which whoever submitted it deals with
        if not job.parent or is_finished(last.get(job.parent)):
            write_failure(Bench(self.plan), tracker, self.experiment, job, reason)


def newest(tracker: Tracker, experiment: str) -> dict[str, RunRecord]:
    """Of each identity the finished run, else the newest."""
    found: dict[str, RunRecord] = {}
    for record in tracker.cells(experiment):
        if not is_finished(found.get(record.identity)):
            found[record.identity] = record
    return found


def is_finished(record: RunRecord | None) -> bool:
    """Whether there is a result."""
    return record is not None and record.status == "FINISHED"


def has_ended(record: RunRecord | None, task: str) -> bool:
    """Whether a task has ended a job: it is finished, by whomever, or failed in this task."""
    failed = record is not None and record.status == "FAILED" and record.task == task
    return failed or is_finished(record)


def write_failure(bench: Bench, tracker: Tracker, experiment: str, job: Job, reason: str) -> None:
    """Log a run that only says why a job failed, where it failed before it had one."""
    name = f"{job.label} · {job.fold} · seed {job.seed}"
    error = TrainingError(reason)
    tracker.start(experiment, name, bench.facts(job), job.identity, bench.dataset_fact()).fail(error)
    for note in getattr(error, "__notes__", ()):  # into the task's log, which is all there is
        print(note, flush=True)


class _Signals:
    """SIGTERM and the notice before the time limit, turned into `Stopped` for what runs, once."""

    def __init__(self) -> None:
        from submitit.core.job_environment import JobEnvironment

        self._notice = signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]
        self._seen: list[int] = []
        self._before: dict[int, Callable[[int, Any], Any]] = {}
        for number in (signal.SIGTERM, self._notice):
            self._before[number] = signal.signal(number, self._stop)  # type: ignore[assignment]

    def _stop(self, number: int, frame: Any) -> None:
        self._seen.append(number)
        if len(self._seen) == 1:  # a second one must not disturb what closes the run
            why = "its time is nearly over" if number == self._notice else "preempted, requeued or cancelled"
            raise Stopped(f"its Slurm task {this_task()} was told to stop by {signal.Signals(number).name}: {why}")

    def keep_from_children(self) -> None:
        """Slurm signals all processes of a task; the notice would kill those that have no handler. A signal that is
        blocked stays so in new processes, of which the server of worker processes is the first."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [self._notice])
        warm_up()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [self._notice])

    def leave(self) -> None:
        """Go back into the queue where the time is over; else wait for Slurm to end the task, which then is put back
        or not as Slurm has decided. A task that ends by itself is never put back."""
        signal.signal(self._notice, self._before[self._notice])  # submitit's: requeue and exit
        if self._notice in self._seen:
            self._before[self._notice](self._notice, None)
        time.sleep(DECISION)
        sys.exit("this task was told to stop, but Slurm did not end it")
