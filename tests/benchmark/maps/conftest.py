"""Small maps on disk, as a finished command leaves them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import from_origin

from benchmark.experiments.jobs import ExperimentPlan
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_record import RunRecord
from benchmark.experiments.session import Session
from benchmark.maps.legend import NO_DATA, Legend, MapClass
from benchmark.maps.map_file import CLASSES, CONFIDENCE, LEGEND, NAMESPACE, MapFile, read_map
from benchmark.maps.trained import TrainedRun, load_run
from benchmark.training.config import TrainingConfig

SMALL = Legend(
    "small",
    (
        MapClass(1, "building", "#db0e9a", "bâtiment"),
        MapClass(3, "impervious surface", "#f80c00", "zone imperméable"),
        MapClass(7, "deciduous", "#46e483", "feuillus"),
        MapClass(10, "herbaceous vegetation", "#55ff00", "pelouse"),
    ),
)
WriteMap = Callable[..., MapFile]


@pytest.fixture
def write_map(tmp_path: Path) -> WriteMap:
    """Return a function that writes a map of classes (H, W) uint8, and one of confidence where it is given."""

    def write(
        values: NDArray[np.uint8],
        confidence: NDArray[np.uint8] | None = None,
        name: str = "town",
        legend: Legend = SMALL,
        *,
        resolution: float = 1.0,
        corner: tuple[float, float] = (700_000.0, 6_600_000.0),
        crs: str | None = "EPSG:2154",
        facts: dict[str, str] | None = None,
        folder: Path = tmp_path,
    ) -> MapFile:
        profile = {
            "driver": "GTiff",
            "height": values.shape[0],
            "width": values.shape[1],
            "count": 1,
            "dtype": "uint8",
            "nodata": NO_DATA,
            "crs": CRS.from_user_input(crs) if crs else None,
            "transform": from_origin(*corner, resolution, resolution),
        }
        for ending, pixels in ((CLASSES, values), (CONFIDENCE, confidence)):
            if pixels is not None:
                with rasterio.open(folder / f"{name}{ending}", "w", **profile) as file:
                    file.write(pixels, 1)
                    file.update_tags(ns=NAMESPACE, **{LEGEND: legend.as_text()}, **(facts or {}))
        return read_map(folder / f"{name}{CLASSES}")

    return write


@dataclass(frozen=True)
class Finished:
    """A results folder with finished runs, and their records by method; those of images of five bands, uint8."""

    results: ResultsFolder
    runs: dict[str, RunRecord]


@pytest.fixture(scope="session")
def finished(world: Path, protocol_file: Path, recipe: TrainingConfig, tmp_path_factory) -> Finished:
    root = tmp_path_factory.mktemp("finished")
    session = Session(
        ExperimentPlan(str(protocol_file), world, root / "results", root / "stores", recipe, accelerator="cpu")
    )
    jobs = session.bench.jobs(["source-only", "tent"], [0], ["2020"])
    session.remember(jobs)
    session.run(jobs, publish=False)
    runs = session.results.finished(session.experiment).values()
    return Finished(session.results, {run.facts["method"]: run for run in runs})


@pytest.fixture(scope="session")
def run(finished: Finished) -> TrainedRun:
    return load_run(finished.runs["source-only"], "cpu")


WriteImage = Callable[..., Path]


@pytest.fixture
def write_image(tmp_path: Path, run: TrainedRun, world: Path) -> WriteImage:
    """Return a function that writes an image of the world's patches, side by side."""
    patches = [rasterio.open(path).read() for path in sorted(world.rglob("IMG_*.tif"))]

    def write(height: int, width: int, name: str = "town", *, step: float = 1.0, **profile: object) -> Path:
        """Args: step: how many times as large as the run's the pixels are."""
        rng = np.random.default_rng(height)
        side = patches[0].shape[1]
        rows = [
            np.concatenate([patches[rng.integers(len(patches))] for _ in range(-(-width // side))], 2)
            for _ in range(-(-height // side))
        ]
        pixels = np.concatenate(rows, 1)[:, :height, :width]
        resolution = (run.images.resolution or 1) * step
        place = from_origin(700_000, 6_600_000, resolution, resolution)
        kinds = {"driver": "GTiff", "dtype": "uint8", "crs": "EPSG:2154", "transform": place, **profile}
        path = tmp_path / f"{name}.tif"
        with rasterio.open(path, "w", height=height, width=width, count=len(pixels), **kinds) as file:
            file.write(pixels)
        return path

    return write
