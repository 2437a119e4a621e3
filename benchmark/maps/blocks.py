"""Blocks of a map: what a network predicts of a part of an image, and the files that hold it until the map is whole."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.transform import Affine
from torch import Tensor

from benchmark.maps.legend import NO_DATA
from benchmark.maps.map_file import CLASSES, CONFIDENCE, PROBABILITIES
from benchmark.maps.reading import MapImage
from benchmark.maps.trained import TrainedRun
from benchmark.maps.windows import TILE, Box, Span, Tiling, hann
from benchmark.training.prediction import AT_ONCE, most_at_once, weights_as_they_are

Layers = dict[str, NDArray[np.uint8]]
"""Pixels (bands, H, W) of a block, by the ending of the map's file."""


@dataclass(frozen=True, eq=False)
class ReadBlock:
    """A block as it is read, with what its windows show around it.

    Attributes:
        box: the block.
        rows, columns: its windows along both axes.
        images: (C, H, W) stored numbers of all windows together.
        valid: (H, W), where there are data.
        corner: row and column of the first of these pixels.
    """

    box: Box
    rows: list[Span]
    columns: list[Span]
    images: NDArray
    valid: NDArray[np.bool_]
    corner: tuple[int, int]

    def holds_data(self, row: Span, column: Span) -> bool:
        """Return whether a window has data where it is kept."""
        top, left = self.corner
        return bool(self.valid[row.start - top : row.stop - top, column.start - left : column.stop - left].any())

    def cut(self, row: Span, column: Span) -> tuple[NDArray, NDArray[np.bool_]]:
        """Return the stored numbers (C, H, W) of a window, and where it has data (H, W)."""
        top, left = row.first - self.corner[0], column.first - self.corner[1]
        window = slice(top, top + row.size), slice(left, left + column.size)
        return self.images[:, *window], self.valid[window]

    @property
    def valid_in_box(self) -> NDArray[np.bool_]:
        """The pixels (H, W) of the block that have data."""
        (top, bottom, left, right), (row, column) = self.box, self.corner
        return self.valid[top - row : bottom - row, left - column : right - column]


def read_part(image: MapImage, tiling: Tiling, multiple: int, box: Box) -> ReadBlock:
    """Read a block with what its windows show around it."""
    rows, columns = tiling.spans(box[0], box[1], multiple), tiling.spans(box[2], box[3], multiple)
    down, across = _extent(rows), _extent(columns)
    images, valid = image.read(down, across)
    return ReadBlock(box, rows, columns, images, valid, (down.first, across.first))


def _extent(spans: list[Span]) -> Span:
    first, stop = min(span.first for span in spans), max(span.first + span.size for span in spans)
    return Span(first, stop - first, first, stop)


