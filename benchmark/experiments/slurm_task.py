"""What runs on a node: one task of Slurm, which is a worker, or several side by side."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import Stopped, TrackingError
from benchmark.experiments.fork_server import start_server
from benchmark.experiments.launchers import LOOK_EVERY, LocalWorkers
from benchmark.experiments.queue import RUNNING
from benchmark.experiments.results import Results, has_results
from benchmark.experiments.session import is_open
from benchmark.experiments.worker import Worker
from benchmark.locations import add_folder

PREFIX = "slurm:"
DECISION = 600  # seconds that a stopped task waits for Slurm to end it


class Task:
    """One or several workers on the queue of a results folder; called by submitit on the node.

    The same task may begin several times: after its time limit, or after another job had precedence.

    Args:
        results: the results folder, absolute.
        keys: of the jobs it may train, in their order.
        count: of runs side by side.
        working_folder: in which methods that are named ``module:Class`` are found.
    """

    def __init__(self, results: Path, keys: Sequence[str], count: int, working_folder: Path) -> None:
        self.results, self.keys, self.count, self.working_folder = results, list(keys), count, working_folder

    def __call__(self) -> None:
        """Train until no job is left that can be begun."""
        task = this_task()
        signals = _Signals(task)
        try:
            self._work(task, signals)
        except Stopped:
            signals.leave()

    def checkpoint(self) -> Any:
        """Return what submitit puts back into the queue: the same again, since jobs have savepoints of their own."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _work(self, task: str, signals: "_Signals") -> None:
        os.chdir(self.working_folder)
        add_folder(str(self.working_folder))
        if not has_results(self.results):
            raise TrackingError(f"this node does not see the results folder {self.results}; it must be shared")
        results = Results(self.results)
        rows = results.queue.rows(keys=self.keys)
        for worker in {row.worker for row in rows if row.state == RUNNING and task_of(row.worker) == task}:
            results.queue.release_worker(worker, f"its Slurm task {task} was ended and went back into the queue")
        if min(self.count, sum(is_open(row.state) for row in rows)) > 1:
            self._share(task, signals)
        else:
            Worker(results, self.keys, name=f"{PREFIX}{task}/0").run(wait=False)

    def _share(self, task: str, signals: "_Signals") -> None:
        signals.keep_from_children()
        workers = LocalWorkers(self.results, self.keys, self.count, wait=False, family=PREFIX + task)
        try:
            while workers.look():
                time.sleep(LOOK_EVERY)
        finally:
            workers.stop()


def this_task() -> str:
    """Return the id of the task that this process runs in, as squeue prints it."""
    from submitit.slurm.slurm import SlurmJobEnvironment

    return str(SlurmJobEnvironment().job_id)


def task_of(worker: str) -> str:
    """Return the id of the task that a worker runs in, by the worker's name; "" if in none."""
    return worker.removeprefix(PREFIX).rpartition("/")[0] if worker.startswith(PREFIX) else ""


def log_of(folder: Path, task: str) -> Path:
    """Return the log of a task, which submitit names."""
    return folder / f"{task}_0_log.out"


class _Signals:
    """SIGTERM and the notice before the time limit, the first of which raises `Stopped` in the main thread."""

    def __init__(self, task: str) -> None:
        from submitit.core.job_environment import JobEnvironment

        self._task = task
        self._notice = signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]
        self._seen: list[int] = []
        self._before: dict[int, Callable[[int, Any], Any]] = {}
        for number in (signal.SIGTERM, self._notice):
            self._before[number] = signal.signal(number, self._stop)  # type: ignore[assignment]

    def _stop(self, number: int, frame: Any) -> None:
        self._seen.append(number)
        if len(self._seen) == 1:  # a second one must not disturb what puts the job back
            why = "its time is nearly over" if number == self._notice else "preempted, requeued or cancelled"
            raise Stopped(f"its Slurm task {self._task} was stopped by {signal.Signals(number).name}: {why}")

    def keep_from_children(self) -> None:
        """Block the notice in worker processes: Slurm signals all processes of a task, and it would kill those without
        a handler. New processes inherit what is blocked, and the server of worker processes is the first."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [self._notice])
        start_server()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [self._notice])

    def leave(self) -> None:
        """Go back into Slurm's queue where the time is over; else wait for Slurm to end the task, which then goes back
        or not as Slurm has decided. A task that ends by itself never goes back."""
        signal.signal(self._notice, self._before[self._notice])  # submitit's: requeue and exit
        if self._notice in self._seen:
            self._before[self._notice](self._notice, None)
        time.sleep(DECISION)
        sys.exit("this task was told to stop, but Slurm did not end it")
