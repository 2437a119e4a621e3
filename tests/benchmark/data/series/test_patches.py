"""Series of patches as batches hold them: of the window's ground, turned with it, filtered, padded, with their days."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from benchmark.common.errors import DataError
from benchmark.data.catalog import Catalog
from benchmark.data.flair import read_flair
from benchmark.data.series.corruptions import CORRUPTIONS
from benchmark.data.series.dates import SeriesView
from benchmark.data.series.patches import PatchSeries, open_patch_series
from benchmark.data.series.series import BANDS
from benchmark.data.store import open_store

SIDE, PIXELS, METRES = 24, 80, 1.0  # pixels of the zone's series; of its image; metres of a pixel of that
CENTRE = (10, 12)
ZONE = "D004_2020/Z1_UA"
DAYS = ["20200101", "20200229", "20200510", "20200520", "20201231"]
CLOUDY = 1  # number of a date


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One patch and its series; the bands of both say the row and column of the series that a pixel is in."""
    rows, columns = (
        place + (np.arange(PIXELS) + 0.5 - PIXELS / 2) * METRES / 10 for place in (CENTRE[0] + 0.5, CENTRE[1] + 0.5)
    )
    image = np.zeros((5, PIXELS, PIXELS), np.uint8)
    image[0], image[1] = 10 * rows[:, None], 10 * columns
    for folder, kind, pixels in (("img", "IMG", image), ("msk", "MSK", np.ones((1, PIXELS, PIXELS), np.uint8))):
        place = tmp_path / ("flair_aerial_train" if kind == "IMG" else "flair_labels_train") / ZONE / folder
        place.mkdir(parents=True)
        corner = from_origin(700_000, 6_600_000, METRES, METRES)
        with rasterio.open(
            place / f"{kind}_000001.tif", "w", "GTiff", PIXELS, PIXELS, len(pixels), "EPSG:2154", corner, "uint8"
        ) as file:
            file.write(pixels)
    sen = tmp_path / "flair_sen_train" / ZONE / "sen"
    sen.mkdir(parents=True)
    values = np.zeros((len(DAYS), 10, SIDE, SIDE), np.uint16)
    values[:, 0], values[:, 1] = np.arange(SIDE)[:, None] * 10 + 5, np.arange(SIDE) * 10 + 5
    values[:, 2] = 1000 * np.arange(1, len(DAYS) + 1)[:, None, None]
    covers = np.zeros((len(DAYS), 2, SIDE, SIDE), np.uint8)
    covers[CLOUDY, 1] = 90
    name = f"SEN2_sp_{ZONE.replace('/', '-')}_"
    np.save(sen / f"{name}data.npy", values)
    np.save(sen / f"{name}masks.npy", covers)
    (sen / f"{name}products.txt").write_text(
        "".join(f"S2B_MSIL2A_{day}T105309_N0214_R051_T31TFJ_{day}T131427\n" for day in DAYS)
    )
    (tmp_path / "centroids.json").write_text(json.dumps({"IMG_000001.tif": CENTRE}))
    return tmp_path


def _open(root: Path, view: SeriesView) -> PatchSeries:
    catalog = read_flair(root, name="one")
    return open_patch_series(catalog, ["IMG_000001"], root / "stores", view)


@pytest.mark.parametrize("symmetry", range(8))
@pytest.mark.parametrize("corner", [(0, 0), (40, 10), (20, 40)])
def test_window_and_series_show_the_same_ground_after_every_turn(
    root: Path, symmetry: int, corner: tuple[int, int]
) -> None:
    series = _open(root, SeriesView(6, "all"))
    store = open_store(read_flair(root, name="one"), root / "stores")
    assert series.cells == 0.1
    read = series.read(np.array([0]), PIXELS, np.array([corner]), 40, np.array([symmetry]))
    assert read.values.shape == (1, 5, 10, 6, 6) and read.valid.all()
    window = store.read(np.array([0]))[0, :2, corner[0] : corner[0] + 40, corner[1] : corner[1] + 40]
    turned = np.rot90(window, symmetry % 4, axes=(-2, -1))
    turned = turned[..., ::-1] if symmetry >= 4 else turned
    mine, theirs = read.values[0, 0, :2, 2:4, 2:4].mean((1, 2)).numpy(), turned[:, 10:30, 10:30].mean((1, 2))
    assert np.abs(mine - theirs).max() <= 5.5  # half a pixel of the series, which is 10 here


def test_dates_are_kept_by_the_rule_and_months_averaged(root: Path) -> None:
    rows = np.array([0, 0])
    every, kept, monthly = (
        _open(root, view).read(rows, PIXELS)
        for view in (SeriesView(4, "all"), SeriesView(4, "flair2"), SeriesView(4, "flair2", monthly=True))
    )
    assert every.days[0].tolist() == [-135, -76, -5, 5, 230], "from 15 May 2020, a leap year"
    assert kept.days[1].tolist() == [-135, -5, 5, 230]
    assert monthly.days[0].tolist() == [-121, 0, 214] and monthly.values[0, 1, 2].unique().tolist() == [3500.0]


