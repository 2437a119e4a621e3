"""Tiny files for the tests of the readers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

SIZE = 16


def _write_tiff(path: Path, array: np.ndarray) -> Path:
    """A deflate-compressed GeoTIFF of a (C, H, W) or (H, W) array."""
    array = array if array.ndim == 3 else array[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = array.shape
    profile = {"count": count, "height": height, "width": width, "dtype": array.dtype, "compress": "deflate"}
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(array)
    return path


def _write_picture(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def write_tiff() -> Callable[[Path, np.ndarray], Path]:
    return _write_tiff


@pytest.fixture
def write_picture() -> Callable[[Path, np.ndarray], Path]:
    """A PNG or JPEG of a (H, W) or (H, W, 3) uint8 array."""
    return _write_picture


@pytest.fixture
def flair(tmp_path: Path) -> Path:
    """A FLAIR of three patches: one ground in two years, and a test patch without a mask."""
    rng = np.random.default_rng(0)
    places = {"000001": "train/D004_2021/Z10_AU", "000002": "train/D004_2019/Z10_AU", "061713": "test/D012_2019/Z2_UU"}
    metadata: dict[str, Any] = {}
    for number, place in places.items():
        split, domain, zone = place.split("/")
        image = rng.integers(0, 255, (5, SIZE, SIZE), dtype=np.uint8)
        _write_tiff(tmp_path / f"flair_aerial_{split}/{domain}/{zone}/img/IMG_{number}.tif", image)
        if split == "train":
            mask = rng.integers(1, 20, (SIZE, SIZE), dtype=np.uint8)
            _write_tiff(tmp_path / f"flair_labels_{split}/{domain}/{zone}/msk/MSK_{number}.tif", mask)
        metadata[f"IMG_{number}"] = {
            "domain": domain,
            "zone": zone,
            "patch_centroid_x": 961488.0,
            "patch_centroid_y": 6329211.2,
            "date": f"{domain[5:]}-07-09",
            "camera": "CAMERA#017",
        }
    (tmp_path / "flair-1_metadata_aerial.json").write_text(json.dumps(metadata))
    return tmp_path


@pytest.fixture
def edit_metadata(flair: Path) -> Callable[[Callable[[dict[str, Any]], object]], None]:
    """Change the metadata of the `flair` fixture by a function that changes the dictionary."""

    def edit(change: Callable[[dict[str, Any]], object]) -> None:
        path = flair / "flair-1_metadata_aerial.json"
        metadata = json.loads(path.read_text())
        change(metadata)
        path.write_text(json.dumps(metadata))

    return edit


DESCRIPTION = """
name = "tiny"
bands = ["red", "green", "blue"]
patch_size = 8
image = "{tile}/images/{part}.png"
mask = "{tile}/masks/{part}.png"
place = "{tile}"
ignore = ["#9b9b9b"]
unknown_share = 0.1

[[classes]]
name = "building"
color = "#3c1098"

[[classes]]
name = "land"
color = "#8429F6"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The description of a user's data: two places with one 16 × 12 image each, masks in two colours."""
    rng = np.random.default_rng(0)
    colors = np.array([[0x3C, 0x10, 0x98], [0x84, 0x29, 0xF6]], np.uint8)
    for tile in ("Tile 1", "Tile 2"):
        _write_picture(tmp_path / tile / "images/p1.png", rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
        _write_picture(tmp_path / tile / "masks/p1.png", colors[rng.integers(0, 2, (12, 16))])
    description = tmp_path / "tiny.toml"
    description.write_text(DESCRIPTION)
    return description


@pytest.fixture
def edit_description(folder: Path) -> Callable[[str, str], Path]:
    """Replace a piece of the description of the `folder` fixture."""

    def edit(old: str, new: str) -> Path:
        text = folder.read_text()
        assert old in text
        folder.write_text(text.replace(old, new, 1))
        return folder

    return edit


@pytest.fixture
def patches() -> pd.DataFrame:
    """A valid table of patches that need not exist."""
    rows = [("b", "P1", "2020", "z1"), ("a", "P1", "", "z2"), ("c", "P2", "2021", "z3")]
    table = pd.DataFrame(rows, columns=["id", "place", "time", "zone"])
    table["image"] = "/data/" + table["id"] + ".tif"
    texts, numbers = dict.fromkeys(("mask", "date", "clock", "camera"), ""), {"x": np.nan, "y": 1, "z": np.nan}
    return table.assign(**texts, **numbers, row=0, column=0)
