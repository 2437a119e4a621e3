"""One training in this process, without a queue: the model, its metrics and its confusion matrices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.common.console import FileBar
from benchmark.common.errors import SettingsError
from benchmark.data.numbers import fill_in
from benchmark.data.scaling import Scaling
from benchmark.experiments.jobs import Bench
from benchmark.experiments.labels import control_label, parse_label
from benchmark.experiments.run_job import Outcome, run_metrics, train_and_score
from benchmark.training.devices import make_fabric
from benchmark.training.trainer import network_weights
from methods.base import Method, TargetBatch


@dataclass(frozen=True)
class TrainedModel:
    """A trained method.

    Attributes:
        model: the method in eval mode, with what it held at the checkpoint that its selection rule takes.
        classes: names of the classes, in the order of the logits.
        metrics: metrics of that checkpoint, as a run of a comparison has them: ``target/miou`` and so on.
        confusions: (classes + 1, classes) pixels of the target's test by zone, rows truth, the last row ignored truth.
        curves: the logged losses and scores, a row for each step.
        scaling: scaling of the images by the source that it was trained on.
    """

    model: Method = field(repr=False)
    classes: tuple[str, ...]
    metrics: Mapping[str, float] = field(repr=False)
    confusions: Mapping[str, NDArray[np.int64]] = field(repr=False)
    curves: pd.DataFrame = field(repr=False)
    scaling: Scaling = field(repr=False)

    @property
    def target_miou(self) -> float:
        """Mean IoU on the target's test, a share; NaN where no pixel of it has a label."""
        return self.metrics.get("target/miou", float("nan"))

    def predict(self, images: "NDArray[Any] | Tensor") -> NDArray[np.uint8]:
        """Return the class index of each pixel: images as in their files (N, bands, H, W) -> (N, H, W).

        Pixels that are not finite are filled in as when a store is made; tags and scales of files are not known here.
        """
        device = next(self.model.parameters()).device
        values = torch.as_tensor(images).float().cpu().numpy()
        valid = np.isfinite(values).all(1)
        filled = fill_in(np.where(valid[:, None], values, np.float32(0)), valid)
        batch = TargetBatch.of(self.scaling(torch.from_numpy(filled).to(device)))
        with torch.no_grad():
            return self.model.predict(batch).argmax(1).to(torch.uint8).cpu().numpy()


def train_model(bench: Bench, label: str, fold: str, seed: int) -> TrainedModel:
    """Train a method on a fold.

    Args:
        label: the method, with hyperparameters in brackets where they are not the defaults.

    Raises:
        SettingsError, MethodError: an unknown fold, method or hyperparameter, or the method cannot be run on the fold.
        TrainingError: a loss is not finite.
    """
    job = bench.jobs([label], [seed], [fold])[-1]
    if job.skip:
        raise SettingsError(f"{label} cannot be trained on {fold}: {job.skip}")
    bench.check_settings()
    weights = None
    if job.parent:
        weights = network_weights(_train(bench, control_label(), fold, seed, None)[0].weights)
    outcome, curves = _train(bench, job.label, fold, seed, weights)
    return TrainedModel(
        outcome.method.eval(),
        bench.task.classes,
        run_metrics(bench, outcome),
        outcome.target[outcome.chosen].confusions,
        pd.DataFrame.from_dict(curves, orient="index").rename_axis("step").sort_index(),
        bench.fold_data(fold).scaling,
    )


def _train(
    bench: Bench, label: str, fold: str, seed: int, weights: Mapping[str, Tensor] | None
) -> tuple[Outcome, dict[int, dict[str, float]]]:
    setting = parse_label(label)
    recipe = setting.recipe(bench.plan.recipe)
    fabric = make_fabric(bench.plan.accelerator, recipe.precision)
    curves: dict[int, dict[str, float]] = {}

    def log(metrics: Mapping[str, float], step: int) -> None:
        curves.setdefault(step, {}).update(metrics)

    with FileBar(f"training {label}") as bar:
        outcome = train_and_score(
            fabric,
            setting.method,
            setting.hyperparameters,
            bench.fold_data(fold),
            recipe,
            seed,
            log,
            lambda share: bar.show(share * recipe.steps, recipe.steps),
            weights,
        )
    return outcome, curves
