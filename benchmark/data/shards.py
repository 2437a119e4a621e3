"""Shards: the decoded patches of a part of one domain, in a folder that is written whole or not at all."""

import hashlib
import json
import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property, partial
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import pandas as pd
from rasterio.errors import NotGeoreferencedWarning

from benchmark.common.files import read_arrays, read_text
from benchmark.data.catalog import Catalog
from benchmark.data.classes import IGNORE, slug
from benchmark.data.numbers import KINDS, SAMPLED, PixelSums, count_values, join_sums, mixed_kinds, sum_pixels
from benchmark.data.patches import Patches, read_patches
from benchmark.data.raster import prepare_thread
from benchmark.data.scenes import units
from benchmark.data.sources import Stamp, are_same, files_of, stamps_of, with_digests

FORMAT = 4
SHARD_PATCHES = 500  # at most; what a kill can cost, and two memory maps a shard stay open
_COLUMNS = ["id", "image", "mask", "row", "column"]
_ELSEWHERE = ("patches", "footprints", "pieces", "files", "members", "heights")  # of a catalog: not in every key
_ARRAYS = ("images.npy", "masks.npy", "statistics.npz")
_MOST_THREADS = 32
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Plan:
    """Content that a shard is to have.

    Attributes:
        name: name of its folder: the domain, and a key over everything that its content depends on.
        domain: domain ``place@time``.
        rows: rows of the catalog's table, with the column ``unit``: what is read at once.
        stamps: stamps of the files on disk that they are read from.
    """

    name: str
    domain: str
    rows: pd.DataFrame
    stamps: Mapping[str, Stamp]

    @property
    def num_files(self) -> int:
        """Number of image files, or pieces of scenes."""
        return int(self.rows["unit"].nunique())

    @cached_property
    def ordered(self) -> pd.DataFrame:
        """Rows in the order of the shard: file by file, in that of their first rows."""
        return self.rows.iloc[np.argsort(pd.factorize(self.rows["unit"])[0], kind="stable")]

    def files(self) -> Iterator[pd.DataFrame]:
        """Yield the rows, image file by image file (of a scene piece by piece), in the order of the shard.

        Made each time: a table a file, kept, would be the one thing here that grows with the data set.
        """
        units = pd.factorize(self.ordered["unit"])[0]
        ends = (np.flatnonzero(np.diff(units, append=-1)) + 1).tolist()
        return (self.ordered.iloc[start:end] for start, end in pairwise([0, *ends]))  # ten times as fast as groupby


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard on disk, memory-mapped.

    Attributes:
        place: folder of the shard.
        domain: domain ``place@time``.
        ids: ids of its n patches, in the order of the arrays.
        unknown: number of pixels of each mask value that is no known class.
        images: (n, C, S, S) stored values, of one of `benchmark.data.numbers.KINDS`.
        masks: (n, S, S) uint8, class indices and 255.
        sums, square_sums, valid, extremes, sample, histogram: see `benchmark.data.numbers.PixelSums`.
        class_counts: (n, classes + 1) int64, pixels of each class and, last, ignored ones.
        digests: (n, 32) uint8, SHA-256 of each patch's image and mask.
        image_digests, mask_digests: (n, 32) uint8, of each alone; zeros where it holds one colour or one class.
    """

    place: Path
    domain: str
    ids: tuple[str, ...]
    unknown: dict[int, int]
    images: np.ndarray
    masks: np.ndarray
    sums: np.ndarray
    square_sums: np.ndarray
    valid: np.ndarray
    extremes: np.ndarray
    sample: np.ndarray
    histogram: np.ndarray
    class_counts: np.ndarray
    digests: np.ndarray
    image_digests: np.ndarray
    mask_digests: np.ndarray


def plan_shards(catalog: Catalog) -> list[Plan]:
    """Cut the catalog into shards: the patches of one domain, in whole files or pieces of scenes.

    A shard has at most `SHARD_PATCHES` patches, unless one file that is read at once has more. Two catalogs that hold
    the same patches of a domain get the same shards of it. A shard's key is over its rows, how they are read, and the
    path, size and time of change of its files.

    Raises:
        DataError: a file is missing; the message names it.
    """
    stamps = stamps_of(_paths(catalog, catalog.patches))
    plans = []
    unit = units(catalog.patches, catalog.pieces, catalog.patch_size)
    for domain, patches in catalog.patches[_COLUMNS].assign(unit=unit).groupby(catalog.domain):
        for member, rows in _cut_by_source(catalog, patches):
            sources = sorted({file for path in _paths(catalog, rows) for file in files_of(path)})
            table, changed = rows[_COLUMNS].values.tolist(), [(path, stamps[path][:2]) for path in sources]
            content: tuple[object, ...] = (FORMAT, _reading(member), domain, table, changed)
            if member.files:
                content = (*content, [member.files.get(image) for image in rows["image"].unique()])
            if member.heights:
                content = (*content, "heights")
            key = hashlib.sha256(repr(content).encode()).hexdigest()[:16]
            of_files = {path: stamps[path] for path in sources}
            plans.append(Plan(f"{slug(str(domain))[:60]}-{key}", str(domain), rows, of_files))
    return plans


def _reading(catalog: Catalog) -> dict[str, object]:
    """Return all settings, so that one which a catalog may get some day is not forgotten here."""
    return {field.name: getattr(catalog, field.name) for field in fields(catalog) if field.name not in _ELSEWHERE}


def _cut_by_source(catalog: Catalog, patches: pd.DataFrame) -> Iterator[tuple[Catalog, pd.DataFrame]]:
    """Yield the rows of shard after shard, each of images that are read in one way."""
    if not catalog.members:
        yield from ((catalog, rows) for rows in _cut(patches))
        return
    numbers, members = pd.factorize(patches["image"].map(catalog.member))
    for number, member in enumerate(members):
        for rows in _cut(patches[numbers == number]):
            yield member, rows


def _paths(catalog: Catalog, rows: pd.DataFrame) -> set[str]:
    further = (catalog.files.get(image, ()) for image in rows["image"].unique()) if catalog.files else ()
    return {*rows["image"], *rows["mask"], *chain.from_iterable(further)} - {""}


def _cut(patches: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the rows of shard after shard; files are taken in the order of their first ids."""
    file_of_patch, _ = pd.factorize(patches["unit"])
    shard_of_file, shard, taken = [], 0, 0
    for count in np.bincount(file_of_patch).tolist():
        if taken + count > SHARD_PATCHES:
            shard, taken = shard + 1, 0
        taken += count
        shard_of_file.append(shard)
    for _, rows in patches.groupby(np.array(shard_of_file)[file_of_patch]):
        yield rows


