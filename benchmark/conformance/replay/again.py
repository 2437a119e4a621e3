"""Train recorded jobs again, into a results folder of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.common.errors import SettingsError, TrainingError
from benchmark.experiments.jobs import Bench, Job
from benchmark.experiments.results import RunRecord
from benchmark.experiments.session import Ended, Session


def jobs_of(bench: Bench, label: str, fold: str, seed: int, inside: str = "") -> list[Job]:
    """Return the job of a cell, last; before it the source-only job that it starts from, if it does.

    Args:
        label: method with its hyperparameters.
        inside: the outer fold of a fold that lies inside another; "" for none.

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
) -> Mapping[str, RunRecord]:
    """Train jobs in this process; returns their runs by key.

    Args:
        jobs: each after the one that it starts from.
        folder: results folder of these runs.
        on_progress, on_end: see `Session.run`.

    Raises:
        TrainingError: one of them failed.
    """
    session = Session(replace(bench.plan, results=folder), bench=bench)
    errors = []

    def end(ended: Ended) -> None:
        on_end(ended)
        if ended.error:
            errors.append(ended.error)

    session.run(jobs, on_progress, end, publish=False)  # the folder is removed with all that it holds
    if errors:
        raise TrainingError(f"the run cannot be trained again: {errors[0]}")
    return session.results.finished(session.experiment)
