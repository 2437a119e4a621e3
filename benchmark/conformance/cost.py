"""Cost of a method's step, relative to a step of source-only."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from benchmark.conformance.costs import Cost
from benchmark.conformance.subject import Subject, first_batches, work
from benchmark.training.trainer import Stepper


def cost_of(subject: Subject, pairs: int) -> Cost:
    """Measure a method's step and that of source-only in turns, since times drift on a shared machine."""
    own, control = subject.stepper(), Subject(subject.fixtures.control, None, subject.fixtures).stepper()
    ratios = [_seconds(own) / _seconds(control) for _ in range(pairs + 1)][1:]  # the first warms up
    return Cost(statistics.median(ratios), _kept(own) / _kept(control))


def _seconds(stepper: Stepper) -> float:
    batches = first_batches(stepper)
    started = time.perf_counter()
    work(stepper, batches)
    return time.perf_counter() - started


def kept_for_backward(held: Iterable[Tensor], step: Callable[[], object]) -> int:
    """Return the most bytes that autograd keeps at any time of a step.

    Args:
        held: weights and buffers, which are there anyhow.
    """
    there = {tensor.untyped_storage().data_ptr() for tensor in held}
    kept: Counter[int] = Counter()  # how often each storage is kept
    now, most = 0, 0

    class Kept:
        """A tensor for as long as autograd keeps it."""

        def __init__(self, tensor: Tensor) -> None:
            nonlocal now, most
            self.tensor, storage = tensor, tensor.untyped_storage()
            self.place, self.size = storage.data_ptr(), storage.nbytes() * (storage.data_ptr() not in there)
            kept[self.place] += 1
            now += self.size * (kept[self.place] == 1)
            most = max(most, now)

        def __del__(self) -> None:
            nonlocal now
            kept[self.place] -= 1
            now -= self.size * (kept[self.place] == 0)

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        step()
    return most


def _kept(stepper: Stepper) -> int:
    batches = first_batches(stepper)
    return kept_for_backward(stepper.method.state_dict(keep_vars=True).values(), lambda: work(stepper, batches))
