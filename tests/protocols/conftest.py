"""All patches of FLAIR #1 and of #2 as tables: numbers and departments as published, and what is not made up."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from protocols.columns import read_table
from protocols.files import FOLDER

PATCHES, PATCHES_2 = 77_412, 77_762
ZONE = 100  # patches of a made-up zone of FLAIR #1
TRAINING, TEST_2 = (1, 61_712), (77_413, 93_462)  # numbers of FLAIR #2's patches, first and last
ZONES = {TRAINING: 757, TEST_2: 159}  # #1 has 950 zones, of which 193 are its test's, and #2 has 916
CAMERAS = ("UCE-M3-f120-s06", "UCE-M3-f100", "CAMERA#020", "CAMERA#030")


@pytest.fixture(scope="session")
def listing() -> pd.DataFrame:
    """Columns of a catalog. Departments whose share of a group's numbers is unknown get equal ones."""
    parts = [
        _department(place, time, numbers, index, np.arange(len(numbers)) // ZONE)
        for index, place, time, numbers in _published("flair1")
    ]
    return _one(parts, PATCHES)


@pytest.fixture(scope="session")
def flair2_listing() -> pd.DataFrame:
    """The same of FLAIR #2, whose 916 zones are dealt to the departments of either part by their patches."""
    parts = []
    for index, place, time, numbers in _published("flair2"):
        (first, last), zones = next(item for item in ZONES.items() if item[0][0] <= numbers[0] <= item[0][1])
        before, after = (round((end - first) / (last + 1 - first) * zones) for end in (numbers[0], numbers[-1] + 1))
        parts.append(
            _department(place, time, numbers, index, np.arange(len(numbers)) * (after - before) // len(numbers))
        )
    return _one(parts, PATCHES_2)


def _published(name: str) -> Iterator[tuple[int, str, str, np.ndarray]]:
    """Number, place, year and the patches' numbers of each department."""
    header, rows = read_table(FOLDER / "tables" / f"{name}-departments.csv")
    table = pd.DataFrame(rows, columns=header).astype({"first_id": int, "last_id": int})
    for (first, last), group in table.groupby(["first_id", "last_id"]):
        shares = np.array_split(np.arange(first, last + 1), len(group))
        for (index, row), numbers in zip(group.iterrows(), shares, strict=True):
            yield index, row.place, row.time, numbers


def _one(parts: list[pd.DataFrame], patches: int) -> pd.DataFrame:
    listed = pd.concat(parts).sort_values("id").reset_index(drop=True)
    assert len(listed) == patches and listed["id"].is_unique
    return listed


def _department(place: str, time: str, numbers: np.ndarray, index: int, zones: np.ndarray) -> pd.DataFrame:
    within = np.arange(len(numbers)) - np.searchsorted(zones, zones)  # as they are numbered in their zone
    names = [f"{place}/Z{zone + 1}_UU" for zone in zones]
    months = [4 + hashlib.sha256(name.encode()).digest()[0] % 7 for name in names]
    ids = [f"IMG_{number:06d}" for number in numbers]
    camera = CAMERAS[index % len(CAMERAS)]
    return pd.DataFrame(
        {
            "id": ids,
            "image": [f"/flair/{id_}.tif" for id_ in ids],
            "mask": "/flair/mask.tif",
            "place": place,
            "time": time,
            "zone": names,
            "date": [f"{time}-{month:02d}-15" for month in months],
            "x": 200_000.0 + index % 8 * 100_000 + zones % 5 * 3_000 + within % 10 * 102.4,
            "y": 6_200_000.0 + index // 8 * 100_000 + zones // 5 * 3_000 + within // 10 * 102.4,
            "camera": camera,
        }
    )
