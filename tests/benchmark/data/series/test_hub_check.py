"""The check of FLAIR-HUB knows its series: what is missing, damaged or undated, and what the clouds leave."""

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio

from benchmark.data import flair_check
from benchmark.data.flairhub import find_hub_files
from benchmark.data.flairhub_check import check_flairhub
from benchmark.data.series import hub_check
from benchmark.data.series.check import Fault
from benchmark.data.series.hub import COVERS, PACKAGE, VALUES
from benchmark.data.series.hub_check import check_hub_series

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

DATES = {"1": "20190114", "2": "20190119", "3": "20190228", "4": "20191231"}


def _raster(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"count": len(array), "height": 10, "width": 10, "dtype": np.uint16}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(array)


def _package(root: Path, dates: dict[str, dict[str, str]]) -> None:
    (root / PACKAGE).unlink(missing_ok=True)
    with closing(sqlite3.connect(root / PACKAGE)) as database:
        database.execute("CREATE TABLE dates (fid INTEGER PRIMARY KEY, patch_id TEXT, acquisition_dates TEXT)")
        rows = [(region, json.dumps(entry)) for region, entry in dates.items()]
        database.executemany("INSERT INTO dates (patch_id, acquisition_dates) VALUES (?, ?)", rows)
        database.commit()


@pytest.fixture
def patches(hub: Path) -> list[str]:
    return sorted(find_hub_files(hub).paths["AERIAL_RGBI"])


@pytest.fixture
def copy(hub: Path, patches: list[str], tmp_path: Path) -> Path:
    """The `hub` fixture with series: the second of four dates is cloud, the third snow; D091's are in archives."""
    covers = np.zeros((4, 2, 10, 10), np.uint16)
    covers[1, 1], covers[2, 0] = 80, 100
    for patch in patches:
        domain, region, cell = patch.split("_")
        for kind, array in ((VALUES, np.full((40, 10, 10), 7, np.uint16)), (COVERS, covers.reshape(8, 10, 10))):
            _raster(hub / f"{domain}_{kind}" / region / f"{domain}_{kind}_{region}_{cell}.tif", array)
    for kind in (VALUES, COVERS):
        folder = hub / f"D091-2021_{kind}"
        with zipfile.ZipFile(hub / f"{folder.name}.zip", "w") as archive:
            for path in sorted(folder.rglob("*.tif")):
                archive.write(path, path.relative_to(hub).as_posix())
        shutil.rmtree(folder)
    _package(hub, {patch.rpartition("_")[0]: DATES for patch in patches})
    return hub


def test_a_whole_copy_has_no_fault_and_is_counted(
    copy: Path, patches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_check, "AT_ONCE", 7)  # fewer than there are
    done: list[tuple[int, int]] = []
    faults, notes = check_hub_series(copy, patches, lambda *counts: done.append(counts))
    assert faults == [] and done == [(number, 16) for number in range(1, 17)]
    assert notes == [
        "Sentinel-2 series of 16 of 16 patches",
        "4 dates a patch, from 2019-01-14 to 2019-12-31; 25 % of the pixels are clouds, 25 % snow (probability 2 % and "
        "above)",
        "FLAIR-HUB's filter keeps 2 dates a patch, 2.0 on average; of 0 patches it keeps none: the clearest date is "
        "taken",
    ]


def test_pixels_without_data_are_no_clouds_and_a_year_under_clouds_is_counted(copy: Path, patches: list[str]) -> None:
    with rasterio.open(next(copy.rglob(f"*D012-2019_{COVERS}_AF-S1-3_0-0.tif")), "r+") as file:
        file.write(np.full((8, 10, 10), 90, np.uint16))
    path = next(copy.rglob(f"*D012-2019_{VALUES}_AF-S1-3_0-1.tif"))
    with rasterio.open(path, "r+") as file:
        file.nodata = 7  # so it has no pixel at all
    notes = check_hub_series(copy, patches)[1]
    assert "30 % of the pixels are clouds" in notes[1]  # 14 patches with one date of four, one with all four
    assert "keeps 1 to 2 dates a patch, 1.9 on average; of 2 patches" in notes[2]


