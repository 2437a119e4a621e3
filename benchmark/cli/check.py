"""``landshift check``: whether a method keeps the contract, before hours are spent on it."""

import argparse
import tempfile
from pathlib import Path

from benchmark.models.settings import SERIES


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("method", nargs="*", help="as for run: name, name[...], package.module:Class (default: all)")
    parser.add_argument("--series", choices=SERIES[1:], default="", help="check with a network that sees series, too")
    parser.add_argument("--frozen", action="store_true", help="check with a frozen encoder")


def check(options: argparse.Namespace) -> int:
    """Print a table a method; return 1 where a check fails."""
    import torch

    from benchmark.common.console import FileBar, print_rows
    from benchmark.conformance import Fixtures, check_method, recipe_with
    from benchmark.experiments.labels import control_label, parse_label
    from benchmark.experiments.listing import reason_to_skip
    from methods.registry import available, broken, find

    torch.set_num_threads(1)  # sums in another order are other bits
    failed = 0
    for name, why in broken().items() if not options.method else ():
        print(f"{name}: {why}\n")
        failed += 1
    parsed = {label: parse_label(label) for label in options.method or available()}
    with tempfile.TemporaryDirectory(prefix="landshift-check-") as folder:
        fixtures = Fixtures(Path(folder), find(control_label()), recipe_with(options.series, options.frozen))
        for label, setting in parsed.items():
            method = setting.method
            if reason := reason_to_skip(method, fixtures.recipe.network, adapt=True, few=True, masks=True):
                print(f"{label}: {reason}\n")
                continue
            with FileBar(f"checking {label}") as bar:
                results = check_method(method, setting.hyperparameters, fixtures, bar)
            print(f"{label} (sees {method.needs.value})")
            rows = [(result.check, result.status, result.why) for result in results]
            print_rows(("check", "", "why, or what was measured"), rows, texts=True)
            wrong = [result.check for result in results if result.status == "fail"]
            failed += len(wrong)
            count = f"{len(wrong)} checks fail" if wrong[1:] else "1 check fails"
            print(f"{label}: {f'{count}: ' + ', '.join(wrong) if wrong else 'keeps the contract'}\n")
    return 1 if failed else 0
