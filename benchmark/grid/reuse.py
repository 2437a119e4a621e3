"""Runs taken over: a trial of a tuning may be a run of the comparison as well, and the other way round.

Each experiment has runs of its own, so that the one can be read, published or deleted without the other. A run that is
the same to the last setting is copied there instead of trained.
"""

from benchmark.grid.jobs import Job
from benchmark.grid.records import CHANGED_NETWORK
from benchmark.provenance import Provenance
from benchmark.tracking import Run, RunRecord, Tracker, sizes_of

COPIED = "landshift.copy_of"  # tag of a run, with the id of the one that was trained
KEPT = ("device", CHANGED_NETWORK)  # tags that tell how it was trained


def twin_of(tracker: Tracker, experiment: str, job: Job, here: Provenance) -> RunRecord | None:
    """Return a finished run of the same identity and provenance in another experiment of the store."""
    for other in tracker.experiments().values():
        for record in tracker.cells(other, job.identity) if other != experiment else ():
            if record.status == "FINISHED" and here.matches(Provenance.of(record.facts, record.tags)):
                return record
    return None


def take_over(tracker: Tracker, run: Run, twin: RunRecord) -> None:
    """Write into a run all that its twin logged: every point of every curve, and every file."""
    for name in sorted(twin.metrics):
        for step, value in tracker.history(twin.id, name):
            run.log({name: value}, step)
    for name in sorted(sizes_of(twin.artifacts)):
        run.artifact(twin.artifacts / name, name.rpartition("/")[0])
    for name in KEPT:
        if name in twin.tags:
            run.tag(name, twin.tags[name])
    run.tag(COPIED, twin.id)
