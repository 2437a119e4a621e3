"""Windows: how an image is cut so that no seam shows, and how far around a pixel the network looks."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmark.common.errors import SettingsError
from methods.parts.randomness import torch_generator

BLOCK = 2048  # pixels down and across a file of a part of a map, for most networks
TILE = 512  # pixels, of a GeoTIFF
LARGEST_MARGIN = 256
MOST_PIXELS = 2**21  # of a window: half of what is predicted at once (see benchmark.training.prediction)
TOLERANCE = 0.02  # of a logit: no probability changes by more than a percent, the step in which it is written
SCALES = (1, 4, 16, 64)  # pixels; of the noise in which the margin is measured
Predict = Callable[[Tensor], Tensor]
Box = tuple[int, int, int, int]
"""First row and the one behind the last, first column and the one behind the last."""


@dataclass(frozen=True)
class Span:
    """A window along one axis, in pixels of the image, before and behind which there may be more than the image has.

    Attributes:
        first, size: where it begins, and its length.
        start, stop: what is kept of it.
    """

    first: int
    size: int
    start: int
    stop: int


@dataclass(frozen=True)
class Tiling:
    """A cut of an image into blocks, which are files, and of these into windows, which are predicted.

    Attributes:
        window: side of a window in pixels; 0 where the image is predicted whole, as the patches of a test are.
        margin: pixels around a window that are predicted but not kept; where windows are blended, half of its side.
        blended: probabilities are summed up with the weights of `hann`; windows overlap by half.
        measured: the margin was measured, not given.
    """

    window: int
    margin: int
    blended: bool = False
    measured: bool = False

    def spans(self, start: int, stop: int, multiple: int = 1) -> list[Span]:
        """Return the windows along one axis of a block.

        Each pixel is kept by one window; by two, whose weights add up to 1, where they are blended. All begin at the
        same phase of the network's strides, whatever the block: so the last one is shifted inwards.

        Args:
            start, stop: the block's first pixel and the one behind its last; the first is a multiple of ``multiple``.
            multiple: see `SegmentationNetwork`.
        """
        if not self.window:
            return [Span(start, stop - start, start, stop)]
        if self.blended:
            half = self.window // 2
            firsts = range(start // half * half - half, stop, half)
            spans = [Span(f, self.window, max(f, start), min(f + self.window, stop)) for f in firsts]
            return [span for span in spans if span.start < span.stop]
        core = self.window - 2 * self.margin
        last = max(start, -(-stop // multiple) * multiple - core)
        return [
            Span(min(first, last) - self.margin, self.window, first, min(first + core, stop))
            for first in range(start, stop, core)
        ]

    def words(self) -> str:
        """Return the tiling as a map's tag says it."""
        if not self.window:
            return "the image in one piece"
        if self.blended:
            return f"windows of {self.window} px that overlap by half, blended with Hann weights"
        how = "measured" if self.measured else "given"
        return f"windows of {self.window} px, of which a margin of {self.margin} px ({how}) is not kept"


