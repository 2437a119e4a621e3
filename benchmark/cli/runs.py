"""The commands that train, compare and measure."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from benchmark.cli.engines import make_engine
from benchmark.cli.report import report
from benchmark.cli.settings import open_bench
from benchmark.common.errors import SettingsError

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
    from benchmark.experiments.compare import measure_pixels, train_comparison
    from benchmark.experiments.labels import parse_label
    from benchmark.experiments.request import key_of
    from methods.registry import available, broken

    every = [] if options.tuned else list(available())
    labels = options.method or every
    for name, why in broken().items() if labels is every else ():
        print(f"left out: the method {name}: {why}", file=sys.stderr)
    for label in labels:
        parse_label(label)  # a misspelt name is told before data are read
    bench = open_bench(options)
    tuned = _tuned(bench, options.tuned, options.mixed) if options.tuned else None
    failed, undelivered = train_comparison(
        bench,
        labels,
        options.seeds,
        options.folds,
        engine,
        print,
        tuned=tuned,
        nested=options.leave_one_source_domain_out,
        mixed=options.mixed,
        command=options.command_line,
    )
    if options.detach:
        return 0
    if undelivered:
        print(undelivered, file=sys.stderr)
    measure_pixels(bench, options.folds, print)
    options.output, options.comparison = None, key_of(bench, tuned)
    report(options)
    return 1 if failed else 0


def _tuned(bench: Any, key: str, mixed: bool) -> Any:
    """Return the rows that a tuning gives."""
    from benchmark.experiments.invocation import tuning_arguments
    from benchmark.experiments.request import TunedRows
    from benchmark.experiments.results import ResultsFolder
    from benchmark.tuning.results import chosen_settings, row_name

    tuning, settings = chosen_settings(ResultsFolder(bench.plan.results), bench, key, mixed=mixed)
    print(f"hyperparameters: {tuning.words}")
    rows = {row_name(method, tuning): of for method, of in settings.items()}
    return TunedRows(key, tuning.words, rows, tuning_arguments(tuning, list(settings)))


def ui(options: argparse.Namespace) -> int:
    """``landshift ui``: serve the store on the loopback address."""
    from benchmark.tracking import serve

    serve(options.results, options.port, not options.no_browser)
    return 0


def bench(options: argparse.Namespace) -> int:
    """``landshift bench``: ratios measured side by side."""
    if options.methods:
        return _bench_methods(options.methods)
    from benchmark.conformance.speed import measure

    table = measure(options.seconds)
    print(table)
    if options.output:
        options.output.write_text(table + "\n", encoding="utf-8")
    return 0


def _bench_methods(output: Path) -> int:
    from benchmark.common.console import FileBar, print_rows
    from benchmark.conformance.costs import write_costs
    from benchmark.conformance.method_costs import measure_methods
    from benchmark.experiments.labels import control_label
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
