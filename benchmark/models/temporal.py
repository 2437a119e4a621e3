"""Networks for series of satellite images: attention over dates (L-TAE), and a U-Net with it (U-TAE).

Written from the papers. torchgeo has an L-TAE as well, but it takes neither days nor a mask of valid dates, and one
number of dates alone. Two things differ from the authors' code. Its L-TAE lets padded dates into the statistics of the
first normalisation; here the number and content of dates that are not valid changes nothing. And its U-TAE takes a
date for padded where all its pixels are zero; here a mask says so.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PERIOD = 1000.0
"""Longest wavelength of the encoding of days, divided by 2π (Garnot and Landrieu, 2020)."""


def encode_days(days: Tensor, width: int, period: float = PERIOD) -> Tensor:
    """Return the positions (..., width) float32 of days (...): sines (even places) and cosines (odd places).

    Place i has sin or cos of days / period ** (2 ⌊i / 2⌋ / width).

    Args:
        days: days from a reference date to each image; any sign, the same convention in training and prediction.
        width: number of places.
    """
    places = torch.arange(width, device=days.device)
    angles = days.float()[..., None] / period ** ((places - places % 2).float() / width)
    return torch.where(places % 2 == 0, angles.sin(), angles.cos())


class ValidGroupNorm(nn.Module):
    """Group normalisation of each pixel on its own, over the valid dates and the channels of a group.

    With all dates valid it is `torch.nn.GroupNorm` of a pixel's (channels, dates).
    """

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, maps: Tensor, valid: Tensor) -> Tensor:
        """Return normalised maps (N, T, C, h, w) of finite ones, summed in float32; valid: (N, T) bool."""
        grouped = maps.float().unflatten(2, (self.groups, -1))
        weights = valid[:, :, None, None, None, None].float()
        count = (weights.sum(1, keepdim=True) * grouped.shape[3]).clamp(min=1)
        mean = (grouped * weights).sum((1, 3), keepdim=True) / count
        variance = ((grouped - mean).square() * weights).sum((1, 3), keepdim=True) / count
        normalized = ((grouped - mean) * (variance + 1e-5).rsqrt()).flatten(2, 3)
        return normalized.to(maps.dtype) * self.weight + self.bias


class LTAE(nn.Module):
    """Lightweight temporal attention (Garnot and Landrieu, AALTD 2020), of each pixel of a series of maps.

    Each head has one learned query and its share of the channels; the keys come from all channels.

    Args:
        channels: channels of the maps, and of the result.
        heads: number of heads; it divides ``channels`` and ``width``.
        width: channels of the values, of all heads together.
        key_width: channels of a query and of a key.
    """

    def __init__(self, channels: int, heads: int = 16, width: int = 256, key_width: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.normalize = ValidGroupNorm(heads, channels)
        self.project = nn.Conv2d(channels, width, kernel_size=1)
        self.keys = nn.Conv2d(width, heads * key_width, kernel_size=1)
        self.queries = nn.Parameter(torch.empty(heads, key_width))
        for weights in (self.keys.weight, self.queries):
            nn.init.normal_(weights, std=math.sqrt(2 / key_width))
        self.dropout = nn.Dropout(0.1)
        self.merge = nn.Sequential(
            nn.Conv2d(width, channels, kernel_size=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Dropout(0.2)
        )
        self.normalize_merged = ValidGroupNorm(heads, channels)

    def forward(self, maps: Tensor, days: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps (N, C, h, w) of the whole series, and the attention (N, heads, T, h, w).

        The attention is at least 0. In evaluation it sums to one over the dates. Dates that are not valid have none,
        so that a series without any valid date has none at all, and gets the constant map of an average of zero.

        Args:
            maps: (N, T, C, h, w).
            days: (N, T), see `encode_days`.
            valid: (N, T) bool; what ``maps`` and ``days`` hold elsewhere is not used, even if it is not finite.
        """
        samples, dates = valid.shape
        seen = valid[:, :, None, None, None]
        normalized = self.normalize(maps.masked_fill(~seen, 0), valid).flatten(0, 1)
        position = encode_days(days.masked_fill(~valid, 0), self.project.out_channels // self.heads)
        values = self.project(normalized).unflatten(0, (samples, dates))
        values = values + position.repeat(1, 1, self.heads)[..., None, None].to(values.dtype)
        keys = self.keys(values.flatten(0, 1)).unflatten(0, (samples, dates)).unflatten(2, self.queries.shape)
        scores = (keys * self.queries[..., None, None]).sum(3).transpose(1, 2) / math.sqrt(self.queries.shape[1])
        hidden = ~seen.transpose(1, 2)
        attention = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(2).masked_fill(hidden, 0)
        attention = self.dropout(attention)
        merged = self.merge(average_dates(values, attention))
        return self.normalize_merged(merged[:, None], torch.ones_like(valid[:, :1]))[:, 0], attention


def average_dates(maps: Tensor, attention: Tensor) -> Tensor:
    """Return the averages (N, C, h, w) of maps (N, T, C, h, w) by attention (N, heads, T, h', w').

    Each head weighs its share of the channels. Attention of another resolution is interpolated bilinearly, after which
    it still sums to one over the dates.
    """
    heads = attention.shape[1]
    if attention.shape[-2:] != maps.shape[-2:]:
        finer = F.interpolate(attention.flatten(1, 2), maps.shape[-2:], mode="bilinear")
        attention = finer.unflatten(1, attention.shape[1:3])
    weights = attention.transpose(1, 2)[:, :, :, None]
    return (maps.unflatten(2, (heads, -1)) * weights).sum(1).flatten(1, 2)


class SeriesMaps(NamedTuple):
    """Maps of a series from a `UTAE`.

    Attributes:
        maps: maps (N, C, h, w) of each scale, finest first; that one has the size of the series' images.
        attention: (N, heads, T, h, w) of the coarsest scale.
        empty: (N,) bool, of samples without a valid date, which have no information in their maps: to be counted.
    """

    maps: list[Tensor]
    attention: Tensor
    empty: Tensor


class UTAE(nn.Module):
    """A U-Net with attention over dates at its coarsest scale (Garnot and Landrieu, ICCV 2021).

    One encoder sees each valid date on its own. The attention of the coarsest scale averages the dates of each scale.
    The default widths are those of FLAIR #2 (Garioud et al., NeurIPS 2023).

    Args:
        bands: number of bands of an image.
        encoder_widths: channels of the encoder's scales, finest first, at least two.
        decoder_widths: channels of the decoder's scales but the coarsest, which has the encoder's.
        heads: number of heads of the attention; it divides all widths of the encoder.
    """

    def __init__(
        self,
        bands: int,
        encoder_widths: Sequence[int] = (64, 64, 128, 128),
        decoder_widths: Sequence[int] = (64, 64, 128),
        heads: int = 16,
    ) -> None:
        super().__init__()
        self.channels = decoder_widths[0]
        self.first = nn.Sequential(
            _convolve(bands, encoder_widths[0], nn.GroupNorm(4, encoder_widths[0])),
            _convolve(encoder_widths[0], encoder_widths[0], nn.GroupNorm(4, encoder_widths[0])),
        )
        self.down = nn.ModuleList(_Down(fine, coarse) for fine, coarse in pairwise(encoder_widths))
        self.attend = LTAE(encoder_widths[-1], heads, 2 * encoder_widths[-1])
        coarser = [*decoder_widths[1:], encoder_widths[-1]]
        widths = list(zip(coarser, encoder_widths[:-1], decoder_widths, strict=True))
        self.up = nn.ModuleList(_Up(*of_scale) for of_scale in reversed(widths))

    def forward(self, series: Tensor, days: Tensor, valid: Tensor) -> SeriesMaps:
        """Return the maps of series (N, T, bands, h, w) of any size, of days (N, T) (see `encode_days`).

        Args:
            valid: (N, T) bool; what the series and the days hold elsewhere is not used, and costs no time.
        """
        height, width = series.shape[-2:]
        multiple = 2 ** len(self.down)
        # At least two pixels at the coarsest scale: reflecting padding needs them.
        below, right = (max(2 * multiple, -(-side // multiple) * multiple) - side for side in (height, width))
        images = F.pad(series[valid], (0, right, 0, below), mode="replicate")
        stages = [self.first(images)]
        for down in self.down:
            stages.append(down(stages[-1]))
        stages = [_spread(stage, valid) for stage in stages]
        merged, attention = self.attend(stages[-1], days, valid)
        maps = [merged]
        for up, stage in zip(self.up, reversed(stages[:-1]), strict=True):
            maps.insert(0, up(maps[0], average_dates(stage, attention)))
        maps[0] = maps[0][..., :height, :width]
        return SeriesMaps(maps, attention, ~valid.any(1))


def _spread(images: Tensor, valid: Tensor) -> Tensor:
    """Return maps (N, T, C, h, w) that are those of the valid dates (V, C, h, w) in order, and zero elsewhere."""
    return images.new_zeros(*valid.shape, *images.shape[1:]).index_put((valid,), images)


def _convolve(inputs: int, outputs: int, norm: nn.Module, size: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=1, padding_mode="reflect")
    return nn.Sequential(convolution, norm, nn.ReLU())


class _Down(nn.Module):
    """Half the resolution, in two steps of which the second has a residual connection."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            _convolve(inputs, inputs, nn.GroupNorm(4, inputs), size=4, stride=2),
            _convolve(inputs, outputs, nn.GroupNorm(4, outputs)),
        )
        self.refine = _convolve(outputs, outputs, nn.GroupNorm(4, outputs))

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = self.change(maps)
        refined: Tensor = changed + self.refine(changed)
        return refined


class _Up(nn.Module):
    """Twice the resolution, joined with the encoder's average of the dates at that scale."""

    def __init__(self, inputs: int, skipped: int, outputs: int) -> None:
        super().__init__()
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.skip = nn.Sequential(nn.Conv2d(skipped, skipped, kernel_size=1), nn.BatchNorm2d(skipped), nn.ReLU())
        self.join = _convolve(outputs + skipped, outputs, nn.BatchNorm2d(outputs))
        self.refine = _convolve(outputs, outputs, nn.BatchNorm2d(outputs))

    def forward(self, coarser: Tensor, average: Tensor) -> Tensor:
        joined: Tensor = self.join(torch.cat([self.enlarge(coarser), self.skip(average)], dim=1))
        refined: Tensor = joined + self.refine(joined)
        return refined
