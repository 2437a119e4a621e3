"""Run ``landshift run``: train methods on every fold of a protocol, and compare."""

import argparse
import sys
from typing import Any

from benchmark.cli import engines
from benchmark.cli import options as shared
from benchmark.cli.report import report
from benchmark.cli.settings import open_bench
from benchmark.common.errors import SettingsError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    shared.add_protocol(parser)
    shared.add_grid(parser)
    parser.add_argument(
        "--tuned",
        default="",
        metavar="KEY",
        help="compare methods as `landshift tune` found them; --method then names others to compare with",
    )
    shared.add_nested(parser)
    shared.add_table(parser)
    engines.add_options(parser)
    shared.add_running(parser)


def run(options: argparse.Namespace) -> int:
    """Run ``landshift run``: train what is not yet there, then print the comparison."""
    if options.tuned and options.leave_one_source_domain_out:
        raise SettingsError("--tuned and --leave-one-source-domain-out do not go together")
    # Before the imports: a wrong profile fails at once, and workers import at the same time.
    engine = engines.make_engine(options)
    from benchmark.experiments.compare import measure_pixels, train_comparison
    from benchmark.experiments.labels import parse_label
    from benchmark.experiments.request import key_of
    from methods.registry import available, broken

    every = [] if options.tuned else list(available())
    labels = options.method or every
    for name, why in broken().items() if labels is every else ():
        print(f"left out: the method {name}: {why}", file=sys.stderr)
    for label in labels:
        parse_label(label)  # fails on a misspelt name before data are read
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
