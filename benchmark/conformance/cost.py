"""What a method's step costs, relative to a step of source-only."""

import statistics
import time

import torch
from torch import Tensor

from benchmark.conformance.subject import Subject, first_batches, work
from benchmark.costs import Cost
from benchmark.training import Stepper


def cost_of(subject: Subject, pairs: int) -> Cost:
    """Measure it on the subject's ground; times drift on a shared machine, so the two take turns."""
    mine, control = subject.stepper(), Subject(subject.ground.control, None, subject.ground).stepper()
    ratios = [_seconds(mine) / _seconds(control) for _ in range(pairs + 1)][1:]  # the first warms up
    return Cost(statistics.median(ratios), _kept_for_backward(mine) / _kept_for_backward(control))


def _seconds(stepper: Stepper) -> float:
    batches = first_batches(stepper)
    started = time.perf_counter()
    work(stepper, batches)
    return time.perf_counter() - started


def _kept_for_backward(stepper: Stepper) -> int:
    """Bytes that autograd keeps in a step; weights and buffers are there anyhow."""
    held = {tensor.untyped_storage().data_ptr() for tensor in stepper.method.state_dict(keep_vars=True).values()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work(stepper, first_batches(stepper))
    return sum(kept.values())
