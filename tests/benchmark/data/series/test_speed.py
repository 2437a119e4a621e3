"""Reading a patch's series from the store takes a tenth of the time that the published way takes, or less."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from benchmark.data.batches import Batches
from benchmark.data.flair import read_flair
from benchmark.data.metadata import metadata_of
from benchmark.data.series.dates import SeriesView, select
from benchmark.data.series.files import find_series, read_days
from benchmark.data.series.patches import open_patch_series
from benchmark.data.series.series import Series, crop
from benchmark.data.series.store import open_series_store, zone_sources
from benchmark.data.store import open_store

ZONE = "D004_2021/Z10_AU"
PATCHES = 40
CORNER = from_origin(700_000, 6_600_000, 0.2, 0.2)


def _published(paths: dict[str, Path], centre: tuple[int, int], monthly: bool) -> tuple[np.ndarray, np.ndarray]:
    """FLAIR #2's way: both arrays are opened whole for each patch, cut, filtered date by date, and perhaps averaged."""
    rows, columns = (slice(place - 20, place + 20) for place in centre)
    values = np.load(paths["data.npy"])[:, :, rows, columns]
    days = read_days(str(paths["products.txt"]))
    covers = np.load(paths["masks.npy"])[:, :, rows, columns].astype(int)
    counts = [np.count_nonzero(date[0] >= 60) + np.count_nonzero(date[1] >= 60) for date in covers]
    kept = [number for number, count in enumerate(counts) if count / 1600 < 0.5]
    values, days = values[kept], days[kept]
    if monthly:
        months = days.astype("datetime64[D]").astype("datetime64[M]")
        values = np.array([values[months == month].mean(0) for month in np.unique(months)])
    return values, days


def _median(work: Callable[[tuple[int, int]], object], centres: list[tuple[int, int]]) -> float:
    times = []
    for centre in centres:
        start = time.perf_counter()
        work(centre)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@pytest.fixture
def copy(tmp_path: Path, write_series: Callable[..., dict[str, Path]]) -> dict[str, Path]:
    """Sixteen patches of 512 pixels in one zone, as FLAIR #2 has them, with their series; the paths of its files."""
    random = np.random.default_rng(0)
    for kind, folder, count in (("IMG", "flair_aerial_train", 5), ("MSK", "flair_labels_train", 1)):
        home = tmp_path / folder / ZONE / kind.lower()
        home.mkdir(parents=True)
        for number in range(1, 17):
            pixels = random.integers(1, 13 if kind == "MSK" else 256, (count, 512, 512), dtype=np.uint8)
            with rasterio.open(
                home / f"{kind}_{number:06d}.tif", "w", "GTiff", 512, 512, count, "EPSG:2154", CORNER, "uint8"
            ) as file:
                file.write(pixels)
    centres = {f"IMG_{number:06d}.tif": random.integers(20, 187, 2).tolist() for number in range(1, 17)}
    (tmp_path / "flair-2_centroids_sp_to_patch.json").write_text(json.dumps(centres))
    dates = [f"2021{1 + number // 4:02d}{1 + 7 * (number % 4):02d}" for number in range(48)]
    return write_series(tmp_path / "flair_sen_train", ZONE, dates, 207)


@pytest.mark.slow
def test_a_batch_with_series_is_read_in_a_third_of_the_time_or_less(
    copy: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Image, mask and series: both arrays of the zone opened for each patch, or all of it from the stores."""
    catalog = read_flair(tmp_path, name="flair2")
    store = open_store(catalog, tmp_path / "stores")
    series = open_patch_series(catalog, store.ids, tmp_path / "stores", SeriesView(40, "flair2", monthly=True))
    rows = np.arange(len(catalog))
    metadata = metadata_of(catalog.patches, ())
    batches = Batches(
        store,
        rows,
        np.zeros(len(rows), np.int64),
        metadata,
        store.labels_of(rows),
        batch_size=4,
        crop=512,
        turn=True,
        seed=0,
        purpose="labelled",
        series=series,
    )
    files = catalog.patches.set_index("id")[["image", "mask"]]

    def published(step: int) -> None:
        for number in range(4):
            patch = store.ids[(4 * step + number) % 16]
            for path in files.loc[patch]:
                with rasterio.open(path) as file:
                    file.read()
            row = rows[store.ids.index(patch)]
            _published(copy, tuple(series.centres[row].tolist()), monthly=True)

    batches.at(0)
    slow, fast = (statistics.median(_seconds(work, step) for step in range(8)) for work in (published, batches.at))
    with capsys.disabled():
        times = f"{1000 * slow:.0f} ms the published way, {1000 * fast:.0f} ms here, {slow / fast:.1f} times"
        print(f"\nimage, mask and months: {times}")
    assert slow > 3 * fast  # 5 times on two quiet cores: images of 512 pixels take as long as their series


def _seconds(work: Callable[[int], object], step: int) -> float:
    start = time.perf_counter()
    work(step)
    return time.perf_counter() - start


@pytest.mark.slow
def test_a_patch_is_read_in_a_tenth_of_the_time(
    tmp_path: Path, write_series: Callable[..., dict[str, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    dates = [f"2021{1 + number // 4:02d}{1 + 7 * (number % 4):02d}" for number in range(48)]
    paths = write_series(tmp_path / "data", ZONE, dates, 207)
    store = open_series_store("flair2", zone_sources(find_series(tmp_path / "data"), [ZONE]), tmp_path / "stores")
    rng = np.random.default_rng(0)
    centres = [(int(row), int(column)) for row, column in rng.integers(20, 187, (PATCHES, 2))]

    def ours(centre: tuple[int, int], monthly: bool) -> Series:
        return select(crop(store.read(ZONE), centre), monthly=monthly)[0]

    for monthly in (False, True):
        mine, theirs = ours(centres[0], monthly), _published(paths, centres[0], monthly)[0]
        np.testing.assert_allclose(mine.values, theirs, rtol=1e-6)
        slow = _median(lambda centre, monthly=monthly: _published(paths, centre, monthly), centres)
        fast = _median(lambda centre, monthly=monthly: ours(centre, monthly), centres)
        with capsys.disabled():
            name = "filter and months" if monthly else "filter"
            print(
                f"\n{name}: {1000 * slow:.2f} ms the published way, {1000 * fast:.2f} ms here, {slow / fast:.1f} times"
            )
        assert slow > 10 * fast
