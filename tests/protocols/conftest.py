"""All 77,412 patches of FLAIR #1 as a table: numbers and departments as published, the rest made up where it is not."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from protocols.columns import read_table
from protocols.files import FOLDER

PATCHES = 77_412
ZONE = 100  # patches of a made-up zone
CAMERAS = ("UCE-M3-f120-s06", "UCE-M3-f100", "CAMERA#020", "CAMERA#030")


@pytest.fixture(scope="session")
def listing() -> pd.DataFrame:
    """Columns of a catalog. Departments whose share of a group's numbers is unknown get equal ones."""
    header, rows = read_table(FOLDER / "tables" / "flair1-departments.csv")
    table = pd.DataFrame(rows, columns=header).astype({"first_id": int, "last_id": int})
    parts = [
        _department(row.place, row.time, numbers, index)
        for (first, last), group in table.groupby(["first_id", "last_id"])
        for (index, row), numbers in zip(
            group.iterrows(), np.array_split(np.arange(first, last + 1), len(group)), strict=True
        )
    ]
    listed = pd.concat(parts).sort_values("id").reset_index(drop=True)
    assert len(listed) == PATCHES and listed["id"].is_unique
    return listed


def _department(place: str, time: str, numbers: np.ndarray, index: int) -> pd.DataFrame:
    zones = np.arange(len(numbers)) // ZONE
    within = np.arange(len(numbers)) % ZONE
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
