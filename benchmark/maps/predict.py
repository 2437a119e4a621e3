"""Making maps: blocks are predicted by one or several processes, kept as files, and put together when all are there."""

import hashlib
import json
import multiprocessing
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rasterio.errors import NotGeoreferencedWarning

from benchmark.common.console import FileBar
from benchmark.common.errors import DataError, SettingsError
from benchmark.common.files import read_json
from benchmark.data.catalog_cache import stamp
from benchmark.data.raster import open_raster, prepare_thread
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_record import RunRecord
from benchmark.maps.blocks import BlockFolder, Predictor, Report, batch_size
from benchmark.maps.coding import MASKS
from benchmark.maps.cog import Kind, assemble
from benchmark.maps.legend import NO_DATA
from benchmark.maps.map_file import CLASSES, CONFIDENCE, PROBABILITIES
from benchmark.maps.reading import MapImage, image_date, open_image
from benchmark.maps.style import write_style
from benchmark.maps.trained import TrainedRun, find_run, load_run
from benchmark.maps.windows import LARGEST_MARGIN, Box, Tiling, blocks_of, plan_tiling, sufficient_margin
from benchmark.training.savepoints import Savepoints
from benchmark.training.trainer import held_by, put_back

MAP, PART = ".map.json", ".part"
SAVE_EVERY = 60.0  # seconds
LOOK_EVERY = 0.5  # seconds
KINDS: dict[str, Kind] = {CLASSES: "classes", CONFIDENCE: "confidence", PROBABILITIES: "probabilities"}


@dataclass(frozen=True)
class MapOptions:
    """Options of a map.

    Attributes:
        coding: coding of their values.
        probabilities: write those of all classes, too.
        window, margin: sides in pixels; None to choose them.
        workers: processes; None for one a GPU, or one.
        accelerator: see `load_run`.
        no_crs: see `open_image`.
        date: date of the images, where their files do not say it; "" if unknown.
    """

    coding: str = MASKS
    probabilities: bool = False
    window: int | None = None
    margin: int | None = None
    workers: int | None = None
    accelerator: str = "auto"
    no_crs: bool = False
    date: str = ""


@dataclass(frozen=True)
class _Task:
    """The task of a worker: to predict blocks of a map."""

    results: Path
    run: str
    image: Path
    folder: Path
    tiling: Tiling
    options: MapOptions
    digest: str


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
    output.mkdir(parents=True, exist_ok=True)
    run, made = load_run(record, options.accelerator, options.coding), []
    for number, (name, path) in enumerate(images.items()):
        if run.adapts and number:
            run = load_run(record, options.accelerator, options.coding)
        with FileBar(f"blocks of {name}") as bar:
            made.append(make_map(results, run, path, name, output, options, say, bar))
    return made


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
    tiling = plan_tiling(
        lambda: _margin(run),
        (image.height, image.width),
        run.images.patch_size,
        run.multiple,
        options.window,
        options.margin,
    )
    facts = run.facts | _facts_of(run, image, tiling, options) | {"image": name + image_path.suffix}
    digest = _digest(run, image, tiling, options)
    target, about = output / f"{name}{CLASSES}", output / f"{name}{MAP}"
    endings = [CLASSES, CONFIDENCE, *([PROBABILITIES] if options.probabilities else [])]
    is_made = about.is_file() and read_json(about).get("digest") == digest
    if is_made and all((output / f"{name}{ending}").is_file() for ending in endings):
        say(f"{target}: is there already; nothing to do")
        return target
    for line in _notes(run, image, tiling):
        say(f"{name}: {line}")
    folder = _part_folder(output / f"{name}{PART}", digest)
    boxes = blocks_of(image.height, image.width, run.multiple)
    task = _Task(results.folder, run.record.id, image_path, folder, tiling, options, digest)
    _predict(task, run, image, boxes, report)
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


# ---------------------------------------------------------------- processes


def _predict(task: _Task, run: TrainedRun, image: MapImage, boxes: Sequence[Box], report: Report) -> None:
    """Predict the blocks that are not there yet."""
    workers = _workers(run, task.options)
    if workers == 1 or len(boxes) == 1:
        _blocks(task, run, image, boxes, report, lambda: False)
        return
    files, context = BlockFolder(task.folder, image), multiprocessing.get_context("spawn")
    left = [box for box in boxes if not files.is_done(box)]
    stop = context.Event()
    with ProcessPoolExecutor(min(workers, len(left)) or 1, context, _prepare, (stop, context.Value("i", 0))) as pool:
        try:
            futures = [pool.submit(_work, task, left[number::workers]) for number in range(min(workers, len(left)))]
            _watch(futures, lambda: report(sum(map(files.is_done, boxes)), len(boxes)))
        except BaseException:
            stop.set()
            raise


