"""The check of FLAIR #2 knows its series: what is missing, damaged or outside, and what the clouds leave."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import flair_check
from benchmark.data.flair import TEST_2, TRAINING
from benchmark.data.flair_check import check_flair
from benchmark.data.series.check import NO_SERIES, Fault, check_series

ZONES = {"IMG_000001": "D004_2021/Z10_AU", "IMG_000002": "D004_2019/Z10_AU", "IMG_061713": "D012_2019/Z2_UU"}


def test_a_whole_copy_has_no_fault_and_is_counted(flair2: Path) -> None:
    done: list[tuple[int, int]] = []
    faults, notes = check_series(flair2, ZONES, lambda *counts: done.append(counts))
    assert faults == [] and done == [(1, 3), (2, 3), (3, 3)]
    assert notes == [
        "Sentinel-2 series of 3 of 3 zones",
        "12 dates a zone, from 2019-01-04 to 2021-06-21; 33 % of the pixels are clouds, 0 % snow (probability "
        "60 % and above)",
        "FLAIR #2's filter keeps 8 dates a patch, 8.0 on average; of 0 patches it keeps none: the clearest date "
        "is taken",
    ]


def test_patches_under_clouds_all_year_are_counted(flair2: Path) -> None:
    path = next(flair2.rglob("*Z2_UU_masks.npy"))
    np.save(path, np.full_like(np.load(path), 70))
    assert "keeps 1 to 8 dates a patch, 5.7 on average; of 1 patches" in check_series(flair2, ZONES)[1][2]


Edit = Callable[[Path], object]


def _centroids(**centres: list[int]) -> Edit:
    def edit(root: Path) -> None:
        path = root / "flair-2_centroids_sp_to_patch.json"
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {f"{key}.tif": each for key, each in centres.items()})
        )

    return edit


def _remove(pattern: str) -> Edit:
    return lambda root: [path.unlink() for path in root.rglob(pattern)]


@pytest.mark.parametrize(
    ("edit", "domain", "kind", "where"),
    [
        (_remove("*Z2_UU_*"), "D012_2019", "zones without a series", "D012_2019/Z2_UU"),
        (_remove("*Z2_UU_masks*"), "D012_2019", "missing files of series", "SEN2_sp_D012_2019-Z2_UU_masks.npy"),
        (
            lambda root: next(root.rglob("*Z2_UU_data.npy")).write_bytes(b"PK"),
            *("D012_2019", "series that cannot be used", "Z2_UU_data.npy: no readable .npy file"),
        ),
        (
            _centroids(IMG_000001=[48, 3]),
            *("D004_2021", "centroids outside of their series", "IMG_000001: row 48, column 3 of 48 x 52 pixels"),
        ),
        (_remove("*centroids*"), "", "missing files of centroids", "flair-2_centroids_sp_to_patch.json"),
        (_centroids(IMG_000001=[0, -1]), "", "files of centroids that cannot be used", "centroid of 'IMG_000001.tif'"),
        (
            lambda root: (root / "flair-2_centroids_sp_to_patch.json").write_text(
                '{"IMG_000001.tif": [1, 2], "IMG_061713.tif": [1, 2]}'
            ),
            *("D004_2019", "patches without a centroid", "IMG_000002"),
        ),
        (
            lambda root: next(root.rglob("*Z2_UU_data.npy")).rename(root / "SEN2_sp_D004_2019-Z10_AU_data.npy"),
            *("", "files that are there twice", "SEN2_sp_D004_2019-Z10_AU_data.npy"),
        ),
    ],
)
def test_a_fault_is_named_by_its_path(edit: Edit, domain: str, kind: str, where: str, flair2: Path) -> None:
    edit(flair2)
    of_kind: list[Fault] = [fault for fault in check_series(flair2, ZONES)[0] if fault[1] == kind]
    assert len(of_kind) == 1 and of_kind[0][0] == domain and where in of_kind[0][2]


def test_by_the_names_alone_no_series_is_opened(flair2: Path) -> None:
    next(flair2.rglob("*Z2_UU_data.npy")).write_bytes(b"PK")
    assert check_series(flair2, ZONES, names_only=True) == ([], ["Sentinel-2 series of 3 of 3 zones"])


def test_a_copy_without_series_has_no_fault(flair: Path) -> None:
    assert check_series(flair, ZONES) == ([], [NO_SERIES])


def test_the_check_of_flair2_has_the_series_and_that_of_flair1_not(
    flair2: Path, write_tiff: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flair_check, "SIZE", 16)
    for number, zone in (("000001", ZONES["IMG_000001"]), ("000002", ZONES["IMG_000002"])):
        next(flair2.rglob(f"IMG_{number}.tif")).replace(flair2 / f"flair_aerial_train/{zone}/img/IMG_{number}.tif")
    next(flair2.rglob("*D004_2021-Z10_AU_masks.npy")).unlink()
    check = check_flair(flair2, (TRAINING, TEST_2))
    assert "Sentinel-2 series of 1 of 2 zones" in check.notes
    faults = next(each.faults for each in check.domains if each.domain == "D004_2021")
    assert faults == {"missing files of series": ["SEN2_sp_D004_2021-Z10_AU_masks.npy"]}
    assert "1 missing files of series" in check.verdict()[1]
    assert check_flair(flair2, (TRAINING,)).notes == ()
