"""Fitting: the loop from the first step to the last, or from where an interrupted one stopped."""

import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.training.fold_data import batches_of
from benchmark.training.losses import LOG_EVERY
from benchmark.training.prediction import Scores
from benchmark.training.savepoints import Savepoints, read
from benchmark.training.trainer import Checkpoint, Stepper, put_back
from methods.base import Method, Needs, Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A finished training: the method with all it holds, the checkpoints in order, and what it cost."""

    method: Method
    checkpoints: list[Checkpoint]
    seconds: float
    images: int

    def load(self, checkpoint: Checkpoint) -> None:
        """Put back what the method held at a checkpoint."""
        put_back(self.method, read(checkpoint.file))


@contextmanager
def fitted(
    stepper: Stepper,
    report: Callable[[float], None] = lambda fraction: None,
    savepoints: Savepoints | None = None,
) -> Iterator[Trained]:
    """Train to the end of the recipe, and keep the checkpoints' files until the block ends.

    While it trains, only the masks of the labelled pool and of ``source_val`` can be read. A method that learns from
    the test stream alone is not trained: its one checkpoint is the source model.

    Args:
        report: takes the share of the steps that is done.
        savepoints: savepoints of this training, which continues from the newest; their folder holds the
            checkpoints, too, and stays until it is removed. Without them an interrupted training is lost.

    Raises:
        TrainingError: a loss is not finite; the message names it and the step.
    """
    with tempfile.TemporaryDirectory(prefix="landshift-") as folder:
        yield _train(stepper, report, savepoints or Savepoints(Path(folder), {}, math.inf))


def _train(stepper: Stepper, report: Callable[[float], None], savepoints: Savepoints) -> Trained:
    recipe, needs = stepper.recipe, stepper.method.needs
    if needs is Needs.TEST_STREAM:
        return Trained(stepper.method, [stepper.checkpoint(0, savepoints.folder)], 0.0, 0)
    due, validations = (_evenly(recipe.steps, count) for count in (recipe.checkpoints, stepper.method.validations))
    first, checkpoints, before = _resumed(stepper, savepoints)
    seconds, started = before, time.perf_counter()
    batches = batches_of(stepper.fabric, stepper.method, stepper.data, recipe, stepper.seed, first)
    for step, (source, target) in enumerate(batches, first):
        stepper.step(source, target, Progress(step, recipe.steps))
        if (step + 1) % LOG_EVERY == 0:
            report((step + 1) / recipe.steps)
        if step + 1 in validations:
            stepper.validate(Progress(step + 1, recipe.steps))
        if step + 1 in due:
            stepper.losses.flush()
            seconds += time.perf_counter() - started
            checkpoints.append(stepper.checkpoint(step + 1, savepoints.folder))
            started = time.perf_counter()
        if savepoints.due:
            seconds += time.perf_counter() - started
            stepper.losses.flush()
            savepoints.save(step + 1, _content(stepper, step + 1, checkpoints, seconds))
            started = time.perf_counter()
    pools = needs.trains_on_labels + needs.trains_on_target
    return Trained(stepper.method, checkpoints, seconds, recipe.steps * recipe.batch_size * pools)


def _evenly(steps: int, count: int) -> set[int]:
    """Return the steps after which something is done so many times, evenly spaced, the last time at the end."""
    return {math.ceil(steps * (k + 1) / count) for k in range(count)}


def _content(stepper: Stepper, step: int, checkpoints: Sequence[Checkpoint], seconds: float) -> dict[str, Any]:
    """Return what a training continues from after a step."""
    return {
        "step": step,
        "seconds": seconds,
        "state": stepper.state(),
        "curves": stepper.curves,
        "files": [checkpoint.file.name for checkpoint in checkpoints],
        "checkpoints": [
            {
                "step": checkpoint.step,
                "loss": checkpoint.source_val.loss,
                "temperature": checkpoint.source_val.temperature,
                "confusions": {zone: torch.from_numpy(m) for zone, m in checkpoint.source_val.confusions.items()},
            }
            for checkpoint in checkpoints
        ],
    }


def _resumed(stepper: Stepper, savepoints: Savepoints) -> tuple[int, list[Checkpoint], float]:
    """Return steps, checkpoints and seconds of the newest savepoint, whose state the stepper has from here on."""
    content = savepoints.newest()
    if content is None:
        return 0, [], 0.0
    logger.warning("%s goes on after step %d of %d", savepoints.name, content["step"], stepper.recipe.steps)
    stepper.load(content["state"])
    for step, metrics in content["curves"]:
        stepper.log(metrics, step)
    checkpoints = [
        Checkpoint(
            checkpoint["step"],
            Scores(
                {zone: matrix.numpy() for zone, matrix in checkpoint["confusions"].items()},
                checkpoint["loss"],
                temperature=checkpoint["temperature"],
            ),
            savepoints.folder / file,
        )
        for checkpoint, file in zip(content["checkpoints"], content["files"], strict=True)
    ]
    return content["step"], checkpoints, content["seconds"]