def _watch(futures: Sequence[Future[None]], look: Callable[[], None]) -> None:
    """Wait for workers; the first error ends it."""
    while True:
        done, running = wait(futures, LOOK_EVERY, FIRST_EXCEPTION)
        look()
        for future in done:
            future.result()
        if not running:
            return


def _workers(run: TrainedRun, options: MapOptions) -> int:
    if run.adapts:
        if options.workers not in (None, 1):
            raise SettingsError(
                f"{run.record.facts['method']} learns from the image on the way, block after block: one worker alone "
                "can do that (--workers 1)"
            )
        return 1
    on_gpu = run.stepper.fabric.device.type == "cuda"
    return options.workers or (torch.cuda.device_count() if on_gpu else 1)


_stop: Any = None


def _prepare(stop: Any, counter: Any) -> None:
    """Set up a worker: it sees one of the GPUs."""
    global _stop
    _stop = stop
    with counter.get_lock():
        number, counter.value = counter.value, counter.value + 1
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    devices = [device for device in listed.split(",") if device] or list(map(str, range(torch.cuda.device_count())))
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]


def _work(task: _Task, boxes: Sequence[Box]) -> None:
    """Predict some blocks in a worker, until it is to stop or the process that started it has ended."""
    record = find_run(ResultsFolder(task.results), task.run)
    run = load_run(record, task.options.accelerator, task.options.coding)
    image = open_image(task.image, run.images, no_crs=task.options.no_crs)
    parent = multiprocessing.parent_process()
    _blocks(
        task,
        run,
        image,
        boxes,
        lambda done, total: None,
        lambda: _stop.is_set() or not (parent and parent.is_alive()),
    )


def _blocks(
    task: _Task, run: TrainedRun, image: MapImage, boxes: Sequence[Box], report: Report, ended: Callable[[], bool]
) -> None:
    """Predict blocks one after the other, while the next is read and the last is written."""
    files = BlockFolder(task.folder, image)
    steps = -(-sum(len(_windows(task.tiling, box, run.multiple)) for box in boxes) // batch_size(run, task.tiling))
    predictor = Predictor(run, task.tiling, steps, probabilities=task.options.probabilities)
    memory = Savepoints(task.folder / "state", {"digest": task.digest}, SAVE_EVERY)
    first = _recalled(memory, run, predictor) if run.adapts else 0
    left = [box for box in boxes[first:] if run.adapts or not files.is_done(box)]
    with (
        _quiet(),
        closing(predictor),
        ThreadPoolExecutor(1, "reader", prepare_thread) as reader,
        ThreadPoolExecutor(1, "writer") as writer,
    ):
        reading = [reader.submit(predictor.read, image, box) for box in left[:1]]
        writing: Future[None] | None = None
        for number, box in enumerate(left):
            report(len(boxes) - len(left) + number, len(boxes))
            if ended():
                break
            part, images = reading.pop().result()
            reading += [reader.submit(predictor.read, image, after) for after in left[number + 1 : number + 2]]
            layers = predictor.predict(part, images)
            if writing:
                writing.result()
            writing = writer.submit(lambda box, layers: files.write(box, layers.result()), box, layers)
            if run.adapts and memory.due:
                writing.result()
                _remember(memory, run, predictor, first + number + 1)
        if writing:
            writing.result()
    report(len(boxes), len(boxes))


def _windows(tiling: Tiling, box: Box, multiple: int) -> list[tuple[int, int]]:
    rows, columns = tiling.spans(box[0], box[1], multiple), tiling.spans(box[2], box[3], multiple)
    return [(row.first, column.first) for row in rows for column in columns]


def _remember(memory: Savepoints, run: TrainedRun, predictor: Predictor, blocks: int) -> None:
    """Save what a test-time method has learned from so many blocks, with its optimisers."""
    optimizers = {name: each.state_dict() for name, each in _optimizers(run).items()}
    memory.save(
        blocks, {"method": held_by(run.method), "optimizers": optimizers, "blocks": blocks, "step": predictor.step}
    )


def _recalled(memory: Savepoints, run: TrainedRun, predictor: Predictor) -> int:
    """Put back what was saved last; return the number of blocks that it has learned from."""
    content = memory.newest()
    if content is None:
        return 0
    put_back(run.method, content["method"])
    for name, optimizer in _optimizers(run).items():
        optimizer.load_state_dict(content["optimizers"][name])
    predictor.step = content["step"]
    return int(content["blocks"])


def _optimizers(run: TrainedRun) -> dict[str, torch.optim.Optimizer]:
    """Return the optimisers that a test-time method keeps."""
    return {name: each for name, each in vars(run.method).items() if isinstance(each, torch.optim.Optimizer)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Do not warn of files without a georeference: it was said before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
