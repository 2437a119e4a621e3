"""Run ``landshift bench``: print ratios measured side by side."""

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the table there (Markdown)")
    parser.add_argument("--methods", type=Path, metavar="FILE", help="instead: what a step of each method costs (JSON)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each measurement (default: 20)")


def bench(options: argparse.Namespace) -> int:
    """Run ``landshift bench``: print ratios measured side by side."""
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
