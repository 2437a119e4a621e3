"""What is to be done of a list of jobs: what a run does, and what a plan says before, from one place."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from benchmark.grid.cells import as_it_is
from benchmark.grid.jobs import Job
from benchmark.tracking import RunRecord


@dataclass(frozen=True)
class Work:
    """Jobs, each once, whatever number of rows asks for it.

    Attributes:
        done: finished in the store already.
        running: another process is at them.
        skipped: cannot be run; they say why.
        left: to be trained, in the order they were given.
    """

    done: Sequence[Job]
    running: Sequence[Job]
    skipped: Sequence[Job]
    left: Sequence[Job]

    @property
    def count(self) -> int:
        """All of them."""
        return len(self.done) + len(self.running) + len(self.skipped) + len(self.left)

    def with_done(self, identities: Collection[str]) -> "Work":
        """The same, but what is left of these is done, too: it is taken over from elsewhere."""
        taken = [job for job in self.left if job.identity in identities]
        return replace(self, done=[*self.done, *taken], left=[job for job in self.left if job not in taken])


def sort_out(jobs: Iterable[Job], records: Iterable[RunRecord]) -> Work:
    """Sort jobs by what the runs of their experiment say.

    Args:
        jobs: of equal identities the first is taken.
        records: runs of the experiment, of any status.
    """
    states: dict[str, set[str]] = {}
    for record in map(as_it_is, records):
        states.setdefault(record.identity, set()).add(record.status)
    once: dict[str, Job] = {}
    for job in jobs:
        once.setdefault(job.identity, job)
    done, running, skipped, left = list[Job](), list[Job](), list[Job](), list[Job]()
    for job in once.values():
        found = states.get(job.identity, set())
        place = skipped if job.skip else done if "FINISHED" in found else running if "RUNNING" in found else left
        place.append(job)
    return Work(done, running, skipped, left)
