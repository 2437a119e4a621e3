"""Batches: which patches a step sees, and how they are cropped and turned, as pure functions of seed and step."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from benchmark.data.scaling import AS_STORED, Scaling
from benchmark.data.series.patches import PatchSeries
from benchmark.data.series.series import turn
from benchmark.data.store import Images, Labels, Store
from methods.parts.metadata import Metadata
from methods.parts.origin import Origin
from methods.parts.randomness import numpy_generator
from methods.parts.series import SeriesBatch

Batch = tuple[Tensor, Tensor | None, Tensor, Metadata, Origin, SeriesBatch | None]
"""Stored images (N, C, S, S), labels (N, S, S) uint8 or None, domains (N,) int64, metadata, origin and series."""


class BalancedSampler:
    """Draws patches so that every domain is seen equally often, whatever its size.

    The stream of patches runs in rounds; a round holds one patch of each domain, in a random order. Within a domain all
    patches are seen once before any is seen again. Position k of the stream depends on (seed, purpose, k) alone.

    Args:
        domains: (n,) domain index of each patch of the pool, 0..D-1, each occurring.
        seed, purpose: address of the draws.
    """

    def __init__(self, domains: np.ndarray, seed: int, purpose: str) -> None:
        self._members = [np.flatnonzero(domains == domain) for domain in range(int(domains.max()) + 1)]
        self._address = (seed, purpose)
        # Methods of one process draw the same permutations again and again; each is a few microseconds to make.
        self._permutation = lru_cache(maxsize=4096)(self._make_permutation)

    def draw(self, first: int, count: int) -> np.ndarray:
        """Return the positions in the pool (count,) of the patches ``first .. first + count - 1`` of the stream."""
        chosen = np.empty(count, dtype=np.int64)
        for index, position in enumerate(range(first, first + count)):
            turn, place = divmod(position, len(self._members))
            domain = int(self._permutation("order", turn, len(self._members))[place])
            members = self._members[domain]
            epoch, rank = divmod(turn, len(members))
            chosen[index] = members[self._permutation(f"domain {domain}", epoch, len(members))[rank]]
        return chosen

    def _make_permutation(self, purpose: str, number: int, length: int) -> np.ndarray:
        return numpy_generator(*self._address, purpose, number).permutation(length)


class WeightedSampler:
    """Draws patches with given weights, each draw for itself.

    Args:
        weights: (n,) weight of each patch, 0 or more, of any sum above 0.
        seed, purpose: address of the draws; position k of the stream depends on them and k alone.
    """

    def __init__(self, weights: np.ndarray, seed: int, purpose: str) -> None:
        until = np.cumsum(weights, dtype=np.float64)
        if not (np.isfinite(until[-1]) and until[-1] > 0 and np.all(np.asarray(weights) >= 0)):
            raise ValueError("sampling weights must be finite numbers of 0 or more, and one of them above 0")
        self._until = until / until[-1]
        self._address = (seed, purpose)

    def draw(self, first: int, count: int) -> np.ndarray:
        """Draw as `BalancedSampler.draw` does."""
        positions = range(first, first + count)
        chances = [numpy_generator(*self._address, "weighted", position).random() for position in positions]
        return np.searchsorted(self._until, chances, side="right")


class Batches:
    """Training batches of one pool of patches.

    Args:
        store: decoded patches.
        rows: (n,) rows of the pool in the store.
        domains: (n,) domain index of each patch.
        metadata: metadata of the patches, (n,) a field.
        labels: reader of the pool's masks; None for a pool without labels, whose batches then have none.
        weights: (n,) relative frequency of each patch; None for every domain equally often.
        batch_size: number of patches a step.
        crop: side of the square cut from each patch, in pixels; the patch size or less.
        turn: whether patches are flipped and rotated by right angles (the eight symmetries of the square).
        seed, purpose: address of all draws; the purpose is also the pool's name.
        zones: (n,) zone index of each patch; None for each patch a zone of its own.
        scaling: scaling of the whole patches of an origin; a batch is as stored, and is scaled on the device.
        series: series of the patches of the store; None for batches without any.
    """

    def __init__(
        self,
        store: Store,
        rows: np.ndarray,
        domains: np.ndarray,
        metadata: Metadata,
        labels: Labels | None,
        weights: np.ndarray | None = None,
        *,
        batch_size: int,
        crop: int,
        turn: bool,
        seed: int,
        purpose: str,
        zones: np.ndarray | None = None,
        scaling: Scaling = AS_STORED,
        series: PatchSeries | None = None,
    ) -> None:
        self._scaling = scaling
        self._images, self._size = store.images_of(rows), store.size
        self._rows, self._labels, self._series = rows, labels, series
        self._metadata = metadata
        self._zone_of = torch.from_numpy(np.arange(len(rows)) if zones is None else zones)
        self._domain_of = torch.from_numpy(domains)
        self._batch_size, self._crop, self._turn = batch_size, crop, turn
        self._address = (seed, purpose)
        self._sampler = (
            BalancedSampler(domains, seed, purpose) if weights is None else WeightedSampler(weights, seed, purpose)
        )

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        chosen = self._sampler.draw(step * self._batch_size, self._batch_size)
        count = len(chosen)
        random = numpy_generator(*self._address, "view", step)
        tops, lefts = random.integers(0, self._size - self._crop + 1, (2, count))
        symmetries = random.integers(0, 8, count) if self._turn else np.zeros(count, dtype=np.int64)

        images = _view(self._images.read(chosen), tops, lefts, self._crop, symmetries)
        labels = None
        if self._labels is not None:
            masks = self._labels.read(self._rows[chosen])
            labels = torch.from_numpy(_view(masks, tops, lefts, self._crop, symmetries))
        positions = torch.from_numpy(chosen)
        cut = partial(_cut, tops=tops, lefts=lefts, crop=self._crop, symmetries=symmetries)
        # A method gets the origin, which therefore must not refer to these batches: they hold a reader of labels.
        whole = partial(_whole, self._images, self._scaling)
        origin = Origin(self._address[1], positions, self._zone_of, self._domain_of, whole, cut)
        series = None
        if self._series is not None:
            corners = np.stack([tops, lefts], 1)
            series = self._series.read(self._rows[chosen], self._size, corners, self._crop, symmetries)
        metadata = self._metadata.take(positions)
        return torch.from_numpy(images), labels, self._domain_of[positions], metadata, origin, series


def ahead(batches: Batches, steps: Sequence[int]) -> Iterator[Batch]:
    """Yield the batches of the steps in order, each made by a thread while the step before it is computed."""
    with ThreadPoolExecutor(1) as thread:
        coming: Future[Batch] | None = None
        for step in steps:
            made, coming = coming, thread.submit(batches.at, step)
            if made:
                yield made.result()
        if coming:
            yield coming.result()


def _whole(images: Images, scaling: Scaling, positions: Tensor) -> Tensor:
    """Return whole patches (k, C, S, S) float32 by their positions (k,) in the pool."""
    return scaling(torch.from_numpy(images.read(positions.numpy())))


def _view(arrays: np.ndarray, tops: np.ndarray, lefts: np.ndarray, crop: int, symmetries: np.ndarray) -> np.ndarray:
    """Cut and turn each array of (N, ..., S, S) its own way."""
    out = np.empty((*arrays.shape[:-2], crop, crop), dtype=arrays.dtype)
    for index, (top, left, symmetry) in enumerate(zip(tops, lefts, symmetries, strict=True)):
        out[index] = turn(arrays[index, ..., top : top + crop, left : left + crop], int(symmetry))
    return out


def _cut(images: Tensor, tops: np.ndarray, lefts: np.ndarray, crop: int, symmetries: np.ndarray) -> Tensor:
    """Cut and turn each image of a tensor on any device, as `_view` does."""
    views = []
    for image, top, left, symmetry in zip(images, tops.tolist(), lefts.tolist(), symmetries.tolist(), strict=True):
        view = image[..., top : top + crop, left : left + crop].rot90(symmetry % 4, (-2, -1))
        views.append(view.flip(-1) if symmetry >= 4 else view)
    return torch.stack(views)
