"""One large image a town: from files and two small texts to a table of results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

import landshift
from benchmark.training.config import make_recipe

pytestmark = pytest.mark.usefixtures("networks_once")
SIDE = 192  # pixels of half a metre
DESCRIPTION = """
name = "towns"
bands = ["red", "green", "blue"]
patch_size = 32
image = "{town:1}.tif"
place = "{town}"
zone = "block:32 m, buffer 0 m"
"""
PROTOCOL = """
name = "towns-leave-places-out"
version = 1
dataset = "towns.toml"
title = "Every town held out in turn"
description = "Blocks of 32 m are dealt to the parts."
confounds = "Nothing."
hold_out = ["place"]
"""
CLASSES = {"grass": "#00ff00", "roof": "#ff0000"}


def _write(path: Path, array: np.ndarray, west: float) -> None:
    profile = {"count": len(array), "height": SIDE, "width": SIDE, "dtype": "uint8", "crs": "EPSG:32631"}
    blocks = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    place = from_origin(west, 5_000_000, 0.5, 0.5)
    with rasterio.open(path, "w", driver="GTiff", transform=place, **profile, **blocks) as file:
        file.write(array)
        if path.name.startswith("mask"):
            file.write_colormap(1, {0: (0, 255, 0), 1: (255, 0, 0)})


@pytest.fixture
def towns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two towns of one image each, with red roofs on grass; they are as large for this test as 16 Mpixels else are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmark.data.areas.LARGE", 1000)
    monkeypatch.setattr("benchmark.data.areas.PIECE_BYTES", 64 * 64 * 3)
    for number, town in enumerate("ab"):
        rng = np.random.default_rng(number)
        roofs = rng.integers(0, 2, (SIDE // 8, SIDE // 8), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        light = np.stack([roofs * 200, 200 - roofs * 200, 0 * roofs]) + rng.integers(0, 50, (3, SIDE, SIDE))
        _write(tmp_path / f"{town}.tif", light.astype(np.uint8), 500_000 + 10_000 * number)
        np.save(tmp_path / f"{town}.npy", roofs)
    (tmp_path / "protocol.toml").write_text(PROTOCOL)
    return tmp_path


def _classes(values: dict[str, int] | None) -> str:
    lines = [
        f'[[classes]]\nname = "{name}"\ncolor = "{color}"\n' + (f"value = {values[name]}\n" if values else "")
        for name, color in CLASSES.items()
    ]
    return "".join(lines)


def _palettes(folder: Path) -> str:
    for number, town in enumerate("ab"):
        _write(folder / f"mask_{town}.tif", np.load(folder / f"{town}.npy")[None], 500_000 + 10_000 * number)
    return 'mask = "mask_{town}.tif"\n' + _classes(None)


def _polygons(folder: Path) -> str:
    """The roofs of both towns in one file; what is in none is grass."""
    boxes = []
    for number, town in enumerate("ab"):
        west, north = 500_000 + 10_000 * number, 5_000_000
        roofs = np.load(folder / f"{town}.npy")[::8, ::8]
        boxes += [
            shapely.box(west + 4 * x, north - 4 * y - 4, west + 4 * x + 4, north - 4 * y)
            for y, x in np.argwhere(roofs == 1)
        ]
    shapes = np.asarray(shapely.to_wkb(np.array(boxes)), object)
    fields = {"field_data": [np.array(["roof"] * len(boxes))], "fields": ["cover"]}
    pyogrio.raw.write(folder / "roofs.gpkg", shapes, geometry_type="Polygon", crs="EPSG:32631", **fields)
    return 'mask = "roofs.gpkg"\nmask_field = "cover"\nbackground = "grass"\n' + _classes(None)


@pytest.mark.slow
@pytest.mark.parametrize("masks", [_palettes, _polygons])
def test_one_image_a_town_gives_a_table(towns: Path, masks: Callable[[Path], str]) -> None:
    (towns / "towns.toml").write_text(DESCRIPTION + masks(towns))
    recipe = make_recipe("tiny", {"steps": 20, "checkpoints": 1, "batch_size": 4})
    places: dict[str, Any] = {"stores": towns / "stores", "results": towns / "results"}
    results = landshift.run(
        str(towns / "protocol.toml"), ["source-only"], seeds=[0], config=recipe, accelerator="cpu", quiet=True, **places
    )
    assert results.runs["status"].tolist() == ["done", "done"] and set(results.runs["fold"]) == {"a", "b"}
    assert "source-only" in results.summary().index
    assert results.runs["target/miou"].min() > 0.6  # the labels fit the images
