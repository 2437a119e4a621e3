"""Jobs known beforehand, in the order in which they are begun."""

from collections import deque
from collections.abc import Sequence
from math import inf

from benchmark.grid.jobs import Job
from benchmark.grid.pool import Ended

LAST = 2  # jobs for each worker that are begun by length


class Waiting:
    """Jobs in their order; one that starts from another waits until that one has ended.

    Of the last few the longest come first, so that no worker is left alone with one (Graham, SIAM Journal on Applied
    Mathematics 17, 1969). How long a job takes is known once one of its label has ended; before, it may be the longest.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = deque(jobs)
        self._seconds: dict[str, float] = {}

    def take(self, busy: Sequence[Job]) -> Job | None:
        """See :class:`benchmark.grid.pool.Jobs`."""
        awaited = {job.identity for job in (*self._jobs, *busy)}
        ready = [job for job in self._jobs if job.parent not in awaited]
        if not ready:
            return None
        last = busy and len(self._jobs) <= LAST * (len(busy) + 1)
        job = max(ready, key=self._length) if last else ready[0]
        self._jobs.remove(job)
        return job

    def _length(self, job: Job) -> float:
        """Seconds until it has ended, and the longest that starts from it."""
        after = (self._seconds.get(other.label, inf) for other in self._jobs if other.parent == job.identity)
        return self._seconds.get(job.label, inf) + max(after, default=0.0)

    def learn(self, ended: Ended) -> None:
        """Take note of how long a job was; of one that was taken up half-way, or over, another may say more."""
        if not (ended.error or ended.taken):
            label = ended.job.label
            self._seconds[label] = max(self._seconds.get(label, 0.0), ended.seconds)

    def without_children_of(self, job: Job) -> list[Job]:
        """Take out the jobs that start from a job which somebody else has; returns them."""
        children = [waiting for waiting in self._jobs if waiting.parent == job.identity]
        self._jobs = deque(waiting for waiting in self._jobs if waiting not in children)
        return children
