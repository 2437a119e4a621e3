"""Pools of patches that a step of a method draws from. The label guard is here."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from benchmark.data.batches import Batches, ahead
from benchmark.data.scaling import Scaling
from benchmark.data.series.corruptions import Corruption
from benchmark.data.series.patches import PatchSeries
from benchmark.data.store import Store
from benchmark.models.settings import SeriesInput
from benchmark.training.config import TrainingConfig
from methods.base import Method, Needs, SourceBatch, TargetBatch, Task
from methods.parts.metadata import Metadata
from methods.parts.series import SeriesBatch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FEW = "few"  # the part, beside the four, whose labels a few-label baseline may see
HELD_BACK = 4  # one zone in so many is kept from the training of a bound whose learning rate follows a validation


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

    def take(self, chosen: np.ndarray) -> "Part":
        """Return some of its patches, by their positions (n,) int64."""
        metadata = self.metadata.take(torch.from_numpy(chosen))
        return Part(self.rows[chosen], self.domains[chosen], self.zones[chosen], metadata)

    def joined(self, other: "Part") -> "Part":
        """Return both, one behind the other."""
        rows, domains, zones = (
            np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("rows", "domains", "zones")
        )
        return Part(rows, domains, zones, self.metadata.joined(other.metadata))


@dataclass(frozen=True)
class FoldData:
    """A fold over a store: the parts by name, and what there is to learn.

    The parts are the four of a fold and, where the protocol sets some labelled patches of the target aside, ``few``.

    Attributes:
        scaling: scaling of the images by the source's training patches; made when it is not given.
        series: series of the patches of the store; None where the config's network sees none.
    """

    store: Store
    parts: dict[str, Part]
    task: Task
    scaling: Scaling = None  # type: ignore[assignment]
    series: PatchSeries | None = None

    def __post_init__(self) -> None:
        if self.scaling is None:
            object.__setattr__(self, "scaling", Scaling.of(self.store, self.parts["source_train"].rows))

    def images(self, rows: np.ndarray) -> Tensor:
        """Return the images (n, C, S, S) float32 of some rows of the store, on the scale 0 to 255."""
        return self.scaling(torch.from_numpy(self.store.read(rows)))

    def series_of(self, rows: np.ndarray, corners: np.ndarray | None = None, side: int = 0) -> SeriesBatch | None:
        """Return the series around some patches, or around windows of them (see `PatchSeries.read`)."""
        return self.series.read(rows, self.store.size, corners, side) if self.series is not None else None

    def with_missing(self, corruption: Corruption) -> "FoldData":
        """Return the same fold with something missing of all series, if it has any."""
        return replace(self, series=self.series and replace(self.series, corruption=corruption))

    def series_input(self) -> SeriesInput | None:
        """Return the facts of the series that a network is built for; None where there are none."""
        if self.series is None:
            return None
        mean, std = self.series.moments(self.parts["source_train"].rows)
        return SeriesInput(self.series.cells, tuple(mean.tolist()), tuple(std.tolist()))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (C,) of the source's training patches, on the scale 0 to 255."""
        return self.scaling.moments(*self.store.band_statistics(self.parts["source_train"].rows))

    def labelled(self, needs: Needs) -> Part:
        """Return the labelled pool of a method with these needs; of the target, patches with a labelled pixel."""
        if needs is Needs.TARGET_LABELS:
            target = self.parts["target_adapt"]
            return target.take(np.flatnonzero(self.store.class_counts(target.rows)[:, :-1].any(1)))
        source = self.parts["source_train"]
        return source.joined(self.parts[FEW]) if needs is Needs.FEW_TARGET_LABELS else source

    def split_bound(self) -> tuple[Part, Part]:
        """Return the labelled pool of a bound without every fourth zone of each domain, and these zones.

        Where no domain has four zones, both are the whole pool.
        """
        pool = self.labelled(Needs.TARGET_LABELS)
        held_back = np.zeros(len(pool.rows), dtype=bool)
        for domain in np.unique(pool.domains):
            zones = np.unique(pool.zones[pool.domains == domain])
            held_back |= np.isin(pool.zones, zones[HELD_BACK - 1 :: HELD_BACK]) & (pool.domains == domain)
        if not held_back.any():
            return pool, pool
        return pool.take(np.flatnonzero(~held_back)), pool.take(np.flatnonzero(held_back))

    def task_of(self, needs: Needs) -> Task:
        """Return the task with the domains of the labelled pool."""
        return replace(self.task, domains=tuple(np.unique(self.labelled(needs).domains).tolist()))


def batches_of(
    fabric: "Fabric", method: Method, data: FoldData, recipe: TrainingConfig, seed: int, first: int = 0
) -> Iterator[tuple[SourceBatch | None, TargetBatch | None]]:
    """Return the batches of every step from ``first`` on, on the device. What has no reader cannot be read."""
    needs, steps = method.needs, range(first, recipe.steps)
    sources = _labelled(method, data, recipe, seed) if needs.trains_on_labels else None
    target = data.parts["target_adapt"]
    targets = _batches(data, target, recipe, seed, "unlabelled") if needs.trains_on_target else None
    nothing = [None] * len(steps)
    streams = zip(
        ahead(sources, steps) if sources else nothing, ahead(targets, steps) if targets else nothing, strict=True
    )

    def place(tensor: Tensor) -> Tensor:
        return tensor.to(fabric.device, non_blocking=True)

    for labelled, unlabelled in streams:
        source_batch = target_batch = None
        if labelled:
            images, labels, domains, metadata, origin, series = labelled
            assert labels is not None
            on_device, series = metadata.to(fabric.device), series and series.to(fabric.device)
            source_batch = SourceBatch(
                data.scaling(place(images)), place(labels).long(), place(domains), on_device, origin, series
            )
        if unlabelled:
            images, _, _, metadata, origin, series = unlabelled
            on_device, series = metadata.to(fabric.device), series and series.to(fabric.device)
            target_batch = TargetBatch(data.scaling(place(images)), on_device, origin, series)
        yield source_batch, target_batch


def _labelled(method: Method, data: FoldData, recipe: TrainingConfig, seed: int) -> Batches:
    pool = data.labelled(method.needs)
    if method.needs.is_bound and recipe.schedule == "plateau":
        pool, _ = data.split_bound()  # the rate follows the rest
    weights = method.sampling_weights(torch.from_numpy(data.store.class_counts(pool.rows)[:, :-1]))
    drawn = None if weights is None else weights.double().cpu().numpy()
    return _batches(data, pool, recipe, seed, "labelled", with_labels=True, weights=drawn)


def _batches(
    data: FoldData,
    part: Part,
    recipe: TrainingConfig,
    seed: int,
    purpose: str,
    *,
    with_labels: bool = False,
    weights: np.ndarray | None = None,
) -> Batches:
    store = data.store
    domains, zones = (np.unique(names, return_inverse=True)[1] for names in (part.domains, part.zones))
    return Batches(
        store,
        part.rows,
        domains,
        part.metadata,
        store.labels_of(part.rows) if with_labels else None,
        weights,
        batch_size=recipe.batch_size,
        crop=min(recipe.crop or store.size, store.size),
        turn=recipe.turn,
        seed=seed,
        purpose=purpose,
        zones=zones,
        scaling=data.scaling,
        series=data.series,
    )
