"""A copy of FLAIR-HUB is looked through: what is missing or damaged, and the ground of departments flown twice."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from benchmark.common.errors import DataError
from benchmark.data import flair_check
from benchmark.data.flairhub import CONTENTS, read_flairhub
from benchmark.data.flairhub_check import check_flairhub, common_ground, ground_notes
from benchmark.data.series.check import NO_SERIES


@pytest.fixture(autouse=True)
def _patches_of_16_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flair_check, "SIZE", 16)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_part_of_the_archives_is_a_good_copy(name: str, hub: Path) -> None:
    check = check_flairhub(hub, name)
    assert check.verdict() == (
        True,
        "16 patches, without a fault; how many were published is not known; 4 patches have no metadata, so no protocol "
        "by date or camera",
    )
    assert [(domain.domain, domain.patches) for domain in check.domains] == [
        ("D012-2019", 4),
        ("D017-2018", 4),
        ("D017-2021", 4),
        ("D091-2021", 4),
    ]
    assert check.notes == (
        "4 of 74 published domains are here",
        "D017, 2018 and 2021: 88% of the ground is common: partly the same ground",
        NO_SERIES,
    )
    assert check_flairhub(hub, name, names_only=True).notes == (check.notes[0], NO_SERIES)


@pytest.mark.parametrize(
    ("west", "words"),
    [(400_000, "100% of the ground is common: the same ground, so that only"), (500_000, "0% .* other ground, so")],
)
def test_ground_is_measured_before_a_change_is_called_one_of_time(west, words, tmp_path: Path, write_hub) -> None:
    for domain, start in (("D080-2017", 400_000), ("D080-2021", west)):
        for cell in ("0-0", "0-1", "1-0"):
            write_hub(tmp_path, domain, f"AF-S1-{start % 7}", cell, start)
    (note,) = ground_notes(read_flairhub(tmp_path))
    assert note.startswith("D080, 2017 and 2021: ")
    assert re.search(words, note)


def test_ground_that_is_covered_twice_counts_once() -> None:
    """Half of 2018 is seen in 2021, by two patches on one another."""
    corners = pd.DataFrame({"west": [0, 10, 0, 0], "time": ["2018", "2018", "2021", "2021"]}, index=list("abcd"))
    patches = corners.assign(south=0, east=corners["west"] + 10, north=10)
    assert common_ground(patches) == 0.5


def test_faults_are_named(hub: Path, hub_folder: Path) -> None:
    kind = "AERIAL_LABEL-COSIA"
    for name in (f"D012-2019_{kind}", "D091-2021_AERIAL_RGBI"):
        (hub / f"data/{name}.zip").unlink()
    shutil.copytree(hub_folder / f"D012-2019_{kind}/AF-S1-3", hub / f"D012-2019_{kind}/AF-S1-3")
    path = hub / f"D012-2019_{kind}/AF-S1-3/D012-2019_{kind}_AF-S1-3_0-0.tif"
    with rasterio.open(path, "r+") as file:
        file.write(np.full((1, 16, 16), 19, np.uint8))
    (hub / "data/D099-2020_SPOT_RGBI.zip").write_bytes(b"")
    check = check_flairhub(hub, "flairhub")
    assert check.faults["missing archives"] == ["D091-2021_AERIAL_RGBI.zip"]
    assert list(check.faults) == ["unreadable archives", "missing archives", "labels without an image"]
    (first, *_) = check.domains
    assert first.faults["masks with values outside 0 to 18"] == [f"{path}: [19]"]
    assert len(first.faults["missing masks"]) == 2
    good, verdict = check.verdict()
    assert not good and "1 masks with values outside 0 to 18" in verdict


def test_faults_of_elevations_are_named(hub: Path, hub_folder: Path) -> None:
    (hub / "data/D091-2021_DEM_ELEV.zip").unlink()
    folder = hub / "D012-2019_DEM_ELEV"
    shutil.copytree(hub_folder / folder.name, folder)
    path = folder / "AF-S1-3/D012-2019_DEM_ELEV_AF-S1-3_0-0.tif"
    path.write_bytes(path.read_bytes()[:300])
    assert check_flairhub(hub, "flairhub").verdict()[0]
    first, *_, last = check_flairhub(hub, "flairhub-height").domains
    assert list(first.faults) == ["unreadable files"] and str(path) in first.faults["unreadable files"][0]
    assert {kind: len(faults) for kind, faults in last.faults.items()} == {"missing elevations": 4}


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="looked for D012-2019_AERIAL_RGBI"):
        check_flairhub(tmp_path, "flairhub")