def open_shard(place: Path, stamps: Mapping[str, Stamp] | None = None) -> Shard | None:
    """Return the shard in a folder; None where there is none, where a file is damaged, or where it is of other content.

    Damage is known by the files' sizes; their bytes are not read.

    Args:
        place: folder of the shard.
        stamps: stamps of the files that it was made of; they are not looked at if None.
    """
    try:
        about = json.loads(read_text(place / "shard.json"))
        if any((place / name).stat().st_size != about["bytes"][name] for name in _ARRAYS):
            return None
        if stamps is not None and not are_same(place, about, stamps):
            return None
        shard = Shard(
            place=place,
            domain=about["domain"],
            ids=tuple(patch[0] for patch in about["patches"]),
            unknown={int(value): count for value, count in about["unknown"].items()},
            images=_map(place / "images.npy"),
            masks=_map(place / "masks.npy"),
            **read_arrays(place / "statistics.npz"),
        )
        return shard if _fits(shard) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # such as too many open files: it says nothing of the shard
        raise
    except Exception:  # numpy's headers, zip and JSON have a dozen kinds of errors for damaged content
        return None


def _fits(shard: Shard) -> bool:
    """Return whether the arrays are of kinds and shapes that belong together: their files may come from elsewhere."""
    count = len(shard.ids)
    bands, size = shard.images.shape[1:3] if shard.images.ndim == 4 else (0, 0)
    kind = shard.images.dtype
    expected = {
        "images": ((count, bands, size, size), kind),
        "masks": ((count, size, size), np.uint8),
        "sums": ((count, bands), np.float64),
        "square_sums": ((count, bands), np.float64),
        "valid": ((count,), np.int64),
        "extremes": ((count, bands, 2), np.float64),
        "sample": ((count, bands, 0 if kind == np.uint8 else SAMPLED), kind),
        "histogram": ((bands, 256 if kind == np.uint8 else 0), np.int64),
        "class_counts": ((count, shard.class_counts.shape[-1] if shard.class_counts.ndim else 0), np.int64),
        **dict.fromkeys(("digests", "image_digests", "mask_digests"), ((count, 32), np.uint8)),
    }
    arrays = {name: getattr(shard, name) for name in expected}
    right = all((arrays[name].shape, arrays[name].dtype) == (shape, kind) for name, (shape, kind) in expected.items())
    return right and kind in KINDS and count > 0 and all(isinstance(text, str) for text in (shard.domain, *shard.ids))


