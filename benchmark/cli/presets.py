"""``landshift presets``: the named trainings, and what each value of them means."""

import argparse

from benchmark.cli.options import RECIPE_OPTIONS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command: it has none."""


def presets(options: argparse.Namespace) -> int:
    """Print one row a value that can be changed, one column a preset."""
    from benchmark.common.console import print_rows
    from benchmark.training.config import PRESETS

    rows = []
    for name, (_, text) in RECIPE_OPTIONS.items():
        values = [getattr(recipe.network, name, getattr(recipe, name, "")) for recipe in PRESETS.values()]
        rows.append([f"--{name.replace('_', '-')}", *(str(value) if value != "" else "none" for value in values), text])
    print_rows(("option", *PRESETS, "is"), rows, texts=True)
    return 0
