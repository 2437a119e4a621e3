"""Fixtures of the checks of all methods: a small world and a source model."""

from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmark.conformance.world import open_world
from benchmark.models.segmentation import NetworkSettings
from benchmark.training.config import TrainingConfig
from benchmark.training.devices import make_fabric
from benchmark.training.fold_data import FEW, FoldData, batches_of
from benchmark.training.savepoints import read, write
from benchmark.training.trainer import Stepper, network_weights, state_of
from methods.base import Method, Needs, Progress, SeriesBatch

STEPS = 4
RECIPE = TrainingConfig(
    network=NetworkSettings(
        encoder="tu-test_resnet", encoder_depth=2, decoder_channels=(8, 8), series_widths=(8, 8), series_loss=0.5
    ),
    steps=STEPS,
    batch_size=4,
    crop=32,
    checkpoints=2,
    learning_rate=1e-2,
    series_side=8,
)


def recipe_with(series: str, frozen: bool = False) -> TrainingConfig:
    """Return the recipe of the checks with a network that sees series so (`benchmark.models.settings.SERIES`).

    Args:
        frozen: whether its encoder is frozen.
    """
    return replace(RECIPE, network=replace(RECIPE.network, series=series, frozen=frozen))


class Fixtures:
    """Fixtures of the checks of all methods: the world, with and without its target masks, and a source model.

    Args:
        folder: folder that the worlds are written to.
        control: source-only, which others are compared with and some start from.
        recipe: recipe of all trainings.
        patch_size: side of the worlds' patches, in pixels.
    """

    def __init__(
        self, folder: Path, control: type[Method], recipe: TrainingConfig = RECIPE, patch_size: int = RECIPE.crop
    ) -> None:
        self._folder, self._worlds = folder, dict[str, FoldData]()
        self._patch_size = patch_size
        self.control, self.recipe = control, recipe
        self.fabric = make_fabric("cpu", "32-true")

    def through_a_file(self, content: Any) -> Any:
        """Return what a savepoint with this content gives back."""
        return read(write(self._folder / "savepoints", "check", content))

    @property
    def data(self) -> FoldData:
        """The world as it is."""
        return self._open("plain", set(), set())

    def blind(self, needs: Needs) -> FoldData:
        """Return the same world, with noise for every target mask that a method with these needs may not see."""
        if needs is Needs.TARGET_LABELS:
            return self._open("blind on the test", {"target_test"}, set())
        shown = {FEW} if needs is Needs.FEW_TARGET_LABELS else set()
        return self._open(f"blind but {sorted(shown)}", {"target_adapt", "target_test"}, shown)

    def _open(self, name: str, hidden: set[str], shown: set[str]) -> FoldData:
        if name not in self._worlds:
            view = self.recipe.series_view
            self._worlds[name] = open_world(self._folder / name, hidden, shown, self._patch_size, view)
        return self._worlds[name]

    @cached_property
    def source_only(self) -> Stepper:
        """The control after the training that every method gets here."""
        return train(Stepper(self.fabric, self.control, None, self.data, self.recipe, 0, ignore))

    @cached_property
    def source_weights(self) -> dict[str, Tensor]:
        """The control's network after a longer one: what learns from predictions needs some that are sure."""
        recipe = replace(self.recipe, steps=100)
        state = state_of(train(Stepper(self.fabric, self.control, None, self.data, recipe, 0, ignore)).method)
        return network_weights(state)

    @cached_property
    def images(self) -> Tensor:
        """Four test patches (4, C, H, W)."""
        return self.data.images(self._test_rows)

    def series(self, count: int) -> SeriesBatch | None:
        """Return the series of as many of these patches; None where the network sees none."""
        return self.data.series_of(self._test_rows[:count])

    @property
    def _test_rows(self) -> NDArray[np.int64]:
        return self.data.parts["target_test"].rows[:4]


def train(stepper: Stepper, first: int = 0, end: int | None = None) -> Stepper:
    """Train a method, or pass it the test stream where that is what it learns from.

    Args:
        first, end: first step, and the step before which training ends; None for the last.
    """
    method = stepper.method
    if method.needs is Needs.TEST_STREAM:
        stepper.stream(batch_size=4)
        return stepper
    batches = batches_of(stepper.fabric, method, stepper.data, stepper.recipe, 0, first)
    method.train()
    for step, (source, target) in enumerate(islice(batches, None if end is None else end - first), first):
        stepper.step(source, target, Progress(step, stepper.recipe.steps))
        stepper.validate(Progress(step + 1, stepper.recipe.steps))
    stepper.losses.flush()
    method.eval()
    return stepper


def ignore(metrics: dict[str, float], step: int) -> None:
    """Take metrics and do nothing."""
    pass
