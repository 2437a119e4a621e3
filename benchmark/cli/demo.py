"""``landshift demo``: a comparison on the synthetic world that is short enough to wait for."""

import argparse
import os
import sys
from pathlib import Path

from benchmark.cli import options as shared
from benchmark.cli.run import run

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


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    shared.add_nested(parser)
    shared.add_table(parser)
    shared.add_running(parser)


def demo(options: argparse.Namespace) -> int:
    """Run ``landshift demo``: one fixed ``landshift run`` on the world, short enough to wait for."""
    vars(options).update(DEMO)
    for name, value in DEMO_RECIPE.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    status = run(options)
    where = "" if options.results == Path("results") else f" --results {options.results}"
    print(f"\nOpen the comparison in the MLflow UI:  {_program()} ui{where}")
    return status


def _program() -> str:
    """Return how the command was called, so that what is printed can be pasted."""
    return os.path.relpath(sys.argv[0]) if os.path.dirname(sys.argv[0]) else "landshift"  # noqa: PTH120