def test_the_shorter_series_of_a_batch_are_padded(root: Path) -> None:
    series = _open(root, SeriesView(4, "flair2"))
    own = replace(
        series, store=_Stores(series, {"short": slice(2, 4)}), keys=(ZONE, "short"), centres=np.tile(CENTRE, (2, 1))
    )
    read = own.read(np.array([0, 1]), PIXELS)
    assert read.valid.tolist() == [[True] * 4, [True, True, False, False]]
    assert not read.values[1, 2:].any() and not read.days[1, 2:].any()


class _Stores:
    """A store with parts of the only series under other names."""

    def __init__(self, series: PatchSeries, parts: dict[str, slice]) -> None:
        whole = series.store.read(ZONE)
        self._series = {ZONE: whole} | {
            key: type(whole)(whole.values[part], whole.days[part], whole.covers[part]) for key, part in parts.items()
        }

    def read(self, key: str) -> object:
        return self._series[key]


def test_beyond_the_edge_is_the_mean_of_the_date(root: Path) -> None:
    series = replace(_open(root, SeriesView(8, "all")), centres=np.array([[1, 12]]))
    values = series.read(np.array([0]), PIXELS).values
    assert (values[0, 0, 0, :3] == values[0, 0, 0, 3:, 0].mean()).all() and values[0, :, 2].std((1, 2)).max() == 0


def test_moments_leave_clouds_out(root: Path) -> None:
    series = _open(root, SeriesView(4))
    mean, std = series.moments(np.array([0]))
    clear = np.delete(series.store.read(ZONE).values, CLOUDY, axis=0).astype(float)
    np.testing.assert_allclose(mean, clear.mean((0, 2, 3)))
    np.testing.assert_allclose(std, np.maximum(clear.std((0, 2, 3)), 1))
    assert len(mean) == len(BANDS)


def test_the_digest_follows_the_series_and_the_places(root: Path) -> None:
    first = _open(root, SeriesView(4))
    assert first.digest == _open(root, SeriesView(6)).digest, "the view is part of the config"
    assert replace(first, centres=first.centres + 1).digest != first.digest


@pytest.mark.parametrize("fault", ["no series", "no layout", "no georeference"])
def test_data_without_series_are_refused(root: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog: Catalog = read_flair(root, name="one")
    if fault == "no series":
        for file in root.rglob("SEN2_sp_*"):
            file.unlink()
    elif fault == "no layout":
        catalog = replace(catalog, series=None)
    else:
        monkeypatch.setattr("benchmark.data.series.patches.image_header", lambda path: ((80, 80), None))
    with pytest.raises(
        DataError, match={"no series": "has no Sentinel-2", "no layout": "has no series"}.get(fault, fault[3:])
    ):
        open_patch_series(catalog, ["IMG_000001"], root / "stores", SeriesView(4))


@pytest.mark.parametrize("name", ["half-of-the-dates", "a-tenth-of-the-dates"])
def test_dates_that_are_left_are_filtered_and_the_same_ones_each_time(root: Path, name: str) -> None:
    series, rows = _open(root, SeriesView(6, "all")), np.array([0])
    missing = replace(series, corruption=CORRUPTIONS[name])
    whole, left = series.read(rows, PIXELS), missing.read(rows, PIXELS)
    assert left.valid.sum() == {"half-of-the-dates": 2, "a-tenth-of-the-dates": 1}[name]
    assert set(left.values[0, :, 2].unique().tolist()) < set(whole.values[0, :, 2].unique().tolist())
    assert np.array_equal(left.values, missing.read(rows, PIXELS).values)
    (chosen,) = [CORRUPTIONS[name].choose(series.store.read(ZONE), f"{ZONE} {list(CENTRE)}")]
    assert left.values[0, :, 2, 0, 0].tolist() == [1000 * (date + 1) for date in chosen]
    filtered = replace(missing, view=SeriesView(6, "flair2")).read(rows, PIXELS)
    assert 1000 * (CLOUDY + 1) not in filtered.values[0, :, 2, 0, 0].tolist() or filtered.valid.sum() == 1


@pytest.mark.parametrize("monthly", [False, True])
def test_clouds_alone_are_the_date_that_the_filter_drops(root: Path, monthly: bool) -> None:
    series = replace(_open(root, SeriesView(6, "flair2", monthly)), corruption=CORRUPTIONS["clouds-alone"])
    read = series.read(np.array([0]), PIXELS)
    assert read.valid.tolist() == [[True]] and (read.values[0, 0, 2] == 1000 * (CLOUDY + 1)).all()


def test_no_series_is_one_without_a_valid_date(root: Path) -> None:
    series = _open(root, SeriesView(6, "flair2", True))
    read = replace(series, corruption=CORRUPTIONS["no-series"]).read(np.array([0, 0]), PIXELS)
    assert read.values.shape == (2, 1, 10, 6, 6) and not read.valid.any() and not read.values.any()
    assert series.digest == replace(series, corruption=CORRUPTIONS["no-series"]).digest
