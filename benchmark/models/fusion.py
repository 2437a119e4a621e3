"""Networks for an aerial image and the series of satellite images around it: both, or the series alone.

All take images (N, C, H, W), series (N, T, bands, h, w), days (N, T) from a reference date (see
`benchmark.models.temporal.encode_days`), and valid (N, T) bool; images and series are normalised. The image covers the
middle of the series. All return a `Prediction` for the image's pixels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.common.errors import NetworkError
from benchmark.models.temporal import UTAE

Size = Sequence[int]
"""Rows and columns."""


class Prediction(NamedTuple):
    """Logits for the image's pixels.

    Attributes:
        logits: (N, classes, H, W).
        auxiliary: logits (N, classes, H, W) of the series alone, for an auxiliary loss; None where there are no others.
    """

    logits: Tensor
    auxiliary: Tensor | None


class SeriesEncoder(nn.Module):
    """A U-TAE in the place of an image's encoder.

    Args:
        series: network of the series.
        cells: side of an image's pixel in pixels of the series (FLAIR #2: 0.2 m / 10 m = 0.02).
    """

    def __init__(self, series: UTAE, cells: float) -> None:
        super().__init__()
        self.series = series
        self.cells = cells

    def forward(self, images: Tensor, series: Tensor, days: Tensor, valid: Tensor) -> list[Tensor]:
        """Return the finest map, of the ground of the series, and the coarsest, of the ground of the image.

        Args:
            images: (N, C, H, W), whose size alone is used.
        """
        maps = self.series(series, days, valid).maps
        size, times = images.shape[-2:], 2 ** (len(maps) - 1)
        # The coarsest map also covers what the series was padded by below and to the right.
        ground = F.interpolate(maps[-1], scale_factor=times, mode="bilinear")[
            ..., : series.shape[-2], : series.shape[-1]
        ]
        coarse = [max(1, round(side * self.cells / times)) for side in size]
        return [maps[0], resample(ground, self.cells, size, size, coarse)]


class SeriesNetwork(nn.Module):
    """A U-TAE with its head of two convolutions (Garnot and Landrieu, ICCV 2021). It sees no image.

    The authors' code ends in a normalisation and a ReLU; here the last convolution gives the logits.

    Args:
        series: network of the series.
        classes: number of outputs.
        cells: see `SeriesEncoder`.
    """

    def __init__(self, series: UTAE, classes: int, cells: float) -> None:
        super().__init__()
        self.encoder = SeriesEncoder(series, cells)
        self.segmentation_head = nn.Sequential(
            nn.Conv2d(series.channels, 32, kernel_size=3, padding=1, padding_mode="reflect"),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, classes, kernel_size=3, padding=1, padding_mode="reflect"),
        )

    def forward(self, images: Tensor, series: Tensor, days: Tensor, valid: Tensor) -> Tensor:
        """Return the logits (N, classes, H, W); of images (N, C, H, W) the size alone is used."""
        size = images.shape[-2:]
        logits = self.segmentation_head(self.encoder(images, series, days, valid)[0])
        return resample(logits, self.encoder.cells, size, size, size)


class LateFusion(nn.Module):
    """A U-TAE whose logits are added to those of an image's network.

    Samples without a valid date, and those whose series is dropped in training, get the image's logits alone.

    Args:
        encoder: encoder of the image's network.
        series: network of the series.
        classes: number of outputs.
        cells: see `SeriesEncoder`.
        dropout: probability that the series of a sample is dropped in training (modality dropout).
    """

    def __init__(self, encoder: Any, series: UTAE, classes: int, cells: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.series = series
        self.head = nn.Conv2d(series.channels, classes, kernel_size=1)
        self.cells = cells
        self.dropout = dropout

    def forward(
        self, image: Any, images: Tensor, size: Size, series: Tensor, days: Tensor, valid: Tensor
    ) -> Prediction:
        """Return the logits of both, and of the series alone.

        Args:
            image: network of smp's kind, with an attribute ``encoder``: images -> logits.
            images: (N, C, H', W'), padded below and to the right to what the image's network takes.
            size: rows and columns of the images without the padding.
        """
        found = self.series(series, days, valid)
        kept = ~found.empty
        if self.training and self.dropout:
            kept = kept & (torch.rand(len(kept), device=kept.device) >= self.dropout)
        auxiliary = resample(self.head(found.maps[0]), self.cells, size, size, size)
        logits = self._fuse(image, images, size, found.maps[0], kept[:, None, None, None], auxiliary)
        return Prediction(logits, auxiliary)

    def _fuse(self, image: Any, images: Tensor, size: Size, maps: Tensor, kept: Tensor, auxiliary: Tensor) -> Tensor:
        """Return the logits (N, classes, H, W).

        Args:
            image, images, size: see `forward`.
            maps: (N, channels, h, w), the series' finest.
            kept: (N, 1, 1, 1) bool, the samples whose series is used.
            auxiliary: (N, classes, H, W), logits of the series.
        """
        return _cut(image(images), size) + kept * auxiliary


class StageFusion(LateFusion):
    """U-T&T (Garioud et al., NeurIPS 2023): the series' map is added to the image's features at each encoder stage.

    To each stage come the part of the map that the image covers, brought to its channels and its size, and the average
    of the whole map through a small network. The published code also adds both to the input, which no decoder uses.

    Args: as of `LateFusion`; ``encoder`` gives a list of features, the input first.

    Raises:
        NetworkError: the encoder has no such stages (the ViTs of the head dpt).
    """

    def __init__(self, encoder: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(encoder, *arguments, **options)
        if getattr(encoder, "output_strides", None):
            raise NetworkError("series are added to the stages of a pyramid, which ViTs lack; take the fusion late")
        # Some encoders have no channels at half size.
        widths = {stage: width for stage, width in enumerate(encoder.out_channels) if stage and width}
        channels = self.series.channels
        self.cropped = nn.ModuleDict({str(at): nn.Conv2d(channels, width, 1) for at, width in widths.items()})
        self.collapsed = nn.ModuleDict({str(at): _summarize(channels, width) for at, width in widths.items()})

    def _fuse(self, image: Any, images: Tensor, size: Size, maps: Tensor, kept: Tensor, auxiliary: Tensor) -> Tensor:
        average = self._average(maps)

        def add(encoder: nn.Module, inputs: Any, features: Sequence[Tensor]) -> list[Tensor]:
            fused, padded = list(features), inputs[0].shape[-2:]
            for stage, crop in self.cropped.items():
                feature = fused[int(stage)]
                part = resample(crop(maps), self.cells, size, padded, feature.shape[-2:])
                whole = self.collapsed[stage](average)[..., None, None]
                fused[int(stage)] = feature + (kept * (part + whole)).to(feature.dtype)
            return fused

        # First of all hooks, so that all others see the fused features.
        hook = image.encoder.register_forward_hook(add, prepend=True)
        try:
            return _cut(image(images), size)
        finally:
            hook.remove()

    def _average(self, maps: Tensor) -> Tensor:
        """Return the average (N, channels) of each sample's map (N, channels, h, w), or (1, channels) for all."""
        return maps.mean((2, 3))


