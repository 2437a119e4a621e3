"""Images of several files, and sources that are unlike: from files and two small texts to a table of results."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

import landshift
from benchmark.data.datasets import open_catalog
from benchmark.data.preview import draw_preview, sample_domains
from benchmark.training.config import make_recipe

pytestmark = pytest.mark.usefixtures("networks_once")
SIDE = 64
FILES = """
name = "mine"
patch_size = 32
bands = ["red", "green", "nir"]
use = ["nir", "red"]
image = ["{town}_{part}_rg.tif", "{town}_{part}_nir.tif"]
mask = "{town}_{part}_m.png"
place = "{town}"
zone = "{town}/{part}"
classes = [{name = "roof", color = "#ff0000", value = 1}, {name = "grass", color = "#00ff00", value = 2}]
"""
SOURCES = """
name = "mine"
patch_size = 32
place = "{town}"

[[source]]
name = "colours"
bands = ["red", "green", "blue"]
image = "{town}_{part}_rgb.png"
mask = "{town}_{part}_c.png"
resolution = 0.3
classes = [{name = "roof", color = "#ff0000"}, {name = "grass", color = "#00ff00"}]

[[source]]
name = "values"
bands = ["ir", "red", "green"]
image = "{town}_{part}_irrg.tif"
mask = "{town}_{part}_m.tif"
scale = 0.3
ignore = [0]
classes = [{name = "grass", value = 2}, {name = "car", color = "#0000ff", value = 3}, {name = "roof", value = 1}]
"""
PROTOCOL = """
name = "mine-leave-places-out"
version = 1
dataset = "mine.toml"
title = "Every town held out in turn"
description = "Images are dealt to the parts."
confounds = "Nothing."
hold_out = ["place"]
"""


def _write(path: Path, array: np.ndarray, pixel: float, number: int) -> None:
    profile = {"count": len(array), "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
    place = from_origin(500_000 + 100 * number, 5e6, pixel, pixel)
    with rasterio.open(path, "w", driver="GTiff", transform=place, crs="EPSG:32631", **profile) as file:
        file.write(array)


def _grounds(town: int) -> Any:
    """Yield the classes (1, SIDE, SIDE) of each image of a town, and light that shows them."""
    rng = np.random.default_rng(town)
    for part in range(4):
        classes = rng.integers(1, 3, (1, SIDE // 8, SIDE // 8), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
        light = np.concatenate([220 * (classes == 1), 220 * (classes == 2), 60 * (classes == 2)])
        yield part, classes, (light + rng.integers(0, 30, (3, SIDE, SIDE))).astype(np.uint8)


def _several_files(folder: Path) -> str:
    for town in (0, 1):
        for part, classes, light in _grounds(town):
            path = f"{folder}/{'ab'[town]}_{part}"
            _write(Path(f"{path}_rg.tif"), light[:2], 1, 10 * town + part)
            _write(Path(f"{path}_nir.tif"), light[2:], 1, 10 * town + part)
            Image.fromarray(classes[0]).save(f"{path}_m.png")
    return FILES


def _two_sources(folder: Path) -> str:
    """Town a in red, green, blue and coloured masks of 0.3 m; town b in infrared, red, green and values of 0.09 m."""
    for part, classes, light in _grounds(0):
        Image.fromarray(light.transpose(1, 2, 0)).save(folder / f"a_{part}_rgb.png")
        colors = np.concatenate([classes == 1, classes == 2, 0 * classes]).astype(np.uint8) * 255
        Image.fromarray(colors.transpose(1, 2, 0)).save(folder / f"a_{part}_c.png")
    near = (np.arange(round(SIDE / 0.3)) * 0.3).astype(int).clip(max=SIDE - 1)
    for part, classes, light in _grounds(1):
        fine = np.concatenate([light[2:], light[:2], classes])[:, near[:, None], near]
        fine[3, :9, :9] = 3
        _write(folder / f"b_{part}_irrg.tif", fine[:3], 0.09, part)
        _write(folder / f"b_{part}_m.tif", fine[3:], 0.09, part)
    return SOURCES


@pytest.mark.slow
@pytest.mark.parametrize("write", [_several_files, _two_sources])
def test_from_files_to_a_table(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(write(tmp_path))
    (tmp_path / "protocol.toml").write_text(PROTOCOL)
    recipe = make_recipe("tiny", {"steps": 3, "checkpoints": 1, "batch_size": 4})
    places: dict[str, Any] = {"stores": tmp_path / "stores", "results": tmp_path / "results"}
    results = landshift.run(
        "protocol.toml", ["source-only"], seeds=[0], config=recipe, accelerator="cpu", quiet=True, **places
    )
    assert results.runs["status"].tolist() == ["done", "done"] and set(results.runs["fold"]) == {"a", "b"}
    assert "source-only" in results.summary().index
    catalog = open_catalog("mine.toml")
    assert draw_preview(catalog, sample_domains(catalog)).width > 0  # where the places of a part are not known, too
