"""Tiny files for the tests of the readers."""

import json
import sqlite3
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

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


_DOMAINS = {  # regions of each domain, and their west edges: of D017 one has its ground in both years, one another name
    "D017-2018": {"AF-S1-1": 400_000, "AF-S1-2": 410_000},
    "D017-2021": {"AF-S1-1": 400_000, "UN-S1-7": 410_050},
    "D012-2019": {"AF-S1-3": 700_000, "AF-S1-5": 710_000},
    "D091-2021": {"UU-S2-9": 650_000, "UU-S2-8": 660_000},
}
_SPLITS = {"D017-2018": "train", "D017-2021": "train", "D012-2019": "valid", "D091-2021": "test"}


def _write_hub(folder: Path, domain: str, region: str, cell: str, west: float = 0.0, size: int = SIZE) -> None:
    """One patch of FLAIR-HUB in four modalities, in the folders that its archives hold; heights are 0 to 60 m."""
    random = np.random.default_rng(zlib.crc32((domain + region + cell).encode()))
    bands = {"AERIAL_RGBI": (4, 256), "AERIAL_LABEL-COSIA": (1, 19), "ALL_LABEL-LPIS": (3, 23), "DEM_ELEV": (2, 300)}
    row, column = map(int, cell.split("-"))
    for kind, (count, top) in bands.items():
        path = folder / f"{domain}_{kind}" / region / f"{domain}_{kind}_{region}_{cell}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        corner = from_origin(west + 102.4 * column, 6_600_000 - 102.4 * row, 102.4 / size, 102.4 / size)
        if kind == "DEM_ELEV":
            ground = random.uniform(0, top, (1, size, size))
            pixels = np.concatenate([ground + random.uniform(-1, 60, ground.shape), ground]).astype(np.float32)
        else:
            pixels = random.integers(0, top, (count, size, size), dtype=np.uint8)
        with rasterio.open(
            path, "w", "GTiff", size, size, count, "EPSG:2154", corner, pixels.dtype, compress="deflate"
        ) as file:
            file.write(pixels)


@pytest.fixture
def write_hub() -> Callable[..., None]:
    return _write_hub


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    """Sixteen patches of FLAIR-HUB, of 16 pixels, in four domains and eight regions, unpacked."""
    folder = tmp_path / "hub-unpacked"
    for domain, regions in _DOMAINS.items():
        for region, west in regions.items():
            for cell in ("0-0", "0-1"):
                _write_hub(folder, domain, region, cell, west)
    return folder


@pytest.fixture
def hub(tmp_path: Path, hub_folder: Path) -> Path:
    """The same as published: an archive a domain and modality, and one of GeoPackages; D091 has no dates."""
    data = tmp_path / "hub" / "data"
    data.mkdir(parents=True)
    for folder in sorted(hub_folder.iterdir()):
        with zipfile.ZipFile(data / f"{folder.name}.zip", "w") as archive:
            for file in sorted(folder.rglob("*.tif")):
                archive.write(file, file.relative_to(hub_folder).as_posix())
    ids = sorted(path.stem.replace("_AERIAL_RGBI", "") for path in hub_folder.rglob("*RGBI*.tif"))
    splits = [(patch, _SPLITS[patch[:9]]) for patch in ids]
    dates = [(patch, f"{patch[5:9]}0701") for patch in ids if patch[:4] != "D091"]
    with zipfile.ZipFile(data / "GLOBAL_ALL_MTD.zip", "w") as archive:
        for name, column, rows in (("ALL_MTD_SPLIT", "split_1", splits), ("AERIAL_MTD_DATES", "date", dates)):
            path = tmp_path / f"GLOBAL_{name}.gpkg"
            _write_package(path, column, rows)
            archive.write(path, f"GLOBAL_ALL_MTD/{path.name}")
    return data.parent


def _write_package(path: Path, column: str, rows: list[tuple[str, str]]) -> None:
    """What counts of a GeoPackage: its list of tables, and one of them, with geometry in the midst."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE gpkg_contents (table_name TEXT, data_type TEXT)")
        database.execute("INSERT INTO gpkg_contents VALUES ('patches', 'features')")
        database.execute(f"CREATE TABLE patches (fid INTEGER PRIMARY KEY, geom BLOB, patch_id TEXT, {column} TEXT)")
        database.executemany(f"INSERT INTO patches (geom, patch_id, {column}) VALUES (x'4750', ?, ?)", rows)
        database.commit()


def _write_series(folder: Path, zone: str, dates: list[str], side: int = 48) -> dict[str, Path]:
    """The three files of a zone's series as published: clouds cover all of every third date, snow no pixel."""
    random = np.random.default_rng(zlib.crc32(zone.encode()))
    place = folder / zone / "sen"
    place.mkdir(parents=True, exist_ok=True)
    paths = {
        part: place / f"SEN2_sp_{zone.replace('/', '-')}_{part}" for part in ("data.npy", "masks.npy", "products.txt")
    }
    covers = random.integers(0, 30, (len(dates), 2, side, side + 4), dtype=np.uint8)
    covers[::3, 1] = 90
    np.save(paths["data.npy"], random.integers(1, 9000, (len(dates), 10, side, side + 4), dtype=np.uint16))
    np.save(paths["masks.npy"], covers)
    names = [f"S2B_MSIL2A_{date}T105309_N0214_R051_T31TFJ_{date}T131427\n" for date in dates]
    paths["products.txt"].write_text("".join(names))
    return paths


@pytest.fixture
def write_series() -> Callable[..., dict[str, Path]]:
    return _write_series


@pytest.fixture
def flair2(flair: Path) -> Path:
    """The `flair` fixture with series of its three zones, and the centres of the three patches in them."""
    for split, zone in (("train", "D004_2021/Z10_AU"), ("train", "D004_2019/Z10_AU"), ("test", "D012_2019/Z2_UU")):
        dates = [f"{zone[5:9]}{month:02d}{day:02d}" for month in range(1, 7) for day in (4, 21)]
        _write_series(flair / f"flair_sen_{split}", zone, dates)
    centres = {"IMG_000001.tif": [24, 26], "IMG_000002.tif": [3, 50], "IMG_061713.tif": [20, 20]}
    (flair / "flair-2_centroids_sp_to_patch.json").write_text(json.dumps(centres))
    return flair