class PublishedFusion(StageFusion):
    """U-T&T with the error of the published code: the first sample's average serves the whole batch."""

    def _average(self, maps: Tensor) -> Tensor:
        return super()._average(maps[:1])


FUSIONS = {"corrected": StageFusion, "published": PublishedFusion, "late": LateFusion}


def _cut(logits: Tensor, size: Size) -> Tensor:
    """Return logits without those of the padding."""
    return logits[..., : size[0], : size[1]]


def _summarize(inputs: int, outputs: int) -> nn.Sequential:
    """Return the three layers of the published code for the average of a map; their widths go evenly to the last."""
    step = int((outputs - inputs) / 3)
    first, second = (2 * inputs, 2 * inputs) if outputs == inputs else (inputs + step, inputs + 2 * step)
    layers = (nn.Linear(inputs, first), nn.Linear(first, second), nn.Linear(second, outputs))
    return nn.Sequential(layers[0], nn.Dropout(0.3), nn.ReLU(), layers[1], nn.Dropout(0.3), nn.ReLU(), layers[2])


def resample(maps: Tensor, cells: float, size: Sequence[int], covered: Sequence[int], output: Sequence[int]) -> Tensor:
    """Return maps (N, C, *output) float32 of the ground of an image in the middle of a series, bilinearly.

    Args:
        maps: (N, C, h, w), of the ground of the whole series.
        cells: side of an image's pixel in pixels of the series.
        size: rows and columns of the image, whose middle is the series' middle.
        covered: rows and columns that the result covers: those of the image and its padding below and to the right.
        output: rows and columns of the result.

    Raises:
        NetworkError: the image covers more ground than the series.
    """
    sides = maps.shape[-2:]
    if any(pixels * cells > side + 0.5 for pixels, side in zip(size, sides, strict=True)):
        raise NetworkError(
            f"an image of {size[0]} x {size[1]} pixels covers {size[0] * cells:.1f} x {size[1] * cells:.1f} of the "
            f"{sides[0]} x {sides[1]} pixels of its series; crop the series larger"
        )
    (scale_y, shift_y), (scale_x, shift_x) = (
        (whole * cells / side, (whole - pixels) * cells / side)
        for side, pixels, whole in zip(sides, size, covered, strict=True)
    )
    window = torch.tensor([[scale_x, 0, shift_x], [0, scale_y, shift_y]], device=maps.device)
    grid = F.affine_grid(window.expand(len(maps), 2, 3), [len(maps), 1, *output], align_corners=False)
    return F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
