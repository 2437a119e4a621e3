"""A task of Slurm on a node: one worker, or several side by side."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.common.errors import Stopped, TrackingError
from benchmark.common.locations import add_folder
from benchmark.experiments.fork_server import start_server
from benchmark.experiments.launchers import LOOK_EVERY, LocalWorkers
from benchmark.experiments.queue import RUNNING
from benchmark.experiments.results import ResultsFolder, has_results
from benchmark.experiments.session import is_open
from benchmark.experiments.worker import Worker

PREFIX = "slurm:"
DECISION = 600  # seconds that a stopped task waits for Slurm to end it


class SlurmTask:
    """One or several workers on the queue of a results folder; called by submitit on the node.

    The same task may begin several times: after its time limit, or after another job had precedence.

    Args:
        results: the results folder, absolute.
        keys: keys of the jobs it may train, in their order.
        count: number of runs side by side.
        working_folder: folder in which methods named ``module:Class`` are found.
    """

    def __init__(self, results: Path, keys: Sequence[str], count: int, working_folder: Path) -> None:
        self.results, self.keys, self.count, self.working_folder = results, list(keys), count, working_folder

    def __call__(self) -> None:
        """Train until no job is left that can be begun, or SIGTERM or the notice before the time limit comes.

        The job is then put back, and the task goes back into Slurm's queue if its time is over; else it waits for Slurm
        to end it, and goes back or not as Slurm has decided. A task that ends by itself never goes back.
        """
        from submitit.core.job_environment import JobEnvironment
        from submitit.slurm.slurm import SlurmJobEnvironment

        task, notice = SlurmJobEnvironment().job_id, signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]
        requeue: Any = signal.getsignal(notice)  # submitit's: requeues and exits
        seen: list[int] = []

        def stop(number: int, frame: Any) -> None:
            seen.append(number)
            if len(seen) == 1:  # a second one must not disturb what puts the job back
                why = "its time is nearly over" if number == notice else "preempted, requeued or cancelled"
                raise Stopped(f"its Slurm task {task} was stopped by {signal.Signals(number).name}: {why}")

        signal.signal(signal.SIGTERM, stop)
        signal.signal(notice, stop)
        try:
            self._work(task, notice)
        except Stopped:
            signal.signal(notice, requeue)
            if notice in seen:
                requeue(notice, None)
            time.sleep(DECISION)
            sys.exit("this task was ordered to stop, but Slurm did not end it")

    def checkpoint(self) -> Any:
        """Return what submitit puts back into the queue: the same again, since jobs have savepoints of their own."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _work(self, task: str, notice: signal.Signals) -> None:
        os.chdir(self.working_folder)
        add_folder(str(self.working_folder))
        if not has_results(self.results):
            raise TrackingError(f"this node does not see the results folder {self.results}; it must be shared")
        results = ResultsFolder(self.results)
        rows = results.queue.rows(keys=self.keys)
        for worker in {row.worker for row in rows if row.state == RUNNING and task_of(row.worker) == task}:
            results.queue.release_worker(worker, f"its Slurm task {task} was ended and went back into the queue")
        if min(self.count, sum(is_open(row.state) for row in rows)) <= 1:
            return Worker(results, self.keys, name=f"{PREFIX}{task}/0").run(wait=False)
        # Slurm signals all processes of a task, and the notice would kill those without a handler. What is blocked is
        # inherited, and the server of worker processes is the first of them.
        signal.pthread_sigmask(signal.SIG_BLOCK, [notice])
        start_server()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [notice])
        workers = LocalWorkers(self.results, self.keys, self.count, wait=False, family=PREFIX + task)
        try:
            while workers.look():
                time.sleep(LOOK_EVERY)
        finally:
            workers.stop()


def task_of(worker: str) -> str:
    """Return the id of the task that a worker runs in, by the worker's name; "" if in none."""
    return worker.removeprefix(PREFIX).rpartition("/")[0] if worker.startswith(PREFIX) else ""
