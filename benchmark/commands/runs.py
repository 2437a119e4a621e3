"""The commands that train, compare and measure."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from benchmark.commands.engines import make_engine
from benchmark.commands.report import report
from benchmark.commands.settings import open_bench
from benchmark.errors import SettingsError

DEMO = {
    "protocol": "world-leave-times-out",
    "seeds": (0,),
    "folds": (),
    "data": None,
    "partial": False,
    # The papers' discriminator is thirty times the size of the tiny network, and would take most of the demo's time.
    "tuned": "",
    "engine": "local",
    "profile": None,
    "detach": False,
    "no_wait": False,
    "runs_per_device": None,
    "method": [
        "source-only",
        "entropy-minimization",
        "adversarial-alignment[width=16]",
        "style-randomization",
        "oracle",
    ],
}
DEMO_RECIPE = {"recipe_steps": 800, "recipe_checkpoints": 2}  # enough for each mechanism to show; not converged


def demo(options: argparse.Namespace) -> int:
    """``landshift demo``: one fixed ``landshift run`` on the world, short enough to wait for."""
    vars(options).update(DEMO)
    for name, value in DEMO_RECIPE.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    status = run(options)
    where = "" if options.results == Path("results") else f" --results {options.results}"
    print(f"\nOpen the comparison in the MLflow UI:  {_program()} ui{where}")
    return status


def run(options: argparse.Namespace) -> int:
    """``landshift run``: train what is not yet there, then print the comparison."""
    if options.tuned and options.leave_one_source_domain_out:
        raise SettingsError("--tuned and --leave-one-source-domain-out do not go together")
    engine = make_engine(options)  # a wrong profile is told at once, and workers import beside what is imported here
    from benchmark.experiments.asked import key_of
    from benchmark.experiments.labels import control_label, parse_label
    from benchmark.experiments.session import Session
    from methods.registry import available, broken

    every = [] if options.tuned else list(available())
    labels = options.method or every
    for name, why in broken().items() if labels is every else ():
        print(f"left out: the method {name}: {why}", file=sys.stderr)
    needs = {label: parse_label(label).method.needs for label in labels}  # a misspelt name is told before data are read
    opened = open_bench(options)
    session = Session(opened.plan, bench=opened)
    jobs = session.bench.jobs(labels, options.seeds, options.folds)
    tuned = _tuned(session, options.tuned, options.mixed) if options.tuned else None
    tuned_jobs = _tuned_jobs(session.bench, tuned, options) if tuned else []
    work_of = [*jobs, *tuned_jobs]
    work = session.work(work_of)
    engine.check(session.bench, work)
    if work.left and not options.mixed:
        session.refuse_mixture(work.done, engine.provenance(session.bench))
    # Not before all is accepted.
    session.remember(jobs, tuned, tuned_jobs, nested=options.leave_one_source_domain_out, command=options.command_line)
    elsewhere = f"{len(work.running)} running elsewhere, " * bool(work.running)
    print(
        f"{session.bench.protocol.label} on {session.bench.catalog.name}: {work.count} runs, "
        f"{len(work.done)} done before, {elsewhere}{len(work.skipped)} skipped, {len(work.left)} to do"
    )
    if starting := [label for label in labels if needs[label].starts_from_source and control_label() not in labels]:
        print(f"{control_label()} is run, too: {', '.join(starting)} {'start' if starting[1:] else 'starts'} from it")
    session.add(work.done)
    failed = engine.work(session, work)
    undelivered = session.deliver(work_of)
    if options.leave_one_source_domain_out:
        inner = Session(session.plan, bench=session.bench, nested=True)
        jobs = inner.bench.jobs(labels, options.seeds, options.folds, nested=True)
        inside = inner.work(jobs)
        engine.check(inner.bench, inside)
        if inside.left and not options.mixed:
            inner.refuse_mixture(inside.done, engine.provenance(inner.bench))
        print(f"with one source domain held out: {inside.count} runs, {len(inside.left)} to do")
        inner.add(inside.done)
        failed += engine.work(inner, inside)
        undelivered = inner.deliver(jobs) or undelivered
    if options.detach:
        return 0
    if undelivered:
        print(undelivered, file=sys.stderr)
    _measure_pixels(session, sorted({job.fold for job in work_of}))
    options.output, options.comparison = None, key_of(session.bench, tuned)
    report(options)
    return 1 if failed else 0


def _measure_pixels(session: Any, folds: list[str]) -> None:
    """Compute the per-pixel baseline of the folds that have none yet, for the report, which has no data."""
    from benchmark.experiments.pixels import keep_pixel_scores, pixel_scores
    from benchmark.pixel_baseline import pixel_miou

    facts = session.bench.shared_facts()
    scores = pixel_scores(session.results, session.experiment, facts)
    if missing := [fold for fold in folds if fold not in scores]:
        print(f"fitting the per-pixel baseline of {len(missing)} fold{'s' * (len(missing) > 1)}", flush=True)
        found = {fold: pixel_miou(session.bench.fold_data(fold)) for fold in missing}
        keep_pixel_scores(session.results, session.experiment, facts, found)


def _tuned(session: Any, key: str, mixed: bool) -> Any:
    """The rows that a tuning gives."""
    from benchmark.experiments.asked import TunedRows
    from benchmark.experiments.invocation import tuning_arguments
    from benchmark.tuning.results import chosen_settings, row_name

    tuning, settings = chosen_settings(session.results, session.bench, key, mixed=mixed)
    print(f"hyperparameters: {tuning.words}")
    rows = {row_name(method, tuning): of for method, of in settings.items()}
    return TunedRows(key, tuning.words, rows, tuning_arguments(tuning, list(settings)))


def _tuned_jobs(bench: Any, tuned: Any, options: argparse.Namespace) -> list[Any]:
    """The jobs behind those rows, and those that they start from."""
    folds = options.folds or tuple(bench.folds)
    return [
        job
        for seed in options.seeds
        for of in tuned.labels.values()
        for fold in folds
        for job in bench.jobs([of[fold]], [seed], [fold])
    ]


def ui(options: argparse.Namespace) -> int:
    """``landshift ui``: serve the store on the loopback address."""
    from benchmark.tracking import serve

    serve(options.results, options.port, not options.no_browser)
    return 0


def bench(options: argparse.Namespace) -> int:
    """``landshift bench``: ratios measured side by side."""
    if options.methods:
        return _bench_methods(options.methods)
    from benchmark.bench import measure

    table = measure(options.seconds)
    print(table)
    if options.output:
        options.output.write_text(table + "\n", encoding="utf-8")
    return 0


def _bench_methods(output: Path) -> int:
    from benchmark.costs import write_costs
    from benchmark.experiments.labels import control_label
    from benchmark.method_costs import measure_methods
    from benchmark.terminal import FileBar, print_rows
    from methods.registry import available, find

    with FileBar("measuring methods") as bar:
        costs = measure_methods(available(), find(control_label()), progress=bar)
    write_costs(output, costs)
    print_rows(
        ("method", "time of a step", "activations"),
        [(name, f"{cost.time:.2f}", f"{cost.activations:.2f}") for name, cost in costs.items()],
    )
    print(f"over source-only's, on U-Net with ResNet-34; written to {output}")
    return 0


def _program() -> str:
    """How the command was called, so that what is printed can be pasted."""
    return os.path.relpath(sys.argv[0]) if os.path.dirname(sys.argv[0]) else "landshift"  # noqa: PTH120
