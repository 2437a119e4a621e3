"""Training: one run fits one method on one fold. The loop every method shares."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data.batches import Batches, ahead
from benchmark.data.store import Store
from benchmark.errors import TrainingError
from benchmark.evaluation import Scores, evaluate, named_metrics
from benchmark.network import build_network
from benchmark.recipe import Recipe
from methods.base import Method, Needs, Progress, SourceBatch, TargetBatch, Task
from methods.parts.metadata import Metadata
from methods.parts.randomness import address

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # half of the import time of a command that only looks

LOG_EVERY = 20  # steps; losses wait on the device until then, so that no step waits for a transfer

Log = Callable[[dict[str, float], int], None]
"""Takes metrics and their step."""


@dataclass(frozen=True)
class Part:
    """One part of a fold, as rows of a store.

    Attributes:
        rows: (n,) rows of the store.
        domains: (n,) domain name of each.
        zones: (n,) zone name of each.
        metadata: (n,) of each.
    """

    rows: np.ndarray
    domains: np.ndarray
    zones: np.ndarray
    metadata: Metadata


@dataclass(frozen=True)
class FoldData:
    """A fold over a store: the four parts by name, and what there is to learn."""

    store: Store
    parts: dict[str, Part]
    task: Task


@dataclass(frozen=True)
class Checkpoint:
    """Weights after some steps: the scores on source validation, and the file that holds the weights."""

    step: int
    source_val: Scores
    file: Path


@dataclass(frozen=True)
class Trained:
    """A finished training: the method with its network, the checkpoints in order, and what it cost."""

    method: Method
    network: nn.Module
    checkpoints: list[Checkpoint]
    seconds: float
    images: int

    def load(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's weights back into the network."""
        self.network.load_state_dict(torch.load(checkpoint.file, weights_only=True))


def evaluate_part(fabric: "Fabric", method: Method, data: FoldData, part: str) -> Scores:
    """Score the method's prediction on one labelled part of the fold."""
    rows = data.parts[part]
    labels = data.store.labels_of(rows.rows)
    method.network.eval()
    scores = evaluate(fabric, method.predict, data.store, rows.rows, labels, rows.zones, len(data.task.classes))
    method.network.train()
    return scores


@contextmanager
def fitted(stepper: "Stepper", report: Callable[[float], None] = lambda fraction: None) -> Iterator[Trained]:
    """Train to the end of the recipe, and keep the checkpoints' files until the block ends.

    While it trains, only the masks of the labelled pool and of ``source_val`` can be read.

    Args:
        report: takes the share of the steps that is done.

    Raises:
        TrainingError: a loss is not finite; the message names it and the step.
    """
    with tempfile.TemporaryDirectory(prefix="landshift-") as folder:
        shared = Path(stepper.fabric.broadcast(folder))  # of several processes, the first one's
        yield _train(stepper, report, shared)


def _train(stepper: "Stepper", report: Callable[[float], None], folder: Path) -> Trained:
    fabric, recipe, data, needs = stepper.fabric, stepper.recipe, stepper.data, stepper.method.needs
    due = {math.ceil(recipe.steps * (k + 1) / recipe.checkpoints) for k in range(recipe.checkpoints)}
    checkpoints: list[Checkpoint] = []
    seconds, started = 0.0, time.perf_counter()
    for step, (source, target) in enumerate(_pools(fabric, needs, data, recipe, stepper.seed)):
        stepper.step(source, target, Progress(step, recipe.steps))
        if (step + 1) % LOG_EVERY == 0:
            report((step + 1) / recipe.steps)
        if step + 1 in due:
            stepper.losses.flush()
            seconds += time.perf_counter() - started
            scores = evaluate_part(fabric, stepper.method, data, "source_val")
            stepper.validated(step + 1, scores)
            checkpoints.append(Checkpoint(step + 1, scores, folder / f"{step + 1}.pt"))
            if fabric.is_global_zero:
                torch.save(stepper.network.state_dict(), checkpoints[-1].file)
            fabric.barrier()
            started = time.perf_counter()
    pools = 2 if needs is Needs.TARGET_IMAGES else 1
    images = recipe.steps * recipe.batch_size * pools
    return Trained(stepper.method, stepper.network, checkpoints, seconds, images)


