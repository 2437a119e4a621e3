"""Measure what the engine and the store cost, as ratios measured side by side in one run.

    python results/scripts/engine_speed.py results/published/bench.md

Times on a shared machine drift by tens of percent within minutes, so the two sides of a ratio take turns in short
blocks, and the median over the pairs of blocks is reported.
"""

import argparse
import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import torch
from torch.nn import functional as F

from benchmark.data.flair import read_flair
from benchmark.data.raster import read_image
from benchmark.data.store import Store, open_store
from benchmark.data.synthetic import World, generate
from benchmark.training.config import PRESETS
from benchmark.training.devices import make_fabric
from benchmark.training.fold_data import FoldData, Part
from benchmark.training.trainer import Stepper
from methods.base import IGNORE, Progress, SourceBatch, Task
from methods.parts.metadata import Metadata
from methods.source_only import SourceOnly

BLOCK = 0.25  # seconds of work a turn
READ_AT_ONCE = 8  # patches
COMPRESSIONS = {"deflate": "at least 10", "lzw": "", "zstd": "", "none": ""}


def measure(seconds: float = 20.0) -> str:
    """Run all measurements and return them as a Markdown table.

    Args:
        seconds: length of each of the six measurements.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="landshift-bench-") as folder:
        step = engine_overhead(Path(folder), seconds)
        copy, decode = store_speed(Path(folder), seconds)
    rows = [
        ("engine step / bare PyTorch step, same network and batch", step, "at most 1.03"),
        ("patches a second: store / plain copy of the bytes in memory", copy, "at least 0.7"),
        *(
            (f"patches a second: store / rasterio on GeoTIFFs, {name}", ratios, COMPRESSIONS[name])
            for name, ratios in decode.items()
        ),
    ]
    head = "| ratio | median | middle half | pairs | wanted |\n|---|--:|--:|--:|---|"
    body = [f"| {name} | {_median(r)} | {_quartiles(r)} | {len(r)} | {wanted} |" for name, r, wanted in rows]
    about = f"torch {torch.__version__}, one thread, {platform.machine()}, Python {platform.python_version()}"
    return "\n".join([head, *body, "", about])


def engine_overhead(folder: Path, seconds: float) -> list[float]:
    """Return ratios of the time of an engine step to that of a bare loop on the same network and the same batch."""
    generate(World(places=1, times=1, zones=4, zone_side=1), folder / "small")
    store = open_store(read_flair(folder / "small", name="small"), folder / "stores")
    recipe = PRESETS["tiny"]
    part = Part(np.arange(4), np.array(["a"] * 4), np.array(["a"] * 4), Metadata.unknown(4))
    task = Task(tuple(map(str, range(12))), ("red", "green", "blue", "nir", "height"))
    data = FoldData(store, {"source_train": part}, task)
    fabric = make_fabric("cpu", "32-true")
    images = torch.from_numpy(store.read(np.arange(recipe.batch_size) % 4)[..., : recipe.crop, : recipe.crop]).float()
    labels = store.labels_of(part.rows).read(np.arange(recipe.batch_size) % 4)[..., : recipe.crop, : recipe.crop]
    batch = SourceBatch(
        images,
        torch.from_numpy(labels).long(),
        torch.zeros(len(images), dtype=torch.int64),
        Metadata.unknown(len(images)),
    )

    stepper = Stepper(fabric, SourceOnly, None, data, recipe, seed=0, log=lambda losses, step: None)
    bare = Stepper(fabric, SourceOnly, None, data, recipe, seed=0, log=lambda losses, step: None).method.network
    optimizer = torch.optim.AdamW(bare.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)

    def engine() -> None:
        stepper.step(batch, None, Progress(0, recipe.steps))

    def plain() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(bare(batch), batch.labels, ignore_index=IGNORE).backward()
        optimizer.step()

    return _pairs(engine, plain, seconds)


def store_speed(folder: Path, seconds: float) -> tuple[list[float], dict[str, list[float]]]:
    """Return ratios of patches a second: store to a plain copy, and store to rasterio by the compression of the files.

    Patches have FLAIR's size, 5 x 512 x 512.
    """
    store, files = _flair_sized(folder)
    resident = np.concatenate([store.read(np.array([row])) for row in range(len(files))])
    turn = [0]

    def rows() -> np.ndarray:
        turn[0] += READ_AT_ONCE
        return np.arange(turn[0], turn[0] + READ_AT_ONCE) % len(files)

    def from_store() -> None:
        store.read(rows())

    def from_memory() -> None:
        wanted = rows()
        out = np.empty((len(wanted), *resident.shape[1:]), resident.dtype)
        for place, row in enumerate(wanted):
            np.copyto(out[place], resident[row])

    ratios = {}
    for compression in COMPRESSIONS:
        written = [_compressed(file, compression) for file in files]

        def from_files(written: list[Path] = written) -> None:
            np.stack([read_image(written[row], 5) for row in rows()])

        ratios[compression] = _pairs(from_files, from_store, seconds)
    return _pairs(from_memory, from_store, seconds), ratios


def _compressed(path: Path, compression: str) -> Path:
    """Return a copy of a GeoTIFF, compressed in another way."""
    copy = path.with_name(f"{path.stem}-{compression}.tif")
    with rasterio.open(path) as file, rasterio.open(copy, "w", **file.profile | {"compress": compression}) as other:
        other.write(file.read())
    return copy


def _flair_sized(folder: Path, copies: int = 8) -> tuple[Store, list[Path]]:
    """Return deflate-compressed patches of FLAIR's size (the world's in their eight symmetries), and their store."""
    root = folder / "large"
    generate(World(places=1, times=1, zones=4, zone_side=1, patch_size=512), root)
    for path in root.glob("*.json"):
        path.unlink()  # it speaks of the four originals
    for index, path in enumerate(sorted(root.rglob("IMG_*.tif"))):
        with rasterio.open(path) as file:
            image, profile = file.read(), file.profile
        for copy in range(copies):
            turned = np.rot90(image, copy % 4, axes=(-2, -1))
            name = path.with_name(f"IMG_{100 + copies * index + copy:06d}.tif")
            with rasterio.open(name, "w", **profile) as file:
                file.write(turned[..., ::-1] if copy >= 4 else turned)
        path.unlink()
    catalog = read_flair(root, name="large")
    return open_store(catalog, folder / "stores"), [Path(path) for path in catalog.patches["image"]]


def _pairs(one: Callable[[], None], other: Callable[[], None], seconds: float) -> list[float]:
    """Return the time of a call of one over that of the other, for pairs of blocks in turn."""
    rounds = [max(1, math.ceil(BLOCK / _time(action, 2))) for action in (one, other)]
    ratios: list[float] = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends or len(ratios) < 3:
        ratios.append(_time(one, rounds[0]) / _time(other, rounds[1]))
    return ratios


def _time(action: Callable[[], None], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - started) / times


def _median(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f}"


def _quartiles(ratios: list[float]) -> str:
    low, high = np.quantile(ratios, [0.25, 0.75])
    return f"{low:.2f} to {high:.2f}"


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", metavar="FILE", help="where to write the table (Markdown)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each measurement (default: 20)")
    options = parser.parse_args()
    table = measure(options.seconds)
    print(table)
    if options.output:
        options.output.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
