"""A method under test, and what is done with it."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from benchmark.conformance.fixtures import STEPS, Fixtures, ignore, train
from benchmark.training.fold_data import FoldData, batches_of
from benchmark.training.trainer import Stepper
from methods.base import Method, Needs, Progress, SeriesBatch, SourceBatch, TargetBatch
from methods.parts.metadata import Metadata

BatchPair = tuple[SourceBatch | None, TargetBatch | None]


class Subject:
    """A method under test."""

    def __init__(self, method: type[Method], hyperparameters: Any, fixtures: Fixtures) -> None:
        self.method, self.hyperparameters, self.fixtures = method, hyperparameters, fixtures
        self.images = fixtures.images

    def stepper(self, data: FoldData | None = None, **changes: Any) -> Stepper:
        """Return the method before its first step."""
        return Stepper(
            changes.get("fabric", self.fixtures.fabric),
            self.method,
            changes.get("hyperparameters", self.hyperparameters),
            data or self.fixtures.data,
            self.fixtures.recipe,
            0,
            changes.get("log", ignore),
            self.fixtures.source_weights if self.method.needs.starts_from_source else None,
        )

    def trained(self, data: FoldData | None = None, **changes: Any) -> Stepper:
        """Return the method after a training of its own."""
        return train(self.stepper(data, **changes))

    @cached_property
    def reference(self) -> Stepper:
        """One trained as it is, for checks that only look."""
        return self.trained()

    @cached_property
    def repetition(self) -> Stepper:
        """The same training once more; what was drawn before it must not matter."""
        torch.rand(7)
        return self.trained()

    def learn_from(self, images: Tensor, labels: Tensor) -> Stepper:
        """Take one step, or one update, on a batch made here."""
        stepper, count = self.stepper(), len(images)
        series = self.fixtures.series(count)
        target = TargetBatch(images, Metadata.unknown(count), series=series)
        source = SourceBatch(images, labels, torch.arange(count) % 2, Metadata.unknown(count), series=series)
        needs = self.method.needs
        sees_images = needs.trains_on_target or needs is Needs.TEST_STREAM
        for step in range(STEPS):  # of a schedule too, the middle and the end
            work(stepper, (source if needs.trains_on_labels else None, target if sees_images else None), step)
        stepper.losses.flush()
        return stepper


def first_batches(stepper: Stepper) -> BatchPair:
    """Return the first batches of the training, or of the stream."""
    if stepper.method.needs is Needs.TEST_STREAM:
        rows = stepper.data.parts["target_test"].rows[:4]
        return None, TargetBatch(stepper.data.images(rows), Metadata.unknown(4), series=stepper.data.series_of(rows))
    return next(batches_of(stepper.fabric, stepper.method, stepper.data, stepper.recipe, 0))


def work(stepper: Stepper, batches: BatchPair, step: int = STEPS - 1) -> None:
    """Take one step, or learn from a batch of the stream."""
    source, target = batches
    if stepper.method.needs is not Needs.TEST_STREAM:
        stepper.step(source, target, Progress(step, STEPS))
        return
    assert target is not None
    stepper.method.eval()
    stepper.arrive(Progress(step, STEPS))
    with torch.no_grad():
        stepper.method.predict(target)
    stepper.method.adapt(target)


@torch.no_grad()
def predict_of(method: Method, images: Tensor, series: SeriesBatch | None = None) -> Tensor:
    """Return the logits of patches of which nothing but their series is known."""
    return method.eval().checked_logits(TargetBatch(images, Metadata.unknown(len(images)), series=series))