class Stepper:
    """A method with its network and optimisers on the device, and the step that all methods share.

    Attributes:
        method: whose network and adversary are wrapped for the device.
        network: the bare network, the same object the method trains.
        losses: those not logged yet.

    Args:
        log: takes metrics and their step.
    """

    def __init__(
        self,
        fabric: "Fabric",
        method_class: type[Method],
        hyperparameters: Any,
        data: FoldData,
        recipe: Recipe,
        seed: int,
        log: Log,
    ) -> None:
        mean, std = data.store.band_statistics(data.parts["source_train"].rows)
        bands, classes = len(data.task.bands), len(data.task.classes)
        # The starting weights are the same for every method of a seed.
        self.network: Any = build_network(recipe.network, bands, classes, mean, std, address(seed, "weights"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(address(seed, "method"))
            self.method = method_class(self.network, data.task, hyperparameters, seed)
            self.network = self.method.prepare(self.network)
        if method_class.perturb is not Method.perturb:
            self.network.perturbation = self.method.perturb
        self.method.network, self._optimizer = fabric.setup(self.network, _optimizer(recipe, self.network))
        self._adversary_optimizer: Any = None
        if self.method.discriminator is not None:
            optimizer = self.method.adversary_optimizer(self.method.discriminator.parameters())
            self.method.discriminator, self._adversary_optimizer = fabric.setup(self.method.discriminator, optimizer)
        self.network.train()
        self.losses = _LossBuffer(log)
        self.fabric, self.data, self.recipe, self.seed = fabric, data, recipe, seed
        self._log = log
        self._scheduler = _scheduler(recipe, self._optimizer)

    def step(self, source: SourceBatch, target: TargetBatch | None, progress: Progress) -> None:
        """One step of the network and, where there is one, of its adversary, which stands still meanwhile."""
        # Dropout and the like draw from torch's global generator; addressed by the step, like everything else.
        _seed_device(self.fabric.device, address(self.seed, "step", progress.step))
        method, adversary = self.method, self.method.discriminator
        self._optimizer.zero_grad(set_to_none=True)
        if adversary is not None:
            adversary.requires_grad_(False)
        losses = method.step_losses(source, target, progress)
        self.fabric.backward(sum(losses.values()))  # type: ignore[arg-type]
        self._optimizer.step()
        if adversary is not None:
            adversary.requires_grad_(True)
            self._adversary_optimizer.zero_grad(set_to_none=True)
            adversary_losses = method.adversary_step_losses(progress)
            self.fabric.backward(sum(adversary_losses.values()))  # type: ignore[arg-type]
            self._adversary_optimizer.step()
            losses = losses | adversary_losses
        method.after_step(progress)
        self.losses.add(losses, progress.step)
        if self.recipe.schedule == "poly":
            self._scheduler.step()

    def validated(self, steps: int, scores: Scores) -> None:
        """Hear of the source validation after some steps."""
        self._log(named_metrics("source_val", scores.total()) | {"source_val/loss": scores.loss}, steps)
        if self.recipe.schedule == "plateau":
            self._scheduler.step(scores.loss)


def _pools(
    fabric: "Fabric", needs: Needs, data: FoldData, recipe: Recipe, seed: int
) -> Iterator[tuple[SourceBatch, TargetBatch | None]]:
    """The batches of every step, on the device. The label guard stands here: what has no reader cannot be read."""
    labelled = "target_adapt" if needs is Needs.TARGET_LABELS else "source_train"
    sources = _batches(data, labelled, recipe, seed, with_labels=True)
    targets = _batches(data, "target_adapt", recipe, seed, with_labels=False) if needs is Needs.TARGET_IMAGES else None
    streams = zip(
        ahead(sources, recipe.steps), ahead(targets, recipe.steps) if targets else [None] * recipe.steps, strict=True
    )
    mine = slice(fabric.global_rank, None, fabric.world_size)  # with several devices each takes its share of a batch

    def place(tensor: Tensor) -> Tensor:
        return tensor[mine].to(fabric.device, non_blocking=True)

    for (images, labels, domains, metadata), target in streams:
        assert labels is not None
        mine_of = metadata.take(mine).to(fabric.device)
        source_batch = SourceBatch(place(images).float(), place(labels).long(), place(domains), mine_of)
        if target is None:
            yield source_batch, None
        else:
            yield source_batch, TargetBatch(place(target[0]).float(), target[3].take(mine).to(fabric.device))


def _batches(data: FoldData, name: str, recipe: Recipe, seed: int, *, with_labels: bool) -> Batches:
    part = data.parts[name]
    _, domains = np.unique(part.domains, return_inverse=True)
    return Batches(
        data.store,
        part.rows,
        domains,
        part.metadata,
        data.store.labels_of(part.rows) if with_labels else None,
        batch_size=recipe.batch_size,
        crop=min(recipe.crop or data.store.size, data.store.size),
        turn=recipe.turn,
        seed=seed,
        purpose="labelled" if with_labels else "unlabelled",
    )


class _LossBuffer:
    """Losses stay on the device and are handed on, checked, in blocks."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waiting: list[tuple[int, list[str], Tensor]] = []

    def add(self, losses: dict[str, Tensor], step: int) -> None:
        self._waiting.append((step, list(losses), torch.stack([loss.detach() for loss in losses.values()])))
        if len(self._waiting) >= LOG_EVERY:
            self.flush()

    def flush(self) -> None:
        for step, names, stacked in self._waiting:
            values = dict(zip(names, stacked.tolist(), strict=True))
            for name, value in values.items():
                if not math.isfinite(value):
                    raise TrainingError(f"the {name} loss is {value} at step {step}; a lower learning rate may help")
            self._log({f"train/loss/{name}": value for name, value in values.items()}, step)
        self._waiting.clear()


def _seed_device(device: torch.device, seed: int) -> None:
    """Seed what a step can draw from; ``torch.manual_seed`` also formats a stack trace for each idle backend."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(), recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    return torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)


def _scheduler(recipe: Recipe, optimizer: Any) -> Any:
    if recipe.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=10, cooldown=4, min_lr=1e-7)
    return torch.optim.lr_scheduler.PolynomialLR(optimizer, recipe.steps, power=0.9)
