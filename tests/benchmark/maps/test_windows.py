"""Every pixel is kept once, whatever the sizes; a margin is as wide as the network looks."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.common.errors import SettingsError
from benchmark.maps.windows import Tiling, blocks_of, hann, plan_tiling, reflected, sufficient_margin

TILINGS = [Tiling(0, 0), Tiling(48, 8), Tiling(64, 16), Tiling(32, 8), Tiling(64, 32, blended=True)]


@pytest.mark.parametrize("tiling", TILINGS, ids=Tiling.words)
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 7), (0, 64), (64, 65), (64, 191), (128, 256)])
def test_each_pixel_of_a_block_is_kept_once_and_away_from_the_edge_of_its_window(tiling, start, stop):
    weights = np.zeros(stop - start)
    line = hann(tiling.window or 1, torch.device("cpu"))
    line = (line / line.diagonal().sqrt()).diagonal().numpy()  # along one axis
    for span in tiling.spans(start, stop, 8):
        assert start <= span.start < span.stop <= stop and span.size == (tiling.window or stop - start)
        inner = slice(span.start - start, span.stop - start)
        if tiling.blended:
            weights[inner] += line[span.start - span.first : span.stop - span.first]
        else:
            weights[inner] += 1
            assert span.start - span.first >= tiling.margin
            assert span.first + span.size - span.stop >= tiling.margin
        if tiling.window:
            assert span.first % 8 == 0
    assert weights == pytest.approx(1, abs=1e-6)


def test_the_last_window_is_shifted_inwards():
    first, last = Tiling(48, 8).spans(0, 40, 8)
    assert (first.first, first.start, first.stop) == (-8, 0, 32)
    assert (last.first, last.start, last.stop) == (0, 32, 40)


@pytest.mark.parametrize(("size", "multiple"), [((1, 1), 32), ((2048, 5000), 32), ((4000, 3584), 14), ((700, 1), 1)])
def test_blocks_cover_an_image_and_begin_at_whole_tiles_and_strides(size, multiple):
    times = np.zeros(size, np.int64)
    for top, bottom, left, right in blocks_of(*size, multiple):
        assert not (top % 512 or left % 512 or top % multiple or left % multiple)
        times[top:bottom, left:right] += 1
    assert (times == 1).all()


@pytest.mark.parametrize("length", [1, 2, 3, 10])
def test_lines_are_mirrored_as_numpy_does(length):
    padded = np.pad(np.arange(length), (7, 9), mode="reflect")
    assert (reflected(-7, length + 16, length) == padded).all()


class Looks(nn.Module):
    """Convolutions by which an output depends on pixels up to so many away; then perhaps on all of the image."""

    def __init__(self, layers: int, *, globally: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(layers)))
        self.globally = globally
        for layer in self.layers:
            nn.init.constant_(layer.weight, 0.1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.layers(images)
        return features + features.mean((2, 3), keepdim=True) if self.globally else features


@pytest.mark.parametrize(("layers", "multiple", "margin"), [(5, 1, 5), (5, 4, 8), (8, 4, 8), (1, 8, 8)])
def test_the_margin_is_how_far_the_network_looks(layers, multiple, margin):
    mean, std = torch.full((2, 1, 1), 100.0), torch.full((2, 1, 1), 50.0)
    assert sufficient_margin(Looks(layers), mean, std, multiple, 32) == margin


def test_no_margin_is_enough_where_a_network_looks_at_all_of_the_image():
    mean, std = torch.full((2, 1, 1), 100.0), torch.full((2, 1, 1), 50.0)
    assert sufficient_margin(Looks(2, globally=True), mean, std, 4, 32) is None
    assert sufficient_margin(Looks(8), mean, std, 4, 4) is None


def test_a_tiling_is_chosen():
    def plan(margin, size, *given):
        return plan_tiling(lambda: margin, size, 256, 32, *given)

    assert plan(64, (256, 200)) == Tiling(0, 0)  # as the patches of the test
    assert plan(64, (5000, 5000)) == Tiling(640, 64, measured=True)
    assert plan(96, (5000, 5000)) == Tiling(1216, 96, measured=True)
    assert plan(32, (300, 20)) == Tiling(384, 32, measured=True)  # no larger than the image
    assert plan(None, (5000, 5000)) == Tiling(512, 256, blended=True)
    assert plan(96, (5000, 5000), 256) == Tiling(256, 128, blended=True)  # more than a quarter of it
    assert plan(None, (5000, 5000), 250, 20) == Tiling(256, 32)
    with pytest.raises(SettingsError, match="a window of 64 pixels has no inner part with a margin of 32"):
        plan(None, (5000, 5000), 64, 32)
