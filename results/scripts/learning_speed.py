"""Compare small training configs at equal processor time: what does a second of one core teach?

    python results/scripts/learning_speed.py --output results/published/learning-speed.md

Each config trains source-only and the oracle on the held-out time 2021 of the synthetic world for the same CPU seconds,
which the length of its step, measured side by side with all others before, turns into a number of steps.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from benchmark.data.synthetic import World, generate
from benchmark.experiments.jobs import Bench, ExperimentPlan
from benchmark.models.segmentation import NetworkSettings
from benchmark.training.config import PRESETS, TrainingConfig
from benchmark.training.devices import make_fabric
from benchmark.training.fold_data import FoldData, batches_of
from benchmark.training.prediction import miou
from benchmark.training.trainer import Stepper, evaluate_part
from methods.base import Method, Progress
from methods.oracle import Oracle
from methods.source_only import SourceOnly

FOLD = "2021"
BLOCK = 20  # steps that are timed at once
ROUNDS = 4
UNET = NetworkSettings("unet", "tu-test_resnet", encoder_depth=3, decoder_channels=(32, 16, 16))
OLD = TrainingConfig(network=UNET, batch_size=16, crop=32, learning_rate=3e-3, schedule="poly")
LIGHT = PRESETS["tiny"]
CONFIGS: dict[str, TrainingConfig] = {
    "U-Net, polynomial schedule to 3e-3": OLD,
    "the same, 64-pixel crops, batch 8": replace(OLD, crop=64, batch_size=8),
    "U-Net, one-cycle to 1e-2": replace(OLD, learning_rate=1e-2, schedule="one-cycle"),
    "light FPN, polynomial schedule to 3e-3": replace(LIGHT, learning_rate=3e-3, schedule="poly"),
    "light FPN, one-cycle to 1e-2, 64-pixel crops, batch 8": replace(LIGHT, crop=64, batch_size=8),
    "the same in bf16": replace(LIGHT, crop=64, batch_size=8, precision="bf16-mixed"),
    "light FPN, one-cycle to 1e-2 (the preset `tiny`)": LIGHT,
    "the preset in bf16": replace(LIGHT, precision="bf16-mixed"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of CPU time a training (default: 20)")
    parser.add_argument("--seeds", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--data", type=Path, default=Path("data/world"), help="the world; made where it is missing")
    parser.add_argument("--output", type=Path, help="also write the table there (Markdown)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    if not (options.data / "world.json").is_file():
        generate(World(), options.data)
    data = Bench(
        ExperimentPlan("world-leave-times-out", options.data, Path("results"), Path(".landshift/stores"), LIGHT)
    ).fold_data(FOLD)
    seconds = step_seconds(data)
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in CONFIGS}
    for seed in range(options.seeds):
        for name, recipe in CONFIGS.items():
            budget = replace(recipe, steps=round(options.seconds / seconds[name]))
            source_val = train_and_score(data, SourceOnly, budget, seed, "source_val")
            results[name].append((source_val, train_and_score(data, Oracle, budget, seed, "target_test")))
            print(
                f"{name}, seed {seed}: {budget.steps} steps, source validation and oracle {results[name][-1]}",
                file=sys.stderr,
            )
    table = markdown(results, seconds, options.seconds)
    print(table)
    if options.output:
        options.output.write_text(table + "\n", encoding="utf-8")


def step_seconds(data: FoldData) -> dict[str, float]:
    """CPU seconds of a step of source-only under each config: the median of blocks in turns."""
    steppers = {name: make_stepper(data, SourceOnly, recipe, 0) for name, recipe in CONFIGS.items()}
    times: dict[str, list[float]] = {name: [] for name in CONFIGS}
    for turn in range(ROUNDS + 1):
        for name, stepper in steppers.items():
            started = time.process_time()
            run_steps(stepper, BLOCK)
            if turn:  # the first block warms caches up
                times[name].append((time.process_time() - started) / BLOCK)
    return {name: statistics.median(values) for name, values in times.items()}


def train_and_score(data: FoldData, method: type[Method], recipe: TrainingConfig, seed: int, part: str) -> float:
    """Mean IoU in percent on a part after all steps."""
    stepper = make_stepper(data, method, recipe, seed)
    run_steps(stepper, recipe.steps)
    return 100 * miou(evaluate_part(stepper.fabric, stepper.method, data, part).total())


def make_stepper(data: FoldData, method: type[Method], recipe: TrainingConfig, seed: int) -> Stepper:
    log: Callable[[dict[str, float], int], None] = lambda metrics, step: None  # noqa: E731
    return Stepper(make_fabric("cpu", 1, recipe.precision), method, None, data, recipe, seed, log)


def run_steps(stepper: Stepper, steps: int) -> None:
    recipe = replace(stepper.recipe, steps=steps)
    for step, (source, target) in enumerate(
        batches_of(stepper.fabric, stepper.method, stepper.data, recipe, stepper.seed)
    ):
        stepper.step(source, target, Progress(step, steps))


def markdown(results: dict[str, list[tuple[float, float]]], seconds: dict[str, float], budget: float) -> str:
    """One row a config: mean over seeds, and the lowest and highest."""
    first = seconds[next(iter(CONFIGS))]
    lines = ["| config | steps | step time | source validation | oracle's target |", "|---|--:|--:|--:|--:|"]
    for name, values in results.items():
        cells = [
            f"{statistics.mean(column):.1f} ({min(column):.1f} to {max(column):.1f})"
            for column in zip(*values, strict=True)
        ]
        lines.append(f"| {name} | {budget / seconds[name]:,.0f} | {seconds[name] / first:.2f} | {' | '.join(cells)} |")
    seeds = len(next(iter(results.values())))
    about = (
        f"{budget:g} CPU seconds of one thread a training, fold {FOLD} of world-leave-times-out, {seeds} seeds: mean "
        "(lowest to highest) of the mean IoU in percent after the last step; step time over that of the first row. "
        "32-pixel crops and batches of 16, where the name says nothing else. "
        f"torch {torch.__version__}, {platform.machine()}."
    )
    return "\n".join([*lines, "", about])


if __name__ == "__main__":
    main()
