"""From the options of the commands that train to a plan, its open data and its workers."""

import argparse
import os
from typing import Any

from benchmark.cli import world
from benchmark.cli.options import RECIPE_OPTIONS


def check_names(options: argparse.Namespace) -> None:
    """Check the names of a protocol and of methods before anything heavy is imported.

    Raises:
        ProtocolError, MethodError: there is none of this name; the message says what there is.
    """
    labels = getattr(options, "method", None)
    if labels and isinstance(labels, list):
        from methods.names import check_name

        for label in labels:
            check_name(label)
    if hasattr(options, "recipe_steps") and hasattr(options, "protocol"):
        from protocols.files import load

        load(options.protocol, partial=bool(options.partial))


def make_plan(options: argparse.Namespace) -> Any:
    """Return the plan that the options describe."""
    from benchmark.experiments.jobs import ExperimentPlan
    from benchmark.training.config import make_recipe

    changes = {name: getattr(options, f"recipe_{name}") for name in RECIPE_OPTIONS}
    changes = {name: value for name, value in changes.items() if value is not None}
    changes |= {name: "" for name in ("encoder_weights", "series") if changes.get(name) == "none"}
    recipe = make_recipe(options.preset, changes)
    return ExperimentPlan(
        options.protocol,
        options.data,
        options.results,
        options.stores,
        recipe,
        options.accelerator,
        options.partial,
        options.save_every,
    )


def open_bench(options: argparse.Namespace) -> Any:
    """Return the plan with its data open; a missing synthetic world is made first."""
    from benchmark.common.console import FileBar
    from benchmark.experiments.jobs import Bench

    plan = make_plan(options)
    world.prepare(options)
    with FileBar("decoding files") as decoding:
        return Bench(plan, decoding)


def number_of_workers(options: argparse.Namespace) -> int:
    """Return the number of workers: as given, or the usual one; on an accelerator one, since several might not fit.

    Several workers' imports begin at once, while the caller goes on, unless nothing seems to be left for them.
    """
    from benchmark.experiments.fork_server import start_server

    workers = options.workers or usual_workers(options)
    if workers > 1 and not _seems_done(options):
        start_server()
    return workers


def usual_workers(options: argparse.Namespace) -> int:
    """Return the number of workers where none is given: one a core; on an accelerator one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if options.accelerator != "cpu" and _accelerated() else cores


def _seems_done(options: argparse.Namespace) -> bool:
    """Return whether the same command was given before, and every job of its results folder is done."""
    if not (options.results / "jobs.db").is_file():  # another database may take longer to ask
        return False
    from benchmark.experiments.queue import DONE
    from benchmark.experiments.request import PREFIX
    from benchmark.experiments.results import ResultsFolder
    from protocols.files import load

    results = ResultsFolder(options.results)
    requests = results.database.documents(load(options.protocol, partial=options.partial).label, PREFIX)
    commands = {call[1] for content in requests.values() for call in content.get("calls", ())}
    return options.command_line in commands and {state for state, _ in results.queue.states().values()} <= {DONE}


def _accelerated() -> bool:
    import torch

    return bool(torch.cuda.is_available() or torch.backends.mps.is_available())
