"""Reading a patch's series from the store takes a tenth of the time that the published way takes, or less."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.series.dates import select
from benchmark.data.series.files import find_series, read_days
from benchmark.data.series.series import Series, crop
from benchmark.data.series.store import open_series_store, zone_sources

ZONE = "D004_2021/Z10_AU"
PATCHES = 40


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
