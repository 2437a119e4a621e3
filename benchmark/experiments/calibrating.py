"""The trainings of a calibration: source-only with more and more steps, in an experiment beside the protocol's own."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from benchmark.common.errors import TrackingError
from benchmark.common.texts import markdown, markdown_table
from benchmark.data.classes import short_slug
from benchmark.experiments.calibration import DIGITS, Calibration, Point, calibration_of, rows
from benchmark.experiments.experiment_pages import describe
from benchmark.experiments.jobs import Job
from benchmark.experiments.run_record import RunRecord
from benchmark.experiments.session import Session
from benchmark.tracking import Summary

BESIDE = " (calibration)"
VALUE = "selected/source_val_miou"
CURVE = "calibration/source_val_miou"
ABOUT = "What source-only learns with more steps: mean IoU in percent on source validation, mean over folds and seeds."


def finished(session: Session, jobs: Sequence[Job]) -> list[RunRecord]:
    """Return the finished run of each job that has one."""
    records = session.results.finished(session.experiment)
    return [records[job.identity] for job in jobs if job.identity in records]


def point_of(steps: int, runs: Sequence[RunRecord]) -> Point:
    """Return the point of the curve that finished runs make.

    Args:
        runs: one for each fold and seed, seed after seed.

    Raises:
        TrackingError: a run has no mean IoU on source validation.
    """
    values: dict[str, tuple[float, ...]] = {}
    for run in runs:
        value = run.metrics.get(VALUE, math.nan)
        if math.isnan(value):
            raise TrackingError(f"the run {run.name} has no mean IoU on source validation, so nothing is calibrated")
        values[run.facts["fold"]] = (*values.get(run.facts["fold"], ()), round(value, DIGITS))
    return Point(steps, values)


def publish(session: Session, one: Calibration, calibrations: Sequence[Calibration], file: Path) -> None:
    """Write a calibration into MLflow: its curve as a run, and all curves of the protocol into the experiment's note.

    Args:
        calibrations: all calibrations of the protocol.
        file: file that holds them; the run keeps a copy.
    """
    network = one.recipe["network"]
    values = {name: value for name, value in one.recipe.items() if name != "network"}
    facts = {name: str(value) for name, value in (network | values).items()}
    facts |= {"fingerprint": one.fingerprint, "dataset": one.dataset, "seeds": ", ".join(map(str, one.seeds))}
    curve = {
        point.steps: {CURVE: point.mean}
        | {f"{CURVE}/{short_slug(fold)}": sum(scores) / len(scores) for fold, scores in point.values.items()}
        for point in one.points
    }
    name = f"{_network(one)} · {hashlib.sha256(repr(one.key).encode()).hexdigest()[:8]}"
    metrics = {"calibration/converged_steps": float(one.converged_steps)}
    session.results.summarise(session.experiment, Summary(name, facts, metrics, [file], curve))
    note = "\n\n".join([describe(session.bench.protocol), ABOUT, *map(_section, calibrations)])
    session.results.client.describe(session.experiment, note)


def _section(one: Calibration) -> str:
    """Return the verdict on a curve and its table, as Markdown."""
    header, body = rows(one.points)
    table = markdown_table(header, body)
    steps = one.converged_steps or one.most
    words = calibration_of({**one.recipe, "steps": steps}, one.fingerprint, one.dataset_digest, [one]).words
    return f"**{markdown(_network(one))}**: {words}.\n\n{table}"


def _network(one: Calibration) -> str:
    network = one.recipe["network"]
    return f"{network['architecture']} {network['encoder']}, {one.recipe['batch_size']} × {one.recipe['crop']} px"
