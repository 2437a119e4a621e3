"""The store: every patch decoded once, in two flat files that are memory-mapped from then on."""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from benchmark.data.catalog import Catalog
from benchmark.data.raster import read_patches
from benchmark.errors import DataError

FORMAT = 1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """Decoded patches of a catalog, memory-mapped.

    Attributes:
        place: the folder it lies in.
        ids: patch ids, in the order of the rows.
        digest: of the ids and all decoded bytes, the same wherever the files lie.
        images: (N, C, S, S) uint8, raw pixel values.
        sums, square_sums: (N, C) float64, over the pixels of each patch; from them follow the means of any patches.
    """

    place: Path
    ids: tuple[str, ...]
    digest: str
    images: np.ndarray
    sums: np.ndarray
    square_sums: np.ndarray
    _masks: np.ndarray

    def __reduce__(self) -> tuple[Callable[[Path], "Store"], tuple[Path]]:
        return _open, (self.place,)  # another process maps the files itself; pickling a memory map copies it whole

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row numbers (n,) int64 of patches."""
        numbers = {patch: row for row, patch in enumerate(self.ids)}
        return np.array([numbers[patch] for patch in ids], dtype=np.int64)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Raw images (n, C, S, S) of some rows."""
        return np.take(self.images, rows, axis=0)

    def labels_of(self, rows: np.ndarray) -> "Labels":
        """A reader of the masks of these rows and of no others."""
        return Labels(self._masks, frozenset(rows.tolist()))

    def band_statistics(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (C,) of the raw pixel values of some rows."""
        pixels = len(rows) * self.images.shape[-1] ** 2
        mean = self.sums[rows].sum(0) / pixels
        variance = self.square_sums[rows].sum(0) / pixels - mean**2
        return mean, np.sqrt(np.maximum(variance, 1e-6))


class Labels:
    """The masks of an allowed set of rows; reading any other is an error. The label guard of training."""

    def __init__(self, masks: np.ndarray, allowed: frozenset[int]) -> None:
        self._masks = masks
        self._allowed = allowed

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Masks (n, S, S) uint8: class indices and 255.

        Raises:
            PermissionError: a row is not among those allowed.
        """
        if not self._allowed.issuperset(rows.tolist()):
            raise PermissionError("these labels may not be seen here")
        return np.take(self._masks, rows, axis=0)


def open_store(catalog: Catalog, folder: Path, progress: Callable[[int, int], None] | None = None) -> Store:
    """The catalog's store, decoded into ``folder`` if it is not there yet.

    The store's folder is named after the catalog and a key over its table, its classes and each file's size and time
    of change; so a changed file gives a new store. It is written beside its place and moved there when whole: an
    interrupted call leaves nothing half-written.

    Args:
        catalog: the patches.
        folder: where stores lie.
        progress: called with (files done, files in all).

    Raises:
        DataError: a file is missing or wrong, or the disk is full; the message names the file or the folder.
    """
    place = folder / f"{catalog.name}-{_key(catalog)}"
    if not (place / "store.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=folder))
        try:
            _write(catalog, half, progress)
            _move(half, place)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataError(f"the disk is full: the store of {catalog.name} does not fit into {folder}") from error
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return _open(place)


def _move(half: Path, place: Path) -> None:
    """Two processes may have decoded at the same time; the first to finish wins, and the copies are equal."""
    try:
        half.rename(place)
    except OSError:
        if not (place / "store.json").is_file():
            raise


def _key(catalog: Catalog) -> str:
    patches = catalog.patches
    stamps = []
    for path in sorted({*patches["image"], *patches["mask"]} - {""}):
        try:
            status = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat for 100,000 files
        except FileNotFoundError as error:
            raise DataError(f"{path} is in the catalog, but not on the disk") from error
        stamps.append((path, status.st_size, status.st_mtime_ns))
    columns = patches[["id", "image", "mask", "row", "column"]].to_csv(index=False)
    reading = (catalog.bands, catalog.patch_size, catalog.scale, catalog.unknown_share, catalog.maximum)
    setting = (FORMAT, catalog.classes, reading)
    return hashlib.sha256(repr((setting, stamps, columns)).encode()).hexdigest()[:12]


def _write(catalog: Catalog, folder: Path, progress: Callable[[int, int], None] | None) -> None:
    """Decode file after file and append; plain writes, because a full disk under a memory map kills the process."""
    groups = list(catalog.patches.groupby("image", sort=True))
    count, size, bands = len(catalog.patches), catalog.patch_size, len(catalog.bands)
    digest, unknown = hashlib.sha256(), Counter[int]()
    ids: list[str] = []
    sums: list[np.ndarray] = []
    square_sums: list[np.ndarray] = []
    _require_space(folder, count * size * size * (bands + 1))
    with (folder / "images.npy").open("wb") as images, (folder / "masks.npy").open("wb") as masks:
        _header(images, (count, bands, size, size))
        _header(masks, (count, size, size))
        for done, (_, rows) in enumerate(groups):
            decoded = read_patches(catalog, rows)
            ids += rows["id"].tolist()
            unknown.update(decoded.unknown)
            exact = decoded.images.astype(np.float64)
            sums.append(exact.sum((2, 3)))
            square_sums.append((exact**2).sum((2, 3)))
            for array, file in ((decoded.images, images), (decoded.masks, masks)):
                content = np.ascontiguousarray(array).tobytes()
                digest.update(content)
                file.write(content)
            if progress:
                progress(done + 1, len(groups))
    if unknown:
        told = ", ".join(f"{catalog.classes.describe(value)} ({count} pixels)" for value, count in unknown.items())
        log.warning("%s: mask values that are no class were ignored: %s", catalog.name, told)
    digest.update("\0".join(ids).encode())
    np.savez(folder / "statistics.npz", sums=np.concatenate(sums), square_sums=np.concatenate(square_sums))
    summary = {"digest": digest.hexdigest(), "ids": ids, "unknown": {str(k): int(v) for k, v in unknown.items()}}
    (folder / "store.json").write_text(json.dumps(summary), encoding="utf-8")


def _header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "|u1"})


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"the disk is full: the store needs {needed / 1e6:.1f} MB in {folder.parent}, and {free / 1e6:.1f} are free"
        )


def _open(place: Path) -> Store:
    content = json.loads((place / "store.json").read_text(encoding="utf-8"))
    statistics = np.load(place / "statistics.npz")
    return Store(
        place=place,
        ids=tuple(content["ids"]),
        digest=content["digest"],
        images=np.load(place / "images.npy", mmap_mode="r"),
        sums=statistics["sums"],
        square_sums=statistics["square_sums"],
        _masks=np.load(place / "masks.npy", mmap_mode="r"),
    )
