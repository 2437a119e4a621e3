"""Stores of series: each read and checked once, then memory-mapped, so that a patch's crop costs no whole file."""

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from benchmark.common.errors import DataError
from benchmark.common.files import read_text
from benchmark.data.classes import slug
from benchmark.data.series.dates import FLAIR2
from benchmark.data.series.files import KINDS, PARTS, SeriesFiles, read_series
from benchmark.data.series.series import Series
from benchmark.data.shards import FORMAT
from benchmark.data.sources import Stamp, are_same, files_of, stamps_of, with_digests

_LOG = logging.getLogger(__name__)
_ALIGNED = 8  # bytes


@dataclass(frozen=True)
class SeriesSource:
    """Files of one series.

    Attributes:
        key: name of the series in the store: its zone in FLAIR #2 (``D004_2021/Z10_AU``), its patch in FLAIR-HUB.
        domain: domain whose series are stored together.
        files: paths of all files that it is read from.
        read: function that reads it.
    """

    key: str
    domain: str
    files: tuple[str, ...]
    read: Callable[[], Series]


class _Stored(NamedTuple):
    """A series, its digest and its sums (3, C), see `_sums_of`."""

    series: Series
    digest: str
    sums: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SeriesStore:
    """Series, memory-mapped; one file stays open a domain.

    Attributes:
        places: folders of the shards.
        digest: digest of all keys and series, the same wherever the files are.
    """

    places: tuple[Path, ...]
    digest: str
    _series: Mapping[str, Series]
    _sums: Mapping[str, NDArray[np.float64]]

    def __reduce__(self) -> tuple[Callable[[Sequence[Path]], "SeriesStore"], tuple[Sequence[Path]]]:
        return _reopen, (self.places,)  # another process maps the files itself

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all series, sorted."""
        return tuple(self._series)

    def read(self, key: str) -> Series:
        """Return a whole series. Its arrays are read-only views of the file: what is cut of them alone is read.

        Raises:
            KeyError: there is no such series.
        """
        return self._series[key]

    def moments(self, keys: Iterable[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation (C,) of the pixels of some series without cloud and snow."""
        count, sums, squares = np.sum([self._sums[key] for key in keys], axis=0)
        mean = sums / np.maximum(count, 1)
        return mean, np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 1.0))


def _sums_of(series: Series) -> NDArray[np.float64]:
    """Return (3, C): number, sum and sum of squares of the pixels that neither cloud nor snow covers."""
    clear = np.asarray((series.covers < FLAIR2.probability).all(1))
    sums = np.zeros((3, series.values.shape[1]))
    for image, seen in zip(series.values, clear, strict=True):
        pixels = image[:, seen].astype(np.float64)
        sums += np.stack([np.full(len(pixels), pixels.shape[1]), pixels.sum(1), (pixels**2).sum(1)])
    return sums


def zone_sources(files: SeriesFiles, zones: Iterable[str]) -> list[SeriesSource]:
    """Return the sources of zones of FLAIR #2.

    Raises:
        DataError: a file of a zone is missing, there twice or elsewhere than its name says.
    """
    if faults := [*files.walked.unreadable, *files.misplaced]:
        raise DataError(faults[0])
    if files.walked.twice:
        raise DataError(
            f"{Path(files.walked.twice[0]).name} is there twice, the second time as {files.walked.twice[0]}"
        )
    sources = []
    for zone in sorted(set(zones)):
        paths = files.zones.get(zone, {})
        if missing := [part for part in PARTS if part not in paths]:
            name = f"SEN2_sp_{zone.replace('/', '-')}_{missing[0]}"
            raise DataError(f"{name} is missing; a series needs {', '.join(PARTS)}")
        ordered = tuple(paths[part] for part in PARTS)
        sources.append(SeriesSource(zone, zone.partition("/")[0], ordered, partial(read_series, *ordered)))
    return sources


