"""The commands that train, compare and measure."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from benchmark.commands import world
from benchmark.commands.report import report

# The changes to a preset that the command line offers, with type and help; a test holds them equal to the recipe's.
RECIPE_OPTIONS: dict[str, tuple[type, str]] = {
    "architecture": (str, "segmentation-models-pytorch's: unet, unetplusplus, fpn, deeplabv3plus, segformer ..."),
    "encoder": (str, "one of smp (resnet34) or, behind tu-, of timm (tu-convnext_tiny)"),
    "encoder_weights": (str, "none, a name the encoder knows (imagenet), or a file (.pth, .pt, .safetensors)"),
    "encoder_depth": (int, "stages of the encoder"),
    "steps": (int, "optimiser steps"),
    "batch_size": (int, "labelled patches a step"),
    "crop": (int, "side of the square cut from each training patch, pixels; 0: the whole patch"),
    "turn": (bool, "flip training patches and turn them by right angles: true or false"),
    "optimizer": (str, "adamw or sgd"),
    "learning_rate": (float, "at the start"),
    "weight_decay": (float, "of the optimiser"),
    "momentum": (float, "of sgd"),
    "schedule": (str, "constant, poly or plateau"),
    "checkpoints": (int, "how often weights are kept and scored on source validation"),
    "precision": (str, "Lightning Fabric's: 32-true, bf16-mixed, 16-mixed ..."),
}
DEMO = {
    "protocol": "world-leave-times-out",
    "seeds": (0, 1),
    "folds": (),
    "data": None,
    "partial": False,
    # The papers' discriminator is thirty times the size of the tiny network, and would take most of the demo's time.
    "method": [
        "source-only",
        "entropy-minimization",
        "adversarial-alignment[width=16]",
        "style-randomization",
        "oracle",
    ],
}
DEMO_RECIPE = {"recipe_steps": 80, "recipe_checkpoints": 2}  # the published comparison takes 200 steps


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
    from benchmark.grid.jobs import control_label, parse_label
    from benchmark.grid.pool import warm_up
    from benchmark.grid.session import Session
    from benchmark.terminal import FileBar
    from methods.registry import available, broken

    plan = _plan(options)
    labels = options.method or list(available())
    for name, why in broken().items() if not options.method else ():
        print(f"left out: the method {name}: {why}", file=sys.stderr)
    needs = {label: parse_label(label)[0].needs for label in labels}  # a misspelt name is told before data are read
    workers = options.workers or _default_workers(options.accelerator)
    if workers > 1:
        warm_up()
    world.prepare(options)
    with FileBar("decoding files") as decoding:
        session = Session(plan, decoding)
    jobs = session.bench.jobs(labels, options.seeds, options.folds)
    session.remember(jobs)
    left = session.left(jobs)
    skipped = sum(bool(job.skip) for job in jobs)
    print(
        f"{session.bench.protocol.label} on {session.bench.catalog.name}: {len(jobs)} runs, "
        f"{len(jobs) - len(left) - skipped} done before, {skipped} skipped, {len(left)} to do"
    )
    if starting := [label for label in labels if needs[label].starts_from_source and control_label() not in labels]:
        print(f"{control_label()} is run, too: {', '.join(starting)} {'start' if starting[1:] else 'starts'} from it")
    failed = _work(session, left, workers)
    if options.leave_one_source_domain_out:
        inner = Session(plan, bench=session.bench, nested=True)
        jobs = inner.bench.jobs(labels, options.seeds, options.folds, nested=True)
        left = inner.left(jobs)
        print(f"with one source domain held out: {len(jobs)} runs, {len(left)} to do")
        failed += _work(inner, left, workers)
    options.output, options.comparison = None, session.bench.comparison
    report(options)
    return 1 if failed else 0


def _work(session: Any, jobs: Any, workers: int) -> int:
    """Run jobs under a bar; the number of those that failed."""
    from benchmark.terminal import RunBar

    if not jobs:
        return 0
    session.bench.check_settings()
    with RunBar(len(jobs)) as bar:
        session.run(jobs, workers, bar.advance, bar.end)
    return bar.failed


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
    from benchmark.grid.jobs import control_label
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


def _plan(options: argparse.Namespace) -> Any:
    from benchmark.grid.jobs import Plan
    from benchmark.recipe import make_recipe

    changes = {name: getattr(options, f"recipe_{name}") for name in RECIPE_OPTIONS}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes.get("encoder_weights") == "none":
        changes["encoder_weights"] = ""
    recipe = make_recipe(options.preset, changes)
    return Plan(
        options.protocol,
        options.data,
        options.results,
        options.stores,
        recipe,
        options.accelerator,
        options.devices,
        options.partial,
    )


def _default_workers(accelerator: str) -> int:
    """One process a core; on an accelerator one, since several might not fit into its memory."""
    import torch

    if accelerator != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available()):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _program() -> str:
    """How the command was called, so that what is printed can be pasted."""
    return os.path.relpath(sys.argv[0]) if os.path.dirname(sys.argv[0]) else "landshift"  # noqa: PTH120
