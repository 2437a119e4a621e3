"""Statistics of what a crop is a part of: its whole patch, or all patches of its zone or domain.

Light and style are those of a scene. A small crop often shows a single field, and its own mean is that of a class.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from methods.base import SourceBatch, TargetBatch
from methods.parts.randomness import torch_generator

Batch = SourceBatch | TargetBatch
EXTENTS = ("crop", "patch", "zone", "domain")
MOST = 16  # patches that a zone or domain is measured on


def whole_images(batch: Batch) -> Tensor:
    """Return the whole patches (N, C, S, S) of a batch, as they are stored; its own images if it was made by hand."""
    origin = batch.origin
    return batch.images if origin is None else origin.images(origin.positions).to(batch.images)


def cut_alike(images: Tensor, batch: Batch) -> Tensor:
    """Return whole patches (N, C, S, S), cut and turned as those of the batch are: (N, C, s, s)."""
    return images if batch.origin is None else batch.origin.cut(images)


class SceneStatistics:
    """Measures crops, patches, zones or domains, each zone and domain once.

    A zone or domain is measured as the mean over its patches in the pool, over `MOST` of them if there are more. Which
    these are is addressed by the seed, so that a resumed training finds the same. In a batch made by hand, each image
    counts as a whole patch and as a zone of its own.

    Args:
        measure: takes images (k, C, H, W), raw; gives statistics (k, ...) of each, which may be averaged over images.
        extent: one of `EXTENTS`.
        seed: address of the draws.
    """

    def __init__(self, measure: Callable[[Tensor], Tensor], extent: str, seed: int) -> None:
        self._measure, self._extent, self._seed = measure, extent, seed
        self._kept: dict[tuple[str, int], Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, which measures by itself: measured values are no state of a training."""
        return vars(self) | {"_kept": {}}

    def of(self, batch: Batch, whole: Tensor | None = None) -> Tensor:
        """Return the statistics (N, ...) of the extent that each patch of the batch is a part of.

        Args:
            whole: the batch's whole patches (N, C, S, S), where they were read before; None to read those needed.
        """
        origin = batch.origin
        if origin is None or self._extent == "crop":
            return self._measure(batch.images)
        if self._extent == "patch":
            return self._measure(whole_images(batch) if whole is None else whole)
        groups = origin.zones if self._extent == "zone" else origin.domains
        for group in set(groups[origin.positions].tolist()):
            if (origin.pool, group) not in self._kept:
                random = torch_generator(self._seed, "scene", origin.pool, self._extent, group)
                members = (groups == group).nonzero().flatten()
                chosen = members[torch.randperm(len(members), generator=random)[:MOST]]
                images = origin.images(chosen.sort().values).to(batch.images)
                self._kept[origin.pool, group] = self._measure(images).mean(0)
        return torch.stack([self._kept[origin.pool, group] for group in groups[origin.positions].tolist()])
