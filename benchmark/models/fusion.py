"""Networks for an aerial image and the series of satellite images around it: both, or the series alone.

All take (images, series, days, valid), normalised: images (N, C, H, W), series (N, T, bands, h, w), days (N, T) from a
reference date (see `benchmark.models.temporal.encode_days`), and valid (N, T) bool. The image covers the middle of the
series. All return a `Prediction` for the image's pixels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.common.errors import NetworkError
from benchmark.models.temporal import UTAE


class Prediction(NamedTuple):
    """Logits for the image's pixels.

    Attributes:
        logits: (N, classes, H, W).
        auxiliary: logits (N, classes, H, W) of the series alone, for an auxiliary loss; None where there are no others.
        empty: (N,) bool, of samples without a valid date, to be counted: their logits are those of the image alone.
    """

    logits: Tensor
    auxiliary: Tensor | None
    empty: Tensor


class SeriesNetwork(nn.Module):
    """A U-TAE with its head of two convolutions (Garnot and Landrieu, ICCV 2021). It sees no image.

    The authors' code ends in a normalisation and a ReLU; here the last convolution gives the logits.

    Args:
        series: network of the series.
        classes: number of outputs.
        cells: side of an image's pixel in pixels of the series (FLAIR #2: 0.2 m / 10 m = 0.02).
    """

    def __init__(self, series: UTAE, classes: int, cells: float) -> None:
        super().__init__()
        self.series = series
        self.cells = cells
        self.head = nn.Sequential(
            nn.Conv2d(series.channels, 32, kernel_size=3, padding=1, padding_mode="reflect"),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, classes, kernel_size=3, padding=1, padding_mode="reflect"),
        )

    def forward(self, images: Tensor | None, series: Tensor, days: Tensor, valid: Tensor) -> Prediction:
        """Return the logits; of images the size alone is used. Without images they are of the series' own pixels."""
        found = self.series(series, days, valid)
        logits = self.head(found.maps[0])
        if images is not None:
            size = images.shape[-2:]
            logits = resample(logits, self.cells, size, size, size)
        return Prediction(logits, None, found.empty)


class LateFusion(nn.Module):
    """An image's network and a U-TAE whose logits are added.

    Samples without a valid date, and those whose series is dropped in training, get the image's logits alone.

    Args:
        image: network of smp's kind, with an attribute ``encoder``: images -> logits.
        series: network of the series.
        classes: number of outputs.
        cells: side of an image's pixel in pixels of the series (FLAIR #2: 0.2 m / 10 m = 0.02).
        multiple: number that the sides of what ``image`` sees are multiples of; images are padded to it.
        dropout: probability that the series of a sample is dropped in training (modality dropout).
    """

    def __init__(
        self, image: Any, series: UTAE, classes: int, cells: float, multiple: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.image = image
        self.series = series
        self.head = nn.Conv2d(series.channels, classes, kernel_size=1)
        self.cells = cells
        self.multiple = multiple
        self.dropout = dropout

    def forward(self, images: Tensor, series: Tensor, days: Tensor, valid: Tensor) -> Prediction:
        """Return the logits of both, and of the series alone."""
        found = self.series(series, days, valid)
        kept = ~found.empty
        if self.training:
            kept = kept & (torch.rand(len(kept), device=kept.device) >= self.dropout)
        size = images.shape[-2:]
        auxiliary = resample(self.head(found.maps[0]), self.cells, size, size, size)
        logits = self._fuse(images, found.maps[0], kept[:, None, None, None], auxiliary)
        return Prediction(logits, auxiliary, found.empty)

    def _fuse(self, images: Tensor, maps: Tensor, kept: Tensor, auxiliary: Tensor) -> Tensor:
        """Return the logits (N, classes, H, W).

        Args:
            images: (N, C, H, W).
            maps: (N, channels, h, w), the series' finest.
            kept: (N, 1, 1, 1) bool, the samples whose series is used.
            auxiliary: (N, classes, H, W), logits of the series.
        """
        return self._predict(images) + kept * auxiliary

    def _predict(self, images: Tensor) -> Tensor:
        """Return the logits of the image's network."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        logits: Tensor = self.image(padded.contiguous(memory_format=torch.channels_last))[..., :height, :width]
        return logits


class StageFusion(LateFusion):
    """U-T&T (Garioud et al., NeurIPS 2023): the series' map is added to the image's features at each encoder stage.

    To each stage come the part of the map that the image covers, brought to its channels and its size, and the average
    of the whole map through a small network. The published code also adds both to the input, which no decoder uses.

    Args: as of `LateFusion`; ``image`` has an encoder that gives a list of features, the input first.

    Raises:
        NetworkError: the encoder has no such stages (the ViTs of the head dpt).
    """

    def __init__(self, image: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(image, *arguments, **options)
        if getattr(image.encoder, "output_strides", None):
            raise NetworkError("series are added to the stages of a pyramid, which ViTs lack; take the fusion late")
        # Some encoders have no channels at half size.
        widths = {stage: width for stage, width in enumerate(image.encoder.out_channels) if stage and width}
        channels = self.series.channels
        self.cropped = nn.ModuleDict({str(at): nn.Conv2d(channels, width, 1) for at, width in widths.items()})
        self.collapsed = nn.ModuleDict({str(at): _summarize(channels, width) for at, width in widths.items()})

    def _fuse(self, images: Tensor, maps: Tensor, kept: Tensor, auxiliary: Tensor) -> Tensor:
        average = self._average(maps)

        def add(encoder: nn.Module, inputs: Any, features: Sequence[Tensor]) -> list[Tensor]:
            fused, size, padded = list(features), images.shape[-2:], inputs[0].shape[-2:]
            for stage, crop in self.cropped.items():
                feature = fused[int(stage)]
                part = resample(crop(maps), self.cells, size, padded, feature.shape[-2:])
                whole = self.collapsed[stage](average)[..., None, None]
                fused[int(stage)] = feature + (kept * (part + whole)).to(feature.dtype)
            return fused

        # First of all hooks, so that all others see the fused features.
        hook = self.image.encoder.register_forward_hook(add, prepend=True)
        try:
            return self._predict(images)
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
