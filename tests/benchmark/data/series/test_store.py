"""Stored series: the same as the files, written whole or not at all, kept until a file changes."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.errors import DataError
from benchmark.data.prune import old_shards
from benchmark.data.series import store as stores
from benchmark.data.series.files import PARTS, find_series, read_centroids, read_series
from benchmark.data.series.series import crop
from benchmark.data.series.store import SeriesStore, centres_of, open_series_store, zone_sources

KEYS = ("D004_2019/Z10_AU", "D004_2021/Z10_AU", "D012_2019/Z2_UU")


def _open(root: Path, folder: Path) -> SeriesStore:
    return open_series_store("flair2", zone_sources(find_series(root), KEYS), folder)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the values that were read."""
    seen: list[str] = []

    def read(data: str, masks: str, products: str) -> object:
        seen.append(data)
        return read_series(data, masks, products)

    monkeypatch.setattr(stores, "read_series", read)
    return seen


def test_stored_series_are_those_of_the_files(flair2: Path, folder: Path, write_series: Callable[..., object]) -> None:
    odd = flair2 / "flair_sen_test"
    write_series(odd, KEYS[2], ["20190101", "20190105", "20190109"], 7)  # sizes that are no multiples of eight bytes
    store, files = _open(flair2, folder), find_series(flair2)
    assert store.keys == KEYS and len(store.places) == 3
    for key in KEYS:
        series, stored = read_series(*(files.zones[key][part] for part in PARTS)), store.read(key)
        for name in ("values", "days", "covers"):
            np.testing.assert_array_equal(getattr(stored, name), getattr(series, name))
            assert getattr(stored, name).dtype == getattr(series, name).dtype
    part = crop(store.read(KEYS[0]), (24, 24))
    assert np.shares_memory(part.values, store.read(KEYS[0]).values)
    with pytest.raises(ValueError, match="read-only"):
        part.values[:] = 0


def test_series_are_read_once_and_again_when_a_file_changes(flair2: Path, folder: Path, reads: list[str]) -> None:
    digest = _open(flair2, folder).digest
    assert len(reads) == 3
    assert _open(flair2, folder).digest == digest and len(reads) == 3
    path = next(flair2.rglob("*Z2_UU_data.npy"))
    np.save(path, np.load(path) + 1)
    assert _open(flair2, folder).digest != digest and len(reads) == 4
    assert [shard.reason for shard in old_shards(folder)] == ["of files that were changed since"]


def test_the_digest_does_not_depend_on_where_the_files_are(flair2: Path, folder: Path) -> None:
    digest = _open(flair2, folder).digest
    moved = flair2.with_name("moved")
    flair2.rename(moved)
    assert _open(moved, folder / "other").digest == digest


def test_a_damaged_shard_is_written_again(flair2: Path, folder: Path, reads: list[str]) -> None:
    store = _open(flair2, folder)
    values = store.read(KEYS[2]).values.copy()
    with (store.places[2] / "series.bin").open("ab") as file:
        file.write(b"1")
    (store.places[1] / "shard.json").write_text("{")
    np.testing.assert_array_equal(_open(flair2, folder).read(KEYS[2]).values, values)
    assert len(reads) == 5


def test_a_failed_build_leaves_nothing(flair2: Path, folder: Path) -> None:
    path = next(flair2.rglob("*Z2_UU_masks.npy"))
    content = path.read_bytes()
    path.write_bytes(content[:500])
    with pytest.raises(DataError, match=r"Z2_UU_masks.npy: no readable"):
        _open(flair2, folder)
    assert not list(folder.rglob("*.half")) and len(list(folder.rglob("series.bin"))) == 2
    path.write_bytes(content)
    assert _open(flair2, folder).keys == KEYS


def test_another_process_maps_the_files_itself(flair2: Path, folder: Path) -> None:
    store = _open(flair2, folder)
    pickled = pickle.dumps(store)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    assert again.digest == store.digest
    np.testing.assert_array_equal(again.read(KEYS[1]).covers, store.read(KEYS[1]).covers)
    (store.places[0] / "shard.json").unlink()
    with pytest.raises(DataError, match="removed or damaged"):
        pickle.loads(pickled)


def test_a_zone_that_lacks_a_file_is_named(flair2: Path) -> None:
    next(flair2.rglob("*Z2_UU_masks.npy")).unlink()
    with pytest.raises(DataError, match=r"SEN2_sp_D012_2019-Z2_UU_masks.npy is missing"):
        zone_sources(find_series(flair2), KEYS)
    (flair2 / "x.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"x.zip: no readable zip archive"):
        zone_sources(find_series(flair2), KEYS)


def test_centres_are_those_of_the_file_and_inside(flair2: Path, folder: Path) -> None:
    store, zones = _open(flair2, folder), dict(zip(("IMG_000002", "IMG_000001", "IMG_061713"), KEYS, strict=True))
    centroids = read_centroids(find_series(flair2).centroids)
    assert centres_of(store, zones, centroids) == {
        "IMG_000001": (24, 26),
        "IMG_000002": (3, 50),
        "IMG_061713": (20, 20),
    }
    with pytest.raises(DataError, match="1 patches have no centroid in their series, such as IMG_000003"):
        centres_of(store, {**zones, "IMG_000003": KEYS[0]}, centroids)
    with pytest.raises(DataError, match="the centroid of IMG_000001 is outside: row 3, column 52"):
        centres_of(store, zones, {**centroids, "IMG_000001": (3, 52)})
