"""Making maps: blocks are predicted by one or several processes, kept as files, and put together when all are there."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from benchmark.common.console import FileBar
from benchmark.common.errors import DataError, SettingsError
from benchmark.common.files import read_json
from benchmark.data.catalog_cache import stamp
from benchmark.data.raster import open_raster
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_record import RunRecord
from benchmark.maps.blocks import BlockFolder, Report, batch_size
from benchmark.maps.cog import Kind, assemble
from benchmark.maps.legend import NO_DATA
from benchmark.maps.map_file import CLASSES, CONFIDENCE, PROBABILITIES
from benchmark.maps.reading import MapImage, image_date, open_image
from benchmark.maps.style import write_style
from benchmark.maps.trained import TrainedRun, load_run
from benchmark.maps.windows import LARGEST_MARGIN, Tiling, blocks_of, plan_tiling, sufficient_margin
from benchmark.maps.workers import MapOptions, MapTask, predict_blocks

MAP, PART = ".map.json", ".part"
KINDS: dict[str, Kind] = {CLASSES: "classes", CONFIDENCE: "confidence", PROBABILITIES: "probabilities"}


def make_maps(
    results: ResultsFolder,
    record: RunRecord,
    images: Mapping[str, Path],
    output: Path,
    options: MapOptions,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Make the maps of some images, each of which a test-time method begins as it was trained.

    Args:
        record: a finished run.
        images: images by the names of their maps.
        output: folder for the maps.
        options: see `MapOptions`.
        say: takes lines for the user.

    Returns:
        the paths of the maps of classes.

    Raises:
        DataError and others: an image or the run cannot be used.
    """
    run, made = load_run(record, options.accelerator, options.coding), []
    for path in images.values():  # the last of many must not stop the command after hours
        open_image(path, run.images, no_crs=options.no_crs)
    output.mkdir(parents=True, exist_ok=True)
    for number, (name, path) in enumerate(images.items()):
        if run.adapts and number:
            run = load_run(record, options.accelerator, options.coding)
        with _alone(output / f"{name}{PART}"), FileBar(f"blocks of {name}") as bar:
            made.append(make_map(results, run, path, name, output, options, say, bar))
    return made


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Keep other commands from making the same map.

    Args:
        part: folder of its blocks.

    Raises:
        SettingsError: another one makes it.
    """
    lock = FileLock(part.with_name(f"{part.name}.lock"), timeout=0)
    try:
        with lock:
            try:
                yield
            finally:
                Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout as error:
        raise SettingsError(f"{part}: another command makes this map now; wait for it") from error


def make_map(
    results: ResultsFolder,
    run: TrainedRun,
    image_path: Path,
    name: str,
    output: Path,
    options: MapOptions,
    say: Callable[[str], None] = lambda line: None,
    report: Report = lambda done, total: None,
) -> Path:
    """Make the map of an image; what an interrupted call of the same left is used.

    Args:
        name: name of the map.
        output: folder for its files.
        say: takes lines for the user.

    Returns:
        the path of its classes.

    Raises:
        DataError: the image cannot be used, or a part of it cannot be read.
    """
    image = open_image(image_path, run.images, no_crs=options.no_crs)
    image.check_numbers(run.scaling, *_moments(run))
    size, sides = (image.height, image.width), (options.window, options.margin)
    tiling = plan_tiling(lambda: _margin(run), size, run.images.patch_size, run.multiple, *sides)
    facts = run.facts | _facts_of(run, image, tiling, options) | {"image": name + image_path.suffix}
    digest = _digest(run, image, tiling, options)
    target, about = output / f"{name}{CLASSES}", output / f"{name}{MAP}"
    endings = [CLASSES, CONFIDENCE, *([PROBABILITIES] if options.probabilities else [])]
    is_made = about.is_file() and read_json(about).get("digest") == digest
    if is_made and all((output / f"{name}{ending}").is_file() for ending in endings):
        say(f"{target}: is there already")
        return target
    for line in _notes(run, image, tiling):
        say(f"{name}: {line}")
    folder = _part_folder(output / f"{name}{PART}", digest)
    boxes = blocks_of(image.height, image.width, run.multiple)
    task = MapTask(results.folder, run.record.id, image_path, folder, tiling, options, digest)
    predict_blocks(task, run, image, boxes, report)
    files = BlockFolder(folder, image)
    facts["no_data_share"] = _no_data_share(image_path, [files.path(box, CLASSES) for box in boxes])
    about.unlink(missing_ok=True)
    for ending in reversed(endings):
        paths = [files.path(box, ending) for box in boxes]
        assemble(paths, output / f"{name}{ending}", run.legend, facts, KINDS[ending])
    write_style(target, run.legend)
    half = about.with_name(f"{about.name}{PART}")
    half.write_text(json.dumps({"digest": digest, "image": str(image_path), "facts": facts}, indent=1), "utf-8")
    half.replace(about)
    shutil.rmtree(folder)
    say(f"written: {target}")
    return target


def _margin(run: TrainedRun) -> int | None:
    """Return `sufficient_margin`; None also where a pixel hangs on all others of its batch."""
    if run.method.depends_on_batch:
        return None
    return sufficient_margin(run.predict, run.mean, run.method.network.std[0], run.multiple, LARGEST_MARGIN)


def _moments(run: TrainedRun) -> tuple[Any, Any]:
    network = run.method.network
    return tuple(each.flatten().double().cpu().numpy() for each in (network.mean, network.std))


def _facts_of(run: TrainedRun, image: MapImage, tiling: Tiling, options: MapOptions) -> dict[str, str]:
    """Return what a map says of its image and of how it was made."""
    resolution = run.images.resolution if image.is_resampled else image.resolution and image.resolution[1]
    date = options.date or image_date(image.path)
    facts = {"image_date": date, "tiling": tiling.words()}
    facts["resolution"] = f"{resolution:.4g} m" if resolution else ""
    facts["resampled_from"] = f"{image.resolution[1]:.4g} m" if image.is_resampled and image.resolution else ""
    if run.adapts:
        facts["adapted_on_the_way"] = f"in order of blocks, by batches of {batch_size(run, tiling)} windows"
    return {key: value for key, value in facts.items() if value}


def _notes(run: TrainedRun, image: MapImage, tiling: Tiling) -> Iterator[str]:
    """Yield what a user must know of a map before it is made."""
    yield f"{image.width:,} x {image.height:,} pixels, {tiling.words()}"
    if image.is_resampled and image.resolution:
        yield f"resampled from {image.resolution[1]:.4g} m to the {run.images.resolution:.4g} m of the run"
    elif run.images.resolution is None or image.resolution is None:
        whose = "of the run's images" if run.images.resolution is None else "of the image"
        yield f"the resolution {whose} is not known; that the two are alike cannot be checked"
    if image.other_names:
        yield f"WARNING: the file has bands that the run does not know by name: {', '.join(image.other_names)}"
    if run.adapts:
        yield f"{run.record.facts['method']} learns from the image on the way: a pixel depends on those before it"
    if run.method.needs_metadata:
        yield f"{run.record.facts['method']} goes by dates and places, which are not known here: the map is a poor one"


def _digest(run: TrainedRun, image: MapImage, tiling: Tiling, options: MapOptions) -> str:
    """Return a digest of all that the bytes of a map depend on."""
    content = {
        "run": (run.record.id, run.weights, run.legend.as_text(), run.values.tolist(), run.images.resolution),
        "image": (str(image.path.resolve()), stamp(str(image.path)), image.steps),
        "tiling": asdict(tiling),
        "options": asdict(replace(options, workers=None, accelerator="", window=None, margin=None)),
        "device": run.stepper.fabric.device.type,
        "software": (run.facts["software"], torch.__version__, version("rasterio")),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _part_folder(folder: Path, digest: str) -> Path:
    """Return the folder of the blocks, empty unless those in it are of the same map."""
    note = folder / "digest"
    if not note.is_file() or note.read_text("utf-8") != digest:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        note.write_text(digest, "utf-8")
    return folder


def _no_data_share(image: Path, blocks: Sequence[Path]) -> str:
    """Return the share of the pixels without data as text.

    Raises:
        DataError: there is no other.
    """
    missing = total = 0
    for path in blocks:
        with open_raster(path) as file:
            pixels = file.read(1)
        missing, total = missing + int((pixels == NO_DATA).sum()), total + pixels.size
    if missing == total:
        raise DataError(f"{image}: no pixel of it has data, by its nodata tag, mask or alpha band; correct these")
    return f"{missing / total:.4f}"