def _map(path: Path) -> np.ndarray:
    # A plain view: rows of numpy's memmap class take several times longer to make.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def write_shard(catalog: Catalog, plan: Plan, folder: Path, progress: Callable[[int], None]) -> None:
    """Decode a shard's files by all cores, in order, into an empty folder; ``shard.json`` comes last.

    Args:
        catalog: catalog of the patches.
        plan: plan of the shard, one of `plan_shards`.
        folder: folder that exists and is empty.
        progress: function called with the number of files that are newly done.

    Raises:
        DataError: a file is missing or wrong.
        OSError: the disk is full, or the folder cannot be written.
    """
    size, bands = catalog.patch_size, len(catalog.bands)
    sources = with_digests(plan.stamps)  # before they are read: what changes meanwhile is noticed next time
    files: list[_Counts] = []
    with (
        (folder / "images.npy").open("wb") as images,  # plain writes: a full disk under a memory map kills the process
        (folder / "masks.npy").open("wb") as masks,
        # Each reading thread changes the process's filters and puts back what it found, perhaps another's.
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        _header(masks, (len(plan.rows), size, size), np.dtype(np.uint8))
        kind: np.dtype | None = None
        for (decoded, counts), rows in zip(
            _in_threads(partial(_decode, catalog), plan.files()), plan.files(), strict=True
        ):
            if kind is None:
                kind = decoded.images.dtype
                _header(images, (len(plan.rows), bands, size, size), kind)
            if decoded.images.dtype != kind:
                raise mixed_kinds(rows["image"].iloc[0], decoded.images.dtype, plan.rows["image"].iloc[0], kind)
            images.write(np.ascontiguousarray(decoded.images).data)
            masks.write(np.ascontiguousarray(decoded.masks).data)
            files.append(counts)
            progress(1)
    _write_statistics(folder / "statistics.npz", files, catalog.classes.num_classes)
    unknown = sum((Counter(counts.unknown) for counts in files), Counter[int]())
    about = {
        "format": FORMAT,
        "dataset": catalog.name,
        "domain": plan.domain,
        "bands": catalog.bands,
        "classes": catalog.classes.names,
        "unknown": {str(value): count for value, count in unknown.items()},
        "bytes": {name: (folder / name).stat().st_size for name in _ARRAYS},
        "sources": sources,
        "columns": _COLUMNS,
        "patches": plan.ordered[_COLUMNS].values.tolist(),
    }
    (folder / "shard.json").write_text(json.dumps(about), encoding="utf-8")


@dataclass(frozen=True, eq=False)
class _Counts:
    """Sums of the n patches of a file, and pixels of each value of their masks (n, 256) int64."""

    images: PixelSums
    masks: np.ndarray
    digests: np.ndarray
    image_digests: np.ndarray
    mask_digests: np.ndarray
    unknown: dict[int, int]


def _decode(catalog: Catalog, rows: pd.DataFrame) -> tuple[Patches, _Counts]:
    decoded = read_patches(catalog, rows)
    images = sum_pixels(decoded.images, decoded.valid)
    masks = np.array([count_values(mask) for mask in decoded.masks])
    kind = decoded.images.dtype
    named = b"" if kind == np.uint8 else str(kind).encode()  # the same bytes mean other numbers in another type
    whole, alone, labels = [], [], []
    for image, mask in zip(map(np.ascontiguousarray, decoded.images), decoded.masks, strict=True):
        digest = hashlib.sha256(named)
        digest.update(image.data)
        alone.append(digest.digest())
        digest.update((labelled := np.ascontiguousarray(mask)).data)
        whole.append(digest.digest())
        labels.append(hashlib.sha256(labelled.data).digest())
    return decoded, _Counts(
        images=images,
        masks=masks,
        digests=_rows(whole),
        image_digests=_rows(alone) * images.varies.astype(np.uint8)[:, None],
        mask_digests=_rows(labels) * ((masks[:, :IGNORE] > 0).sum(1) > 1).astype(np.uint8)[:, None],
        unknown=decoded.unknown,
    )


def _rows(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)


def _write_statistics(path: Path, files: list[_Counts], classes: int) -> None:
    masks = np.concatenate([counts.masks for counts in files])
    np.savez(
        path,
        **join_sums([counts.images for counts in files]),
        class_counts=masks[:, [*range(classes), IGNORE]],
        digests=np.concatenate([counts.digests for counts in files]),
        image_digests=np.concatenate([counts.image_digests for counts in files]),
        mask_digests=np.concatenate([counts.mask_digests for counts in files]),
    )


def _header(file: BinaryIO, shape: tuple[int, ...], kind: np.dtype) -> None:
    header = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(kind)}
    np.lib.format.write_array_header_1_0(file, header)


def _in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield results in the order of the items; few are ahead of the one that is taken, so that they fit into memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(cores, _MOST_THREADS)
    with ThreadPoolExecutor(threads, initializer=prepare_thread) as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
