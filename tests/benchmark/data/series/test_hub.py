"""Series of FLAIR-HUB: rasters and dates of each patch, in the structure of FLAIR #2's."""

import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from benchmark.common.errors import DataError
from benchmark.data.series import hub
from benchmark.data.series.hub import hub_sources, read_hub_days, read_rasters
from benchmark.data.series.store import open_series_store

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def _raster(path: Path, array: np.ndarray, nodata: int | None = None) -> str:
    count, height, width = array.shape
    profile = {"count": count, "height": height, "width": width, "dtype": array.dtype, "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", compress="deflate", **profile) as file:
        file.write(array)
    return str(path)


def test_rasters_of_the_hub_are_read_date_by_date(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(1, 9000, (3, 10, 10, 10), dtype=np.uint16)
    covers = rng.integers(0, 101, (3, 2, 10, 10), dtype=np.uint16)
    paths = [
        _raster(tmp_path / "D012-2019_SENTINEL2_TS_AF-S1-27_5-10.tif", values.reshape(30, 10, 10)),
        _raster(tmp_path / "D012-2019_SENTINEL2_MSK-SC_AF-S1-27_5-10.tif", covers.reshape(6, 10, 10)),
    ]
    days = np.array([18000, 18005, 18010], np.int32)
    series = read_rasters(*paths, days)
    np.testing.assert_array_equal(series.values, values)
    np.testing.assert_array_equal(series.covers, covers)
    with pytest.raises(DataError, match=r"TS_AF-S1-27_5-10.tif: has 30 bands where 20 are expected"):
        read_rasters(*paths, days[:2])
    values[1, 3, 2, 2] = 0
    series = read_rasters(_raster(tmp_path / "v.tif", values.reshape(30, 10, 10), nodata=0), paths[1], days)
    assert not series.valid[:, 2, 2].any() and series.valid.sum() == 297 and not series.values[..., 2, 2].any()


def test_dates_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def package(text: str) -> None:
        table = pd.DataFrame({"acquisition_dates": [text]}, pd.Index(["D012-2019_AF-S1-27"], name="patch_id"))
        monkeypatch.setattr(hub, "read_columns", lambda path, key, wanted: table)

    numbers = {str(number + 1): f"201901{number + 1:02d}" for number in range(12)}
    package(json.dumps(dict(sorted(numbers.items()))))  # as texts, "10" is before "2"
    assert read_hub_days("x.gpkg")["D012-2019_AF-S1-27"].tolist() == list(range(17897, 17909))
    for wrong in ('{"1": "20190101", "3": "20190105"}', "{}", "[]", '{"1": "2019-1-1"}', '{"1": 20190231}', "{"):
        package(wrong)
        with pytest.raises(DataError, match=r"x.gpkg: dates of D012-2019_AF-S1-27"):
            read_hub_days("x.gpkg")


PATCHES = ("D012-2019_AF-S1-27_5-10", "D012-2019_AF-S1-27_5-11", "D017-2018_AF-S1-1_0-0")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Three patches, one domain of them in archives; the dates of two are of their region, of one of the patch."""
    root = tmp_path / "hub"
    for number, patch in enumerate(PATCHES):
        domain, _, rest = patch.partition("_")
        for kind, bands in ((hub.VALUES, 10), (hub.COVERS, 2)):
            folder = root / f"{domain}_{kind}" / rest.partition("_")[0]
            folder.mkdir(parents=True, exist_ok=True)
            _raster(folder / f"{domain}_{kind}_{rest}.tif", np.full((2 * bands, 10, 10), number, np.uint16))
    for kind in (hub.VALUES, hub.COVERS):
        with zipfile.ZipFile(root / f"D017-2018_{kind}.zip", "w") as archive:
            for path in sorted((root / f"D017-2018_{kind}").rglob("*.tif")):
                archive.write(path, path.relative_to(root).as_posix())
                path.unlink()
    with closing(sqlite3.connect(root / hub.PACKAGE)) as database:
        database.execute("CREATE TABLE dates (fid INTEGER PRIMARY KEY, patch_id TEXT, acquisition_dates TEXT)")
        rows = [("D012-2019_AF-S1-27", "2019"), (PATCHES[2], "2018")]
        entries = [(key, json.dumps({"1": f"{year}0114", "2": f"{year}0119"})) for key, year in rows]
        database.executemany("INSERT INTO dates (patch_id, acquisition_dates) VALUES (?, ?)", entries)
        database.commit()
    return root


def test_series_of_patches_are_stored(copy: Path, tmp_path: Path) -> None:
    store = open_series_store("flairhub", hub_sources(copy, PATCHES), tmp_path / "stores")
    assert store.keys == PATCHES and len(store.places) == 2
    for number, patch in enumerate(PATCHES):
        series = store.read(patch)
        assert series.values.shape == (2, 10, 10, 10) and (series.values == number).all()
        assert series.days.astype("datetime64[D]").astype(str)[1] == f"{patch[5:9]}-01-19"


def test_what_a_patch_lacks_is_named(copy: Path) -> None:
    with pytest.raises(DataError, match=r"D012-2019_AF-S1-28_1-1 has no SENTINEL2_TS; get D012-2019_SENTINEL2_TS.zip"):
        hub_sources(copy, ["D012-2019_AF-S1-28_1-1"])
    (copy / hub.PACKAGE).unlink()
    with pytest.raises(DataError, match="has no GLOBAL_SENTINEL2_MTD_DATES"):
        hub_sources(copy, PATCHES)
