"""Training recorded jobs again, into a store of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.errors import SettingsError, TrainingError
from benchmark.grid.jobs import Bench, Job
from benchmark.grid.pool import Ended
from benchmark.grid.session import Session
from benchmark.tracking import RunRecord, Tracker


@dataclass(frozen=True)
class Again:
    """Jobs trained again: their runs by identity, and the store they are in."""

    tracker: Tracker
    runs: Mapping[str, RunRecord]


def jobs_of(bench: Bench, label: str, fold: str, seed: int, inside: str = "") -> list[Job]:
    """The job of a cell, last; before it the source-only job that it starts from, if it does.

    Args:
        inside: of a fold inside a fold, the outer one.

    Raises:
        SettingsError: the job cannot be run here.
    """
    jobs = [job for job in bench.jobs([label], [seed], [inside or fold], nested=bool(inside)) if job.fold == fold]
    if not jobs or jobs[-1].skip:
        raise SettingsError(f"{label} cannot be run on {fold}: {jobs[-1].skip if jobs else 'there is no such fold'}")
    return jobs


def retrain(
    bench: Bench,
    jobs: Sequence[Job],
    folder: Path,
    on_progress: Callable[[Job, float], None],
    on_end: Callable[[Ended], None],
) -> Again:
    """Train jobs in this process.

    Args:
        jobs: each after the one that it starts from.
        folder: takes the store.
        on_progress, on_end: see `benchmark.grid.pool.run_all`.

    Raises:
        TrainingError: one of them failed.
    """
    session = Session(replace(bench.plan, results=folder), bench=bench)
    errors = []

    def end(ended: Ended) -> None:
        on_end(ended)
        if ended.error:
            errors.append(ended.error)

    session.run(jobs, 1, on_progress, end)
    if errors:
        raise TrainingError(f"the run cannot be trained again: {errors[0]}")
    return Again(session.tracker, session.tracker.finished(session.experiment))
