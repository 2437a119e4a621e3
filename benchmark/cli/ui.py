"""``landshift ui``: the comparison in the MLflow UI."""

import argparse

from benchmark.cli import options as shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--port", type=int, help="default: 5000, or a free one")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    shared.add_results(parser)


def ui(options: argparse.Namespace) -> int:
    """Run ``landshift ui``: serve the store on the loopback address."""
    from benchmark.tracking import serve

    serve(options.results, options.port, not options.no_browser)
    return 0
