"""Worker processes that stay alive from job to job, and outlive a job that dies.

The standard pools give up as a whole when one of their processes is killed (by the kernel for want of memory, say).
Here only the job at hand fails, with the reason, and a new process takes the place of the old.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from benchmark.errors import AlreadyTaken, LandshiftError, Pruned, Stopped
from benchmark.grid.jobs import Bench, Job, Plan
from benchmark.grid.warm import warm_up
from benchmark.tracking import Tracker
from methods.base import MethodError
from methods.sources import blamed

REPORT_EVERY = 0.5  # seconds between two messages on how far a job is


@dataclass(frozen=True)
class Ended:
    """How a job ended: its target mean IoU, or why it failed or was given up, or that another call has, or had, it."""

    job: Job
    seconds: float
    miou: float = float("nan")
    error: str = ""
    taken: bool = False
    pruned: bool = False


class Runner:
    """Runs jobs in this process; what it opens is opened once."""

    def __init__(self, plan: Plan, experiment: str, bench: Bench | None = None) -> None:
        self._bench = bench or Bench(plan)
        self._tracker = Tracker(plan.results)
        self._experiment = experiment
        from benchmark.grid.execute import execute  # imports Lightning Fabric, which a parent of workers can do without

        self._execute = execute

    def run(self, job: Job, report: Callable[[float], None]) -> Ended:
        """Run one job; only Ctrl-C and the like come out of it, everything else ends the job."""
        started = time.monotonic()
        try:
            miou = self._execute(self._bench, job, self._tracker, self._experiment, report)
        except AlreadyTaken:
            return Ended(job, time.monotonic() - started, taken=True)
        except Pruned as error:
            return Ended(job, time.monotonic() - started, error=str(error), pruned=True)
        except (LandshiftError, MethodError) as error:
            return Ended(job, time.monotonic() - started, error=str(error))
        except Exception as error:
            return Ended(job, time.monotonic() - started, error=blamed(error)[:500])
        return Ended(job, time.monotonic() - started, miou)


class Jobs(Protocol):
    """Where jobs come from."""

    def take(self, busy: Sequence[Job]) -> Job | None:
        """The next job to start while others are busy; None if there is none, or none yet."""


def run_all(
    plan: Plan,
    experiment: str,
    jobs: Jobs,
    workers: int,
    bench: Bench | None,
    on_progress: Callable[[Job, float], None],
    on_end: Callable[[Ended], None],
    gpus: Sequence[str] = (),
) -> None:
    """Run jobs until there is none left, in this process for one worker, else in as many processes.

    Args:
        workers: not more than there are jobs.
        bench: the plan, where it is open already; several workers open it themselves.
        on_progress: takes a job and the share of its training that is done.
        on_end: takes each job's end as it comes.
        gpus: over which several workers are spread, by the names that CUDA_VISIBLE_DEVICES takes; none: all see all.
    """
    if workers == 1:
        runner = Runner(plan, experiment, bench)
        while job := jobs.take([]):
            on_end(runner.run(job, lambda share, job=job: on_progress(job, share)))  # type: ignore[misc]
        return
    warm_up()
    pool = [_Worker(plan, experiment, gpus[index % len(gpus)] if gpus else "") for index in range(workers)]
    try:
        while True:
            for worker in pool:
                if worker.job is None and (following := jobs.take([busy.job for busy in pool if busy.job])):
                    worker.give(following)
            busy = {worker.connection: worker for worker in pool if worker.job}
            if not busy:
                return
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                message = worker.receive()
                if isinstance(message, Ended):
                    on_end(message)
                elif worker.job:
                    on_progress(worker.job, message)
                if not worker.alive:
                    pool[pool.index(worker)] = _Worker(plan, experiment, worker.gpu)
    finally:
        for worker in pool:
            worker.tell()
        for worker in pool:
            worker.stop()


class _Worker:
    """One process and the job it is at."""

    def __init__(self, plan: Plan, experiment: str, gpu: str = "") -> None:
        context = multiprocessing.get_context("forkserver")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, plan, experiment, gpu))
        self._process.start()
        theirs.close()  # so that its death closes the pipe
        self.gpu = gpu
        self.job: Job | None = None
        self.alive = True
        self._since = 0.0

    def give(self, job: Job) -> None:
        self.job, self._since = job, time.monotonic()
        self.connection.send(job)

    def receive(self) -> Ended | float:
        """The next message: an end, or the share of the job that is done. A dead process ends its job."""
        assert self.job is not None
        try:
            message: Ended | float = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            self.alive = False
            code = self._process.exitcode or 0
            reason = f"killed by signal {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
            message = Ended(self.job, time.monotonic() - self._since, error=f"its process was {reason}")
        if isinstance(message, Ended):
            self.job = None
        return message

    def tell(self) -> None:
        """Tell the process to end, so that its run is marked."""
        self.connection.close()
        if self.job:
            self._process.terminate()

    def stop(self) -> None:
        """Wait for the end of a process that was told, not for ever."""
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()


def _serve(connection: Connection, plan: Plan, experiment: str, gpu: str) -> None:
    """Run the jobs that come in until the pipe closes."""
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA is first used, which is below
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides and terminates
    signal.signal(signal.SIGTERM, _raise_interrupt)
    runner: Runner | None = None
    try:
        while True:
            job: Job = connection.recv()
            runner = runner or Runner(plan, experiment)
            connection.send(runner.run(job, _Throttled(connection)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return  # the parent is gone, or wants us gone


def _raise_interrupt(number: int, frame: Any) -> None:
    raise Stopped(f"stopped with its command, or alone by {signal.Signals(number).name}")


class _Throttled:
    """Sends how far a job is, not more often than a person can see."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last = 0.0

    def __call__(self, share: float) -> None:
        if time.monotonic() - self._last >= REPORT_EVERY:
            self._last = time.monotonic()
            try:
                self._connection.send(share)
            except BrokenPipeError:
                raise Stopped("the command that it belongs to was killed") from None