Edit = Callable[[Path], object]


def _remove(pattern: str) -> Edit:
    return lambda root: [path.unlink() for path in root.rglob(pattern)]


def _spoil_archive(root: Path) -> None:
    path = root / f"D091-2021_{VALUES}.zip"
    content = bytearray(path.read_bytes())
    content[content.index(np.full(200, 7, np.uint16).tobytes()) + 20] ^= 255  # GDAL would read it all the same
    path.write_bytes(content)


FIRST = "D012-2019_AF-S1-3_0-0"


@pytest.mark.parametrize(
    ("edit", "domain", "kind", "where"),
    [
        (_remove(f"D012-2019_{VALUES}_*"), "", "missing archives", f"D012-2019_{VALUES}.zip"),
        (
            _remove(f"D012-2019_{COVERS}_AF-S1-3_0-0.tif"),
            *("D012-2019", "missing files of series", f"D012-2019_{COVERS}_AF-S1-3_0-0.tif"),
        ),
        (
            lambda root: next(root.rglob(f"D012-2019_{VALUES}_AF-S1-3_0-0.tif")).write_bytes(b"II"),
            *("D012-2019", "series that cannot be used", f"D012-2019_{VALUES}_AF-S1-3_0-0.tif"),
        ),
        (
            lambda root: _raster(
                next(root.rglob(f"D012-2019_{COVERS}_AF-S1-3_0-0.tif")), np.full((8, 10, 10), 101, np.uint16)
            ),
            *("D012-2019", "series that cannot be used", "holds 101; expected are probabilities"),
        ),
        (_spoil_archive, "D091-2021", "series that cannot be used", f"D091-2021_{VALUES}.zip!/"),
        (_remove(PACKAGE), "", "missing files of dates", PACKAGE),
        (
            lambda root: _package(root, {FIRST: {"1": "20190230"}}),
            *("", "files of dates that cannot be used", "'20190230'"),
        ),
        (lambda root: _package(root, {"D091-2021_UU-S2-9": DATES}), "D012-2019", "patches without dates", FIRST),
        (
            lambda root: _package(root, {FIRST[:-4]: {"1": "20190101"}}),
            *("D012-2019", "series that cannot be used", "has 40 bands where 10 are expected"),
        ),
        (
            lambda root: shutil.copytree(root / f"D012-2019_{VALUES}", root / "again"),
            *("", "files that are there twice", f"D012-2019_{VALUES}_AF-S1-"),
        ),
    ],
)
def test_a_fault_is_named_by_its_path(
    edit: Edit, domain: str, kind: str, where: str, copy: Path, patches: list[str]
) -> None:
    edit(copy)
    of_kind: list[Fault] = [fault for fault in check_hub_series(copy, patches)[0] if fault[1] == kind]
    assert of_kind and of_kind[0][0] == domain and where in of_kind[0][2]


def test_by_the_names_alone_no_series_is_opened(copy: Path, patches: list[str]) -> None:
    for path in copy.rglob(f"D012-2019_{VALUES}_*.tif"):
        path.write_bytes(b"II")
    assert check_hub_series(copy, patches, names_only=True) == ([], ["Sentinel-2 series of 16 of 16 patches"])


def test_the_check_of_the_hub_has_the_series(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flair_check, "SIZE", 16)
    next(copy.rglob(f"D012-2019_{COVERS}_AF-S1-3_0-0.tif")).unlink()
    check = check_flairhub(copy, "flairhub")
    assert check.domains[0].faults == {"missing files of series": [f"D012-2019_{COVERS}_AF-S1-3_0-0.tif"]}
    assert "partly the same ground" in check.notes[1] and check.notes[2] == "Sentinel-2 series of 15 of 16 patches"
    assert not check.verdict()[0]
