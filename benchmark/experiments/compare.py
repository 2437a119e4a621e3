"""Train what a comparison lacks: the same steps for the command line and for the Python API."""

from collections.abc import Callable, Sequence
from typing import Protocol

from threadpoolctl import threadpool_limits

from benchmark.common.console import FileBar
from benchmark.experiments.jobs import Bench, Job
from benchmark.experiments.labels import control_label, parse_label
from benchmark.experiments.pixels import keep_pixel_scores, pixel_scores
from benchmark.experiments.provenance import Provenance
from benchmark.experiments.request import TunedRows
from benchmark.experiments.session import Session, Work

Tell = Callable[[str], None]
"""Takes a line for the user."""


class Engine(Protocol):
    """An engine: it trains jobs."""

    def check(self, bench: Bench, work: Work) -> None:
        """Refuse what no training could begin with."""

    def provenance(self, bench: Bench) -> Provenance:
        """Return that of the trainings to come."""

    def work(self, session: Session, work: Work) -> int:
        """Train what is left; return the number of failed jobs."""


def train_comparison(
    bench: Bench,
    labels: Sequence[str],
    seeds: Sequence[int],
    folds: Sequence[str],
    engine: Engine,
    tell: Tell,
    *,
    tuned: TunedRows | None = None,
    nested: bool = False,
    mixed: bool = False,
    command: str = "",
) -> tuple[int, str]:
    """Train the jobs of a comparison that are not finished, and publish them.

    Args:
        bench: the protocol with its data.
        labels: methods, with hyperparameters in brackets where they are not the defaults.
        folds: names; all if empty.
        tuned: further rows, whose settings were tuned.
        nested: train the folds inside each fold, too.
        mixed: allow runs of different provenance in one comparison.
        command: command that requests the rows; "" for none.

    Returns:
        the number of failed jobs; and why MLflow has not taken all runs, "" where it has.

    Raises:
        SettingsError, MethodError: an unknown fold, method or hyperparameter.
        TrackingError: finished runs were trained with another version of the code, packages or processor.
    """
    session = Session(bench.plan, bench=bench)
    jobs = bench.jobs(labels, seeds, folds)
    tuned_jobs = _tuned_jobs(bench, tuned, seeds, folds) if tuned else []
    every = [*jobs, *tuned_jobs]
    work = session.work(every)
    engine.check(bench, work)
    if work.left and not mixed:
        session.refuse_mixture(work.done, engine.provenance(bench))
    # Not before all is accepted.
    session.remember(jobs, tuned, tuned_jobs, nested=nested, command=command)
    running = f"{len(work.running)} running elsewhere, " * bool(work.running)
    tell(
        f"{bench.protocol.label} on {bench.catalog.name}: {work.count} runs, {len(work.done)} done before, {running}"
        f"{len(work.skipped)} skipped, {len(work.left)} to do"
    )
    starting = [label for label in labels if parse_label(label).method.needs.starts_from_source]
    if starting and control_label() not in labels:
        tell(f"{control_label()} is run, too: {', '.join(starting)} {'start' if starting[1:] else 'starts'} from it")
    session.add(work.done)
    failed = engine.work(session, work)
    undelivered = session.deliver(every)
    if nested:
        inner = Session(bench.plan, bench=bench, nested=True)
        inside = bench.jobs(labels, seeds, folds, nested=True)
        work = inner.work(inside)
        engine.check(bench, work)
        if work.left and not mixed:
            inner.refuse_mixture(work.done, engine.provenance(bench))
        tell(f"with one source domain held out: {work.count} runs, {len(work.left)} to do")
        inner.add(work.done)
        failed += engine.work(inner, work)
        undelivered = inner.deliver(inside) or undelivered
    return failed, undelivered


def measure_pixels(bench: Bench, folds: Sequence[str], tell: Tell) -> None:
    """Compute the per-pixel baseline of the folds that have none yet, for the report, which has no data."""
    from benchmark.training.pixel_baseline import pixel_miou

    results, facts = Session(bench.plan, bench=bench).results, bench.shared_facts()
    scores = pixel_scores(results, bench.protocol.label, facts)
    if missing := [fold for fold in folds or list(bench.folds) if fold not in scores]:
        tell(f"fitting a classifier of single pixels on {len(missing)} fold{'s' * (len(missing) > 1)}, to compare with")
        mious: dict[str, float] = {}
        with FileBar("fitting") as bar, threadpool_limits(1):  # more threads than free cores wait for each other
            bar(0, len(missing))
            for fold in missing:
                mious[fold] = pixel_miou(bench.fold_data(fold))
                bar(len(mious), len(missing))
        keep_pixel_scores(results, bench.protocol.label, facts, mious)


def _tuned_jobs(bench: Bench, tuned: TunedRows, seeds: Sequence[int], folds: Sequence[str]) -> list[Job]:
    """Return the jobs behind tuned rows, and those that they start from."""
    return [
        job
        for seed in seeds
        for of in tuned.labels.values()
        for fold in folds or list(bench.folds)
        for job in bench.jobs([of[fold]], [seed], [fold])
    ]
