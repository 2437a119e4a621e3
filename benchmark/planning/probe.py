"""A short measurement on this machine: a few steps of source-only on random images, and a look at some patches."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.common.garbage import while_training
from benchmark.conformance.cost import kept_for_backward
from benchmark.data.shapes import Shape
from benchmark.models.segmentation import build_network, set_precision
from benchmark.planning.pace import side_of
from benchmark.training.config import TrainingConfig
from benchmark.training.devices import make_fabric
from methods.base import TargetBatch

LONGEST = 10.0  # seconds that a measurement may go on once it has two steps
STEPS = 6  # at most; the first warms up
FEW = 2  # patches a step where a whole batch would take too long
PATCHES = 4  # that are only predicted


@dataclass(frozen=True)
class Probe:
    """What was measured.

    Attributes:
        step: seconds of a step with the whole batch.
        patch: seconds of a whole patch that is only predicted.
        batch: patches a step that were really measured; the rest is in proportion.
        device: on which.
    """

    step: float
    patch: float
    batch: int
    device: str


def weights_of(recipe: TrainingConfig, shape: Shape) -> int:
    """Bytes of the network's weights and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _network(recipe, shape).state_dict().values())


def activations_of(recipe: TrainingConfig, shape: Shape) -> float:
    """Bytes that autograd keeps in a step of source-only, measured on the CPU with a few patches."""
    subject, batch = _Subject(recipe, shape, "cpu"), min(FEW, recipe.batch_size)
    data = subject.data(batch, side_of(recipe, shape))
    held = subject.module.state_dict(keep_vars=True).values()
    return kept_for_backward(held, lambda: subject.step(*data)) * recipe.batch_size / batch


def probe(recipe: TrainingConfig, shape: Shape, accelerator: str) -> Probe:
    """Measure, in this process and on one device. On a CPU with one thread, as a run has."""
    subject, side = _Subject(recipe, shape, accelerator), side_of(recipe, shape)
    batch = min(FEW, recipe.batch_size)
    seconds = subject.seconds_of_step(batch, side)
    if batch < recipe.batch_size and seconds * recipe.batch_size / batch < LONGEST / 2:
        batch = recipe.batch_size
        seconds = subject.seconds_of_step(batch, side)
    device = subject.fabric.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Probe(seconds * recipe.batch_size / batch, subject.seconds_of_look(shape.size), batch, name)


class _Subject:
    """Source-only on noise."""

    def __init__(self, recipe: TrainingConfig, shape: Shape, accelerator: str) -> None:
        torch.set_num_threads(1)
        while_training()
        self.fabric = make_fabric(accelerator, recipe.precision)
        self.module, self._shape = _network(recipe, shape), shape
        optimizer = torch.optim.SGD(self.module.parameters(), recipe.learning_rate)
        self._network = self.module.to(self.fabric.device)
        set_precision(self._network, self.fabric)
        self._optimizer: Any = self.fabric.setup_optimizers(optimizer)

    def data(self, count: int, side: int) -> tuple[Tensor, Tensor]:
        """Images and labels on the device."""
        noise = torch.Generator().manual_seed(0)
        images = torch.randint(256, (count, self._shape.bands, side, side), generator=noise).float()
        labels = torch.randint(self._shape.classes, (count, side, side), generator=noise)
        return images.to(self.fabric.device), labels.to(self.fabric.device)

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One of the optimiser."""
        self._optimizer.zero_grad(set_to_none=True)
        with self.fabric.autocast():
            loss = F.cross_entropy(self._network(TargetBatch.of(images)), labels)
        self.fabric.backward(loss)
        self._optimizer.step()

    def seconds_of_step(self, batch: int, side: int) -> float:
        data = self.data(batch, side)
        return self._measure(lambda: self.step(*data))

    def seconds_of_look(self, side: int) -> float:
        """Of a patch that is only predicted."""
        images, _ = self.data(PATCHES, side)
        self._network.eval()

        def look() -> None:
            with torch.inference_mode(), self.fabric.autocast():
                self._network(TargetBatch.of(images)).argmax(1)

        return self._measure(look) / PATCHES

    def _measure(self, action: Callable[[], None]) -> float:
        """Seconds of a call, the shortest of a few; the first warms up, unless it is long enough to tell."""
        found, begun = list[float](), time.perf_counter()
        while len(found) < STEPS and (time.perf_counter() - begun < LONGEST or not found):
            started = time.perf_counter()
            action()
            if self.fabric.device.type == "cuda":
                torch.cuda.synchronize(self.fabric.device)
            found.append(time.perf_counter() - started)
        return min(found[1:] or found)


def _network(recipe: TrainingConfig, shape: Shape) -> torch.nn.Module:
    settings = replace(recipe.network, encoder_weights="")  # which weights they are costs nothing
    return build_network(settings, shape.bands, shape.classes, np.zeros(shape.bands), np.ones(shape.bands), 0)
