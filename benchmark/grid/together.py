"""Calls that share a store: each job is done by one of them, and each ends with the table of all."""

import time
from collections.abc import Callable, Sequence

from benchmark.grid.jobs import Job
from benchmark.grid.pool import Ended
from benchmark.grid.session import Session
from benchmark.grid.work import Work

LOOK = 3.0  # seconds until the store is looked at again, or as long as a look takes, if that is more


def run_together(
    session: Session,
    work: Work,
    workers: int,
    on_progress: Callable[[Job, float], None],
    on_end: Callable[[Ended], None],
    on_wait: Callable[[int], None],
    gpus: Sequence[str] = (),
    *,
    wait: bool = True,
) -> None:
    """Run what is left, wait for what other calls are at, and run what that allows or what they leave behind.

    Args:
        on_end: takes the end of each job; of one that another call has done ``taken`` is true.
        on_wait: takes the number of jobs that wait for other calls, once, when nothing else is to be done.
        gpus: see :func:`benchmark.grid.pool.run_all`.
        wait: or return as soon as there is nothing that can be begun.
    """
    ended: set[str] = set()
    waits = False

    def end(one: Ended) -> None:
        if not one.taken:
            ended.add(one.job.identity)
            on_end(one)

    asked = [*work.left, *work.running]
    while True:
        before, theirs = len(ended), {job.identity for job in work.running}
        if ready := [job for job in work.left if job.identity not in ended and job.parent not in theirs]:
            session.run(ready, workers, on_progress, end, gpus)
        if len(ended) == len(asked):
            return
        started = time.monotonic()
        session.tracker.close_stale(session.experiment)
        work = session.work([job for job in asked if job.identity not in ended])
        for job in work.done:
            ended.add(job.identity)
            on_end(Ended(job, 0.0, taken=True))
        if not (work.left or work.running):
            return
        if len(ended) == before:
            if not waits:
                on_wait(len(work.left) + len(work.running))
            if not wait:
                return
            waits = True
            time.sleep(max(LOOK, time.monotonic() - started))