def centres_of(
    store: SeriesStore, zones: Mapping[str, str], centroids: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Return row and column of each patch's centre in the series of its zone.

    Args:
        zones: zone of each patch by its id, see `benchmark.data.series.files.zone_of`.
        centroids: result of `benchmark.data.series.files.read_centroids`.

    Raises:
        DataError: a patch has no centroid, or one outside of its series.
    """
    if lacking := sorted(zones.keys() - centroids.keys()):
        raise DataError(f"{len(lacking)} patches have no centroid in their series, such as {lacking[0]}")
    centres = {patch: centroids[patch] for patch in zones}
    for patch, (row, column) in centres.items():
        rows, columns = store.read(zones[patch]).values.shape[-2:]
        if row >= rows or column >= columns:
            place = f"row {row}, column {column}, and the series of {zones[patch]} has {rows} x {columns} pixels"
            raise DataError(f"the centroid of {patch} is outside: {place}")
    return centres


def open_series_store(
    name: str, sources: Sequence[SeriesSource], folder: Path, progress: Callable[[int, int], None] | None = None
) -> SeriesStore:
    """Open the series of a data set; those not in ``folder`` yet, or of files that have changed, are read into it.

    There is a shard a domain, which is written whole or not at all; several processes may call at once, and each shard
    is written by one of them.

    Args:
        name: name of the data set; the shards are in a folder named after it.
        sources: sources of the series, see `zone_sources` and `benchmark.data.series.hub`.
        folder: folder of the stores.
        progress: function called with (series done, series in all) while series are read.

    Raises:
        DataError: a file is missing or wrong, or the disk is full; the message names the file or the folder.
    """
    by_domain: dict[str, list[SeriesSource]] = {}
    for source in sorted(sources, key=lambda source: source.key):
        by_domain.setdefault(source.domain, []).append(source)
    stamps = stamps_of({file for source in sources for file in source.files})
    places, done = [], 0
    for domain, members in sorted(by_domain.items()):
        of_files = {file: stamps[file] for source in members for path in source.files for file in files_of(path)}
        content = (FORMAT, "sums", [(source.key, source.files) for source in members])
        changed = sorted((file, stamp[:2]) for file, stamp in of_files.items())
        key = hashlib.sha256(repr((content, changed)).encode()).hexdigest()[:16]
        places.append(folder / f"{name}-series" / f"{slug(domain)[:60]}-{key}")
        if _open(places[-1], of_files) is None:
            _build(places[-1], members, of_files, folder)
        done += len(members)
        if progress:
            progress(done, len(sources))
    return _reopen(places)


def _build(place: Path, sources: Sequence[SeriesSource], stamps: Mapping[str, Stamp], folder: Path) -> None:
    """Write a shard beside its place and move it there when whole, unless another process has done so meanwhile."""
    half = place.with_name(f".{place.name}.half")
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(half.with_suffix(".lock")):  # the system frees it if its holder dies
        if _open(place, stamps) is not None:
            return
        if place.exists():
            _LOG.warning("%s is damaged, or its files have changed; they are read again", place)
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        try:
            _write(half, sources, stamps)
            shutil.rmtree(place, ignore_errors=True)
            half.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataError(f"the disk is full: the series of {sources[0].domain} do not fit into {folder}") from error
        finally:
            shutil.rmtree(half, ignore_errors=True)


def _write(half: Path, sources: Sequence[SeriesSource], stamps: Mapping[str, Stamp]) -> None:
    digests = with_digests(stamps)  # before they are read: what changes meanwhile is noticed next time
    entries = []
    with (half / "series.bin").open("wb") as file:
        for source in sources:
            series = source.read()
            start, days = file.tell(), series.days.tolist()
            kind, shape = series.values.dtype.name, series.values.shape
            digest = hashlib.sha256(repr((kind, shape, days)).encode())
            for array in (series.values, series.covers):
                digest.update(content := np.ascontiguousarray(array).data)
                file.write(content)
                file.write(bytes(-file.tell() % _ALIGNED))
            entries.append([source.key, start, kind, shape, days, digest.hexdigest(), _sums_of(series).tolist()])
        written = file.tell()
    # The keys that `benchmark.data.prune` looks for: it removes shards of other formats, and of files that are gone.
    about = {"format": FORMAT, "bytes": written, "sources": digests, "patches": entries}
    (half / "shard.json").write_text(json.dumps(about), encoding="utf-8")


def _open(place: Path, stamps: Mapping[str, Stamp] | None = None) -> dict[str, _Stored] | None:
    """Return the series of a shard; None where it is not there, damaged or of other files."""
    try:
        about = json.loads(read_text(place / "shard.json"))
        file = place / "series.bin"
        if file.stat().st_size != about["bytes"] or (stamps is not None and not are_same(place, about, stamps)):
            return None
        content = np.asarray(np.memmap(file, np.uint8, "r"))
        return {
            entry[0]: _Stored(_mapped(content, *entry[1:5]), str(entry[5]), _table(entry)) for entry in about["patches"]
        }
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # such as too many open files: it says nothing of the shard
        raise
    except Exception:  # JSON and numpy have a dozen kinds of errors for damaged content
        return None


def _table(entry: Sequence[Any]) -> NDArray[np.float64]:
    """Return the sums of an entry, if they are (3, C)."""
    sums = np.array(entry[6], np.float64)
    if sums.shape != (3, entry[3][1]) or not np.isfinite(sums).all():
        raise ValueError("damaged")
    return sums


def _mapped(content: np.ndarray, start: int, kind: str, shape: Sequence[int], days: Sequence[int]) -> Series:
    if kind not in KINDS or start < 0 or len(days) != shape[0]:
        raise ValueError("damaged")
    dates, _, height, width = shape
    end = start + int(np.prod(shape)) * np.dtype(kind).itemsize
    values = content[start:end].view(kind).reshape(shape)
    end += -end % _ALIGNED
    covers = content[end : end + dates * 2 * height * width].reshape(dates, 2, height, width)
    return Series(values, np.array(days, np.int32), covers)


def _reopen(places: Sequence[Path]) -> SeriesStore:
    stored: dict[str, _Stored] = {}
    digest = hashlib.sha256()
    for place in places:
        shard = _open(place)
        if shard is None:
            raise DataError(f"{place}: the stored series were removed or damaged meanwhile; start again")
        stored |= shard
        digest.update("\0".join(f"{key}\0{each.digest}" for key, each in shard.items()).encode())
    series = {key: each.series for key, each in sorted(stored.items())}
    return SeriesStore(tuple(places), digest.hexdigest(), series, {key: each.sums for key, each in stored.items()})