def blocks_of(height: int, width: int, multiple: int = 1) -> list[Box]:
    """Return the blocks of an image, row after row: whole tiles of a GeoTIFF, and whole strides of the network.

    Args:
        multiple: see `SegmentationNetwork`.
    """
    step = math.lcm(TILE, multiple)
    side = max(BLOCK // step, 1) * step
    return [
        (row, min(row + side, height), column, min(column + side, width))
        for row in range(0, height, side)
        for column in range(0, width, side)
    ]


def reflected(first: int, size: int, length: int) -> NDArray[np.int64]:
    """Return the pixels (size,) of a line that a window shows, mirrored at both ends of the line."""
    if length == 1:
        return np.zeros(size, np.int64)
    folded = np.arange(first, first + size) % (2 * length - 2)
    return np.minimum(folded, 2 * length - 2 - folded)


def hann(size: int, device: torch.device) -> Tensor:
    """Return weights (size, size) that add up to 1 where windows overlap by half, along both axes."""
    line = torch.sin((torch.arange(size, device=device) + 0.5) * (torch.pi / size)).square()
    return line[:, None] * line


def plan_tiling(
    margin_of: Callable[[], int | None],
    size: tuple[int, int],
    patch: int,
    multiple: int,
    window: int | None = None,
    margin: int | None = None,
) -> Tiling:
    """Return the tiling of an image.

    Args:
        margin_of: see `sufficient_margin`.
        size: height and width of the image.
        patch: side of the patches in training.
        multiple: see `SegmentationNetwork`.
        window, margin: given sides; None to choose them.

    Raises:
        SettingsError: they do not fit each other, or the network.
    """
    if window is None and margin is None and max(size) <= patch:
        return Tiling(0, 0)
    measured = margin is None
    chosen = margin_of() if margin is None else _rounded(margin, multiple)
    if chosen is not None and window is not None and measured and 4 * chosen > window:
        chosen = None
    if chosen is None:
        side = _rounded(window or max(patch, 512), 2 * multiple)
        return Tiling(side, side // 2, blended=True)
    if window is None:
        large = chosen > 64 and (1024 + 2 * chosen) ** 2 <= MOST_PIXELS
        core = min(max(1024 if large else 512, _rounded(patch, multiple)), _rounded(max(size), multiple), BLOCK)
        window = _rounded(core, multiple) + 2 * chosen
    elif (window := _rounded(window, multiple)) <= 2 * chosen:
        raise SettingsError(f"a window of {window} pixels has no inner part with a margin of {chosen}; make it larger")
    return Tiling(window, chosen, measured=measured)


def _rounded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def sufficient_margin(predict: Predict, mean: Tensor, std: Tensor, multiple: int, most: int) -> int | None:
    """Return how far around a pixel the network looks: how wide a margin must be, in pixels.

    Noise of several scales, with the moments of the images it was trained on, is predicted; and once more with other,
    brighter noise beyond a distance from the pixels in the middle. A distance is enough if their logits change by no
    more than `TOLERANCE`.

    Args:
        predict: takes images (N, bands, H, W), gives logits.
        mean, std: (bands, 1, 1) of the images.
        multiple: see `SegmentationNetwork`; the distance is a multiple of it.
        most: the largest that is tried.

    Returns:
        None where no distance that was tried is enough, as in a network that looks at the whole image.
    """
    most = max(most // multiple, 1) * multiple
    looked_at, edge = _rounded(32, multiple), most + _rounded(most // 4, multiple)
    near = _noise("near", 2 * edge + looked_at, mean, std)
    far = _noise("far", 2 * edge + looked_at, mean + std, std)  # brighter, for what averages over the image
    middle = slice(edge, edge + looked_at)

    def logits_of(images: Tensor) -> Tensor:
        with torch.no_grad():
            return predict(images)[..., middle, middle]

    expected = logits_of(near)

    def is_enough(distance: int) -> bool:
        inner = slice(edge - distance, edge + looked_at + distance)
        changed = far.clone()
        changed[..., inner, inner] = near[..., inner, inner]
        return bool((logits_of(changed) - expected).abs().max() <= TOLERANCE)

    low, high = 0, most // multiple
    if not is_enough(most):
        return None
    while high - low > 1:
        between = (low + high) // 2
        low, high = (low, between) if is_enough(between * multiple) else (between, high)
    return high * multiple


def _noise(name: str, side: int, mean: Tensor, std: Tensor) -> Tensor:
    """Return an image (1, bands, side, side) of noise."""
    generator, bands = torch_generator(0, "margin", name, 0), len(mean)
    total = torch.zeros(1, bands, side, side)
    for scale in SCALES:
        coarse = torch.randn(1, bands, -(-side // scale), -(-side // scale), generator=generator)
        total += F.interpolate(coarse, scale_factor=scale)[..., :side, :side]
    return total.to(mean.device) / len(SCALES) ** 0.5 * std + mean