class Predictor:
    """Predicts the blocks of a map, one after the other.

    Attributes:
        step: batches that a method has learned from (test-time methods only).

    Args:
        steps: batches of all blocks, if each window holds data.
        probabilities: whether the probabilities of all classes are kept, too.
    """

    def __init__(self, run: TrainedRun, tiling: Tiling, steps: int, *, probabilities: bool) -> None:
        self._run, self._tiling, self._steps, self._probabilities = run, tiling, steps, probabilities
        self._device = run.stepper.fabric.device
        self._thread = ThreadPoolExecutor(1, "layers")
        self.step = 0

    def predict(self, part: ReadBlock) -> Future[Layers]:
        """Return the layers of a block; a test-time method learns from each batch of windows after it was predicted.

        Another thread makes the layers of what the network gives, so that this one does little but run the network.

        Args:
            part: a block by `read_part`.
        """
        canvas, absorbed = self._canvas(part), None
        windows = [(row, column) for row in part.rows for column in part.columns if part.holds_data(row, column)]
        for some in _some(windows, batch_size(self._run, self._tiling)):
            logits = self.logits(self._filled(part, some))
            if absorbed:
                absorbed.result()
            absorbed = self._thread.submit(self._absorb, canvas, part, some, logits)
        return self._thread.submit(self._layers, canvas, part, absorbed)

    def _canvas(self, part: ReadBlock) -> Tensor:
        """Return where a block's predictions are put together: probabilities, or classes and confidence."""
        height, width = part.box[1] - part.box[0], part.box[3] - part.box[2]
        if self._tiling.blended or self._probabilities:
            return torch.zeros(len(self._run.values), height, width, device=self._device)
        return torch.zeros(2, height, width, dtype=torch.uint8, device=self._device)

    def _absorb(self, canvas: Tensor, part: ReadBlock, windows: list[tuple[Span, Span]], logits: Tensor) -> None:
        """Put what was predicted for some windows into their places."""
        with torch.inference_mode():
            for (row, column), each in zip(windows, logits, strict=True):
                kept = tuple(slice(span.start - span.first, span.stop - span.first) for span in (row, column))
                place = canvas[:, row.start - part.box[0] : row.stop - part.box[0]]
                place = place[..., column.start - part.box[2] : column.stop - part.box[2]]
                probabilities = each[:, *kept].contiguous().softmax(0)
                if self._tiling.blended:
                    place += probabilities * hann(row.size, self._device)[kept]
                else:
                    place.copy_(probabilities if canvas.is_floating_point() else _best(probabilities))

    def _layers(self, canvas: Tensor, part: ReadBlock, absorbed: "Future[None] | None") -> Layers:
        if absorbed:
            absorbed.result()
        best = (_best(canvas) if canvas.is_floating_point() else canvas).cpu().numpy()
        layers = {CLASSES: self._run.values[best[:1]], CONFIDENCE: best[1:]}
        if self._probabilities:
            layers[PROBABILITIES] = (100 * canvas).round().to(torch.uint8).cpu().numpy()
        for pixels in layers.values():
            pixels[:, ~part.valid_in_box] = NO_DATA
        return layers

    def _filled(self, part: ReadBlock, windows: list[tuple[Span, Span]]) -> Tensor:
        """Return scaled images (N, C, H, W) of windows, the mean of the training's in pixels without data."""
        cut = [part.cut(*window) for window in windows]
        images = self._run.scaling(torch.from_numpy(np.stack([images for images, _ in cut])).to(self._device))
        valid = np.stack([valid for _, valid in cut])[:, None]
        if valid.all():
            return images
        return torch.where(torch.from_numpy(valid).to(self._device), images, self._run.mean)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (N, C, H, W) of scaled images; a test-time method then learns from them."""
        if not self._run.adapts:
            with torch.inference_mode():
                return self._run.predict(images)
        self._run.arrive(self.step, self._steps)
        self.step += 1
        with weights_as_they_are():
            with torch.no_grad():  # no inference mode: what is predicted with may be learned from
                logits = self._run.predict(images)
            self._run.adapt(images)
        return logits


def batch_size(run: TrainedRun, tiling: Tiling) -> int:
    """Return how many windows are predicted at once.

    A method that depends on the batch is given as many as in training. On a CPU more than a few gain nothing.
    """
    if run.adapts or run.method.depends_on_batch:
        return run.stepper.recipe.batch_size
    side = tiling.window or run.images.patch_size
    most = min(AT_ONCE, most_at_once(side))
    return most if run.stepper.fabric.device.type != "cpu" else max(1, most // 4)


def _some(windows: list[tuple[Span, Span]], size: int) -> Iterator[list[tuple[Span, Span]]]:
    yield from (windows[first : first + size] for first in range(0, len(windows), size))


def _best(probabilities: Tensor) -> Tensor:
    """Return the most probable class of each pixel, of equal ones the first, and its probability in percent.

    Comparisons with the largest take a third of the time of a maximum with its index on a CPU.

    Args:
        probabilities: (C, H, W), of at most 255 classes.

    Returns:
        (2, H, W) uint8.
    """
    confidence, count = probabilities.amax(0), len(probabilities)
    left = torch.ones_like(confidence, dtype=torch.uint8)  # classes from the most probable one to the last
    for number, each in enumerate(probabilities):
        torch.maximum(left, (each == confidence).view(torch.uint8).mul_(count - number), out=left)
    return torch.stack([count - left, (100 * confidence).round_().to(torch.uint8)])


class BlockFolder:
    """The folder of the finished blocks of a map."""

    def __init__(self, folder: Path, image: MapImage) -> None:
        self.folder, self._image = folder, image

    def path(self, box: Box, ending: str) -> Path:
        """Return the path of a layer of a block."""
        return self.folder / f"{box[0]:07d}-{box[2]:07d}{ending}"

    def is_done(self, box: Box) -> bool:
        """Return whether a block is finished; its classes are written last."""
        return self.path(box, CLASSES).is_file()

    def write(self, box: Box, layers: Layers) -> None:
        """Write a block; each file appears when it is whole."""
        top, bottom, left, right = box
        profile = {
            **{"driver": "GTiff", "height": bottom - top, "width": right - left, "dtype": "uint8", "nodata": NO_DATA},
            **{"crs": self._image.crs, "transform": self._image.transform @ Affine.translation(left, top)},
            **{"tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "DEFLATE", "zlevel": 1},
        }
        for ending in (PROBABILITIES, CONFIDENCE, CLASSES):
            if ending in layers:
                place = self.path(box, ending)
                half = place.with_name(f".{os.getpid()}.{place.name}")
                with rasterio.open(half, "w", count=len(layers[ending]), **profile) as file:
                    file.write(layers[ending])
                half.replace(place)


Report = Callable[[int, int], None]
"""Takes the number of blocks that are done, and of all."""
