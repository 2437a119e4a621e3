"""Processes that predict the blocks of a map: each reads the next and writes the last while it predicts one."""

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rasterio.errors import NotGeoreferencedWarning

from benchmark.common.errors import SettingsError
from benchmark.data.raster import prepare_thread
from benchmark.experiments.results import ResultsFolder
from benchmark.maps.blocks import BlockFolder, Predictor, Report, batch_size, read_part
from benchmark.maps.coding import MASKS
from benchmark.maps.reading import MapImage, open_image
from benchmark.maps.trained import TrainedRun, find_run, load_run
from benchmark.maps.windows import Box, Tiling
from benchmark.training.savepoints import Savepoints
from benchmark.training.trainer import held_by, put_back

SAVE_EVERY = 60.0  # seconds
LOOK_EVERY = 0.5  # seconds


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
class MapTask:
    """The task of a worker: to predict blocks of a map.

    Attributes:
        results: results folder.
        run: id of the run.
        image: path of the image.
        folder: folder of the blocks.
        tiling, options: see there.
        digest: of all that the bytes depend on.
    """

    results: Path
    run: str
    image: Path
    folder: Path
    tiling: Tiling
    options: MapOptions
    digest: str


def predict_blocks(task: MapTask, run: TrainedRun, image: MapImage, boxes: Sequence[Box], report: Report) -> None:
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


def _work(task: MapTask, boxes: Sequence[Box]) -> None:
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
    task: MapTask, run: TrainedRun, image: MapImage, boxes: Sequence[Box], report: Report, ended: Callable[[], bool]
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
        image.kept_open(reader),
        ThreadPoolExecutor(1, "writer") as writer,
    ):
        reading = [reader.submit(read_part, image, task.tiling, run.multiple, box) for box in left[:1]]
        writing: Future[None] | None = None
        for number, box in enumerate(left):
            report(len(boxes) - len(left) + number, len(boxes))
            if ended():
                break
            part = reading.pop().result()
            reading += [
                reader.submit(read_part, image, task.tiling, run.multiple, after)
                for after in left[number + 1 : number + 2]
            ]
            layers = predictor.predict(part)
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
