"""The losses of a step: whether they teach anything, and when their values are read from the device."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmark.common.errors import TrainingError
from methods.base import Method, MethodError
from methods.parts.contract import name_of
from methods.parts.gradients import reaches

LOG_EVERY = 20  # steps; losses wait on the device until then, so that no step waits for a transfer

Log = Callable[[dict[str, float], int], None]
"""Takes metrics and their step."""


def require_reach(method: type[Method], hook: str, name: str, loss: Tensor, optimizer: Any) -> None:
    """Check that a loss reaches something that its optimiser trains, or is the constant 0, of a warm-up for example."""
    trained = (weights for group in optimizer.param_groups for weights in group["params"])
    if not reaches(loss, trained) and (loss.requires_grad or loss.item() != 0):
        raise MethodError(
            f"{name_of(method, hook)}: the {name} loss is detached, no gradient reaches anything that is trained; "
            "expected one that is computed from what is trained, without detach(), item() or torch.no_grad()"
        )


class LossBuffer:
    """Losses stay on the device and are checked in blocks; those of every n-th step are handed on."""

    def __init__(self, log: Log, every: int) -> None:
        self._log, self._every = log, every
        self._waiting: list[tuple[int, list[str], Tensor]] = []

    def add(self, losses: dict[str, Tensor], step: int) -> None:
        """Keep the losses of a step, and look at them once there are some."""
        self._waiting.append((step, list(losses), torch.stack([loss.detach() for loss in losses.values()])))
        if len(self._waiting) >= LOG_EVERY:
            self.flush()

    def flush(self) -> None:
        """Hand on what waits.

        Raises:
            TrainingError: a loss is no finite number.
        """
        for step, names, stacked in self._waiting:
            values = dict(zip(names, stacked.tolist(), strict=True))
            for name, value in values.items():
                if not math.isfinite(value):
                    hint = "a lower learning rate may help" if step else "nothing was learned yet: look at its formula"
                    raise TrainingError(f"the {name} loss is {value} at step {step}; {hint}")
            if step % self._every == 0:
                self._log({f"train/loss/{name}": value for name, value in values.items()}, step)
        self._waiting.clear()
