"""Stores: every patch decoded once, in shards of flat files that are memory-mapped from then on."""

import errno
import hashlib
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from benchmark.common.errors import DataError
from benchmark.data.catalog import Catalog
from benchmark.data.numbers import mixed_kinds
from benchmark.data.patches import read_patches
from benchmark.data.shards import Plan, Shard, open_shard, plan_shards, write_shard

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Store:
    """Decoded patches of a catalog, memory-mapped.

    Two files stay open for each shard, some 400 for all of FLAIR #1.

    Attributes:
        shards: shards that hold the patches.
        ids: patch ids, in the order of the rows: sorted, like the catalog's.
        digest: digest of the ids and all decoded bytes, the same wherever the files are and however they are cut into
            shards.
        sums, square_sums: (N, C) float64, over the pixels of each patch that hold data; means follow from them.
        valid: (N,) int64, the number of these pixels.
        extremes: (N, C, 2) float64, their smallest and largest value; infinity and its negative where there are none.
        image_keys, mask_keys: keys of the N patches, the same for equal images or masks; "" where one colour or class
            is all.
    """

    shards: tuple[Shard, ...]
    ids: tuple[str, ...]
    digest: str
    sums: np.ndarray
    square_sums: np.ndarray
    valid: np.ndarray
    extremes: np.ndarray
    image_keys: tuple[str, ...]
    mask_keys: tuple[str, ...]
    _class_counts: np.ndarray
    _sample: np.ndarray
    _where: np.ndarray  # (N, 2) int64: shard, and row in it

    def __reduce__(self) -> tuple[Callable[[Path, list[str]], "Store"], tuple[Path, list[str]]]:
        # Another process maps the files itself; pickling a memory map copies it whole.
        return _reopen, (self.shards[0].place.parent, [shard.place.name for shard in self.shards])

    @property
    def size(self) -> int:
        """Side S of a patch in pixels."""
        return int(self.shards[0].images.shape[-1])

    @property
    def kind(self) -> np.dtype:
        """Type of the stored numbers."""
        return self.shards[0].images.dtype

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Return the row numbers (n,) int64 of patches."""
        return np.array([self._numbers[patch] for patch in ids], dtype=np.int64)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {patch: row for row, patch in enumerate(self.ids)}

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return the raw images (n, C, S, S) of some rows."""
        return _gather([shard.images for shard in self.shards], self._where, rows)

    def images_of(self, rows: np.ndarray) -> "Images":
        """Return a reader of the raw images of these rows, and of nothing else."""
        where = self._where[rows]
        needed, numbers = np.unique(where[:, 0], return_inverse=True)
        return Images([self.shards[shard].images for shard in needed], np.stack([numbers, where[:, 1]], 1))

    def labels_of(self, rows: np.ndarray) -> "Labels":
        """Return a reader of the masks of these rows and of no others."""
        masks = [shard.masks for shard in self.shards]
        return Labels(partial(_gather, masks, self._where), frozenset(rows.tolist()))

    def band_statistics(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (C,) of the raw pixel values of some rows, where these hold data."""
        pixels = max(int(self.valid[rows].sum()), 1)
        mean = self.sums[rows].sum(0) / pixels
        variance = self.square_sums[rows].sum(0) / pixels - mean**2
        low, high = self.range_of(rows)
        span = np.where(high > low, high - low, 255) if self.kind != np.uint8 else 255
        return mean, np.sqrt(np.maximum(variance, 1e-6 * (span / 255) ** 2))

    def range_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest value (C,) of some rows, where these hold data."""
        return self.extremes[rows, :, 0].min(0), self.extremes[rows, :, 1].max(0)

    def sample(self, rows: np.ndarray) -> np.ndarray:
        """Return the values (C, k) of a fixed sample of the pixels with data of some rows; k is 0 for uint8."""
        kept = self._sample[rows[self.valid[rows] > 0]]
        return kept.swapaxes(0, 1).reshape(kept.shape[1], -1)

    def class_counts(self, rows: np.ndarray) -> np.ndarray:
        """Count the pixels (n, classes + 1) int64 of each class in the masks of some rows; the ignored ones are last.

        These are labels, and nothing guards them: for tools that report, and the labelled pool of a training.
        """
        return self._class_counts[rows]

    def histogram(self, domain: str) -> np.ndarray:
        """Count the pixels (C, 256) int64 of each raw value in all stored patches of a domain (``place@time``).

        There are counts of uint8 images only; of other types they are (C, 0).

        Patches of every part of a fold are in it, those of the target's test too: for tools that report.

        Raises:
            KeyError: no patch of this domain is stored.
        """
        histograms = [shard.histogram for shard in self.shards if shard.domain == domain]
        if not histograms:
            raise KeyError(domain)
        return np.sum(histograms, axis=0)


class Images:
    """Images of some rows. They refer to no store, and so lead to no mask: they may be given to a method."""

    def __init__(self, arrays: Sequence[np.ndarray], where: np.ndarray) -> None:
        self._arrays = arrays
        self._where = where

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return raw images (k, C, S, S) by their positions (k,) among the rows.

        Raises:
            IndexError: there are not so many rows.
        """
        return _gather(self._arrays, self._where, positions)


class Labels:
    """Masks of an allowed set of rows; reading any other is an error. This is the label guard of training."""

    def __init__(self, read: Callable[[np.ndarray], np.ndarray], allowed: frozenset[int]) -> None:
        self._read = read
        self._allowed = allowed

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return masks (n, S, S) uint8: class indices and 255.

        Raises:
            PermissionError: a row is not among those allowed.
        """
        if not self._allowed.issuperset(rows.tolist()):
            raise PermissionError("these labels may not be seen here")
        return self._read(rows)


def open_store(catalog: Catalog, folder: Path, progress: Callable[[int, int], None] | None = None) -> Store:
    """Open the catalog's store; shards that are not in ``folder`` yet are decoded into it.

    The shards are in a folder named after the dataset. Catalogs of other domains of the dataset share it, and the
    shards of the domains that they have in common. A changed file gives a new shard. Finished shards are kept whatever
    ends the call; several processes may call at once, and each shard is decoded by one of them.

    Args:
        catalog: catalog of the patches; select those that are needed, others cost time and disk.
        folder: folder of the stores.
        progress: function called with (files done, files in all) while files are decoded; those of finished shards are
            done.

    Raises:
        DataError: a file is missing or wrong, or the disk is full; the message names the file or the folder.
    """
    place = folder / catalog.name
    plans = plan_shards(catalog)
    shards = {plan.name: open_shard(place / plan.name, plan.stamps) for plan in plans}
    missing = [plan for plan in plans if shards[plan.name] is None]
    if missing:
        try:
            _build(catalog, missing, sum(plan.num_files for plan in plans), place, progress)
        except DataError as error:
            raise DataError(f"{error} (landshift data check lists all files that are wrong)") from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataError(f"the disk is full: the store of {catalog.name} does not fit into {folder}") from error
        shards |= {plan.name: open_shard(place / plan.name, plan.stamps) for plan in missing}
    store = _assemble(place, shards)
    if missing:
        _warn_of_unknown_values(catalog, store.shards)
        _warn_of_oddities(catalog, store)
    return store


def is_decoded(catalog: Catalog, folder: Path) -> bool:
    """Return whether `open_store` would find all shards of the catalog there, and decode nothing.

    Raises:
        DataError: a file of the catalog is missing.
    """
    return all(open_shard(folder / catalog.name / plan.name, plan.stamps) is not None for plan in plan_shards(catalog))


def _build(
    catalog: Catalog, missing: list[Plan], files: int, place: Path, progress: Callable[[int, int], None] | None
) -> None:
    """Build first the shards that no other process builds, then, once they are free, those that others left undone."""
    place.mkdir(parents=True, exist_ok=True)
    _sweep(place)
    bytes_each = read_patches(catalog, missing[0].rows.iloc[:1]).images.nbytes + catalog.patch_size**2
    _require_space(place.parent, sum(len(plan.rows) for plan in missing) * bytes_each)
    done = files - sum(plan.num_files for plan in missing)

    def advance(newly: int) -> None:
        nonlocal done
        done += newly
        if progress:
            progress(done, files)

    advance(0)  # all may be busy: then a bar is seen while others work
    for timeout in (0, -1):
        busy = []
        for plan in missing:
            try:
                _build_one(catalog, plan, place, timeout, advance)
            except Timeout:
                busy.append(plan)
        missing = busy


def _build_one(catalog: Catalog, plan: Plan, folder: Path, timeout: float, progress: Callable[[int], None]) -> None:
    """Write a shard beside its place and move it there when whole, unless another process has done so.

    The holder of the shard's lock builds it, and the system frees the lock if the holder dies. So what is half-written
    there when the lock is got is of a dead build.
    """
    place, half = folder / plan.name, folder / f".{plan.name}.half"
    with _lock(half, timeout):
        if open_shard(place, plan.stamps) is not None:
            progress(plan.num_files)
            return
        if place.exists():
            log.warning("%s is damaged, or its %d files have changed; they are decoded again", place, plan.num_files)
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        try:
            write_shard(catalog, plan, half, progress)
            shutil.rmtree(place, ignore_errors=True)
            half.rename(place)
        finally:
            shutil.rmtree(half, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what dead builds left of shards that may never be needed again; living builds hold their locks."""
    for half in folder.glob(".*.half"):
        try:
            with _lock(half, timeout=0):
                shutil.rmtree(half, ignore_errors=True)
        except Timeout:
            continue


def _lock(half: Path, timeout: float) -> FileLock:
    return FileLock(half.with_suffix(".lock"), timeout=timeout)


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"the disk is full: the store needs {needed / 1e6:.1f} MB in {folder}, and {free / 1e6:.1f} are free"
        )


def _warn_of_unknown_values(catalog: Catalog, shards: Sequence[Shard]) -> None:
    unknown = Counter[str]()
    images = catalog.patches.set_index("id")["image"]
    for shard in shards:
        classes = catalog.member(images[shard.ids[0]]).classes
        unknown.update({classes.describe(value): count for value, count in shard.unknown.items()})
    if unknown:
        values = ", ".join(f"{value} ({count} pixels)" for value, count in unknown.items())
        log.warning("%s: mask values that are no class were ignored: %s", catalog.name, values)


def _warn_of_oddities(catalog: Catalog, store: Store) -> None:
    """Warn of the share of the pixels without data, and of bands that hold one number everywhere in a domain."""
    pixels = store.size**2
    domains = catalog.domain.to_numpy()
    rows = store.rows(catalog.patches["id"].tolist())
    missing = {name: 1 - store.valid[rows[domains == name]].mean() / pixels for name in sorted(set(domains))}
    if parts := [f"{name} {share:.2%}" for name, share in missing.items() if share > 0]:
        share = 1 - store.valid[rows].mean() / pixels
        log.warning(
            "%s: %.2f %% of the pixels hold no data (nodata tag, mask, transparency or NaN) and are ignored: %s%s",
            *(
                catalog.name,
                100 * share,
                ", ".join(parts[:10]),
                f" and {len(parts) - 10} more" if len(parts) > 10 else "",
            ),
        )
    for name in missing:
        for band, low, high in zip(catalog.bands, *store.range_of(rows[domains == name]), strict=True):
            if low == high:
                log.warning("%s: band %s is %.7g in every pixel of %s; it says nothing", catalog.name, band, low, name)


def _reopen(place: Path, names: list[str]) -> Store:
    return _assemble(place, {name: open_shard(place / name) for name in names})


def _assemble(place: Path, by_name: dict[str, Shard | None]) -> Store:
    if lost := [name for name, shard in by_name.items() if shard is None]:
        raise DataError(f"{place / lost[0]}: the decoded patches were removed or damaged meanwhile; start again")
    shards = tuple(shard for shard in by_name.values() if shard is not None)
    for shard in shards:
        if shard.images.dtype != shards[0].images.dtype:
            raise mixed_kinds(shard.ids[0], shard.images.dtype, shards[0].ids[0], shards[0].images.dtype)
    ids = [patch for shard in shards for patch in shard.ids]
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    where = [(number, row) for number, shard in enumerate(shards) for row in range(len(shard.ids))]
    sorted_ids = tuple(ids[row] for row in order)
    digests = np.concatenate([shard.digests for shard in shards])[order]
    return Store(
        shards=shards,
        ids=sorted_ids,
        digest=hashlib.sha256("\0".join(sorted_ids).encode() + digests.tobytes()).hexdigest(),
        sums=np.concatenate([shard.sums for shard in shards])[order],
        square_sums=np.concatenate([shard.square_sums for shard in shards])[order],
        valid=np.concatenate([shard.valid for shard in shards])[order],
        extremes=np.concatenate([shard.extremes for shard in shards])[order],
        image_keys=_keys([shard.image_digests for shard in shards], order),
        mask_keys=_keys([shard.mask_digests for shard in shards], order),
        _class_counts=np.concatenate([shard.class_counts for shard in shards])[order],
        _sample=np.concatenate([shard.sample for shard in shards])[order],
        _where=np.array(where)[order],
    )


def _keys(digests: list[np.ndarray], order: np.ndarray) -> tuple[str, ...]:
    return tuple(row.tobytes().hex() if row.any() else "" for row in np.concatenate(digests)[order])


def _gather(arrays: Sequence[np.ndarray], where: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return some rows of several arrays as one; ``where`` gives the array of each row, and its number there."""
    out = np.empty((len(rows), *arrays[0].shape[1:]), arrays[0].dtype)
    for target, (array, row) in enumerate(where[rows].tolist()):
        out[target] = arrays[array][row]
    return out
