"""Measure what `landshift map` costs beside the network: time of the network alone over that of the command's blocks.

    python results/scripts/map_speed.py best:source-only --results results --output results/published/map-speed.md

Both sides predict the same windows of the same image in the same batches and threads; one side also reads, cuts, puts
together, compresses and writes. Times on a shared machine drift within minutes, so the two take turns, and the median
over the turns is reported: of the time that passed, and of the time that processors worked, which other programs change
less.
"""

import argparse
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin

from benchmark.data.synthetic import World, generate
from benchmark.experiments.results import ResultsFolder
from benchmark.maps import predict, workers
from benchmark.maps.blocks import batch_size, read_part
from benchmark.maps.reading import MapImage, open_image
from benchmark.maps.trained import TrainedRun, find_run, load_run
from benchmark.maps.windows import BLOCK, Tiling, blocks_of, plan_tiling
from benchmark.maps.workers import MapOptions

Seconds = tuple[float, float]
"""Time that passed, and time that processors worked."""


def measure(results: ResultsFolder, names: list[str], blocks: int, turns: int) -> str:
    """Return a Markdown table, a row for each run.

    Args:
        names: finished runs of images with the five bands of the world, as `landshift map` takes them.
        blocks: blocks of the image.
        turns: pairs of measurements.
    """
    with tempfile.TemporaryDirectory(prefix="landshift-maps-") as folder:
        path, rows = _image(Path(folder), blocks), []
        for name in names:
            run = load_run(find_run(results, name), "cpu")
            rows.append(_row(results, run, open_image(path, run.images), turns))
    head = "| network | windows | ratio of time passed | of processors' time | turns | a block alone |"
    about = (
        f"{blocks} blocks of {BLOCK} x {BLOCK} pixels, 5 bands, deflated; torch {torch.__version__}, "
        f"{torch.get_num_threads()} thread(s), {platform.machine()}, Python {platform.python_version()}"
    )
    return "\n".join([head, "|---|---|--:|--:|--:|--:|", *rows, "", about])


def _image(folder: Path, blocks: int) -> Path:
    """Write an image of the world's look: a row of blocks."""
    generate(World(places=1, times=1, zones=4, zone_side=1, patch_size=512), folder / "world")
    patches = [rasterio.open(path).read() for path in sorted((folder / "world").rglob("IMG_*.tif"))]
    rng, count = np.random.default_rng(0), BLOCK // 512
    profile = {
        **{"driver": "GTiff", "dtype": "uint8", "count": len(patches[0]), "crs": "EPSG:2154", "compress": "DEFLATE"},
        **{"height": BLOCK, "width": BLOCK * blocks, "tiled": True, "blockxsize": 512, "blockysize": 512},
        "transform": from_origin(700_000, 6_600_000, 0.8, 0.8),
    }
    with rasterio.open(folder / "image.tif", "w", **profile) as file:
        chosen = rng.integers(len(patches), size=(count, count * blocks))
        file.write(np.concatenate([np.concatenate([patches[each] for each in row], 2) for row in chosen], 1))
    return folder / "image.tif"


def _row(results: ResultsFolder, run: TrainedRun, image: MapImage, turns: int) -> str:
    """Measure a run on an image; return its row."""
    size = image.height, image.width
    tiling = plan_tiling(lambda: predict._margin(run), size, run.images.patch_size, run.multiple)
    boxes = blocks_of(*size, run.multiple)

    def network_alone(images: torch.Tensor, batches: list[int]) -> None:
        with torch.inference_mode():
            for batch in batches:
                run.predict(images[:batch])

    def whole() -> None:
        shutil.rmtree(image.path.with_name("blocks"), ignore_errors=True)
        folder = image.path.with_name("blocks")
        folder.mkdir()
        task = workers.MapTask(results.folder, run.record.id, image.path, folder, tiling, MapOptions(), "")
        workers._blocks(task, run, image, boxes, lambda done, total: None, lambda: False)

    network = run.stepper.recipe.network
    images, batches = _windows(run, image, tiling)
    pairs = []
    for _ in range(turns + 1):
        pairs.append((_time(lambda: network_alone(images, batches)), _time(whole)))
    ratios = [[alone[kind] / all_[kind] for alone, all_ in pairs[1:]] for kind in (0, 1)]  # the first warms up
    alone = statistics.median(alone[0] for alone, _ in pairs[1:]) / len(boxes)
    cells = (
        f"{network.architecture}, {network.encoder}",
        f"{tiling.window} px, margin {tiling.margin}, {len(images)} at once",
        *map(_median, ratios),
        f"{turns}",
        f"{alone:.1f} s",
    )
    return f"| {' | '.join(cells)} |"


def _windows(run: TrainedRun, image: MapImage, tiling: Tiling) -> tuple[torch.Tensor, list[int]]:
    """Return a batch of windows as the network is given them, and the sizes of all batches of the image."""
    boxes, most = blocks_of(image.height, image.width, run.multiple), batch_size(run, tiling)
    part = read_part(image, tiling, run.multiple, boxes[0])
    spans = [(row, column) for row in part.rows for column in part.columns][:most]
    batch = run.scaling(torch.from_numpy(np.stack([part.cut(*window)[0] for window in spans])))
    counts = [len(workers._windows(tiling, box, run.multiple)) for box in boxes]
    return batch, [min(most, count - first) for count in counts for first in range(0, count, most)]


def _time(action: Callable[[], None]) -> Seconds:
    passed, worked = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - passed, time.process_time() - worked


def _median(ratios: list[float]) -> str:
    low, high = np.quantile(ratios, [0.25, 0.75])
    return f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="as `landshift map` takes it")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write the table (Markdown)")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of the image (default: 4)")
    parser.add_argument("--turns", type=int, default=5, help="pairs of measurements (default: 5)")
    options = parser.parse_args()
    table = measure(ResultsFolder(options.results), options.runs, options.blocks, options.turns)
    print(table)
    if options.output:
        options.output.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
