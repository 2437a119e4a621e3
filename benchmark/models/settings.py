"""Settings of the network of a recipe; without torch, which a command that only reads can do without."""

from dataclasses import dataclass

SERIES = ("", "alone", "late", "corrected", "published")
"""How a network sees a series of satellite images: not; without the image; or both, see `benchmark.models.fusion`."""

ALONE = "alone"
"""A network of the series alone."""


@dataclass(frozen=True)
class NetworkSettings:
    """The network to be trained.

    Attributes:
        architecture: a name smp knows, for example ``unet``; or ``light-fpn`` (see `benchmark.models.light_fpn`).
        encoder: an smp encoder (``resnet34``) or a timm one (``tu-convnext_tiny``).
        encoder_weights: "" for random weights, a name the encoder knows (``imagenet``), the path of a local file
            (.pth, .pt, .safetensors), or ``packaged`` (see `benchmark.models.packaged`).
        encoder_depth: stages of the encoder.
        frozen: whether training leaves the encoder of images as it is: no weight of it has a gradient, and it is in
            eval mode, so that its batch-norm statistics stay.
        decoder_channels: channels of the decoder's stages, deepest first; empty for the last of smp's default. The
            light FPN has one width.
        series: one of `SERIES`. A network of the series alone has neither encoder nor decoder of images.
        series_widths: channels of the scales of the series' network, finest first; at least two.
        series_dropout: probability that the series of a patch is dropped in training (modality dropout).
        series_loss: weight of an auxiliary loss on what the series alone predicts, beside the image; 0 for none.
    """

    architecture: str = "unet"
    encoder: str = "resnet34"
    encoder_weights: str = ""
    encoder_depth: int = 5
    frozen: bool = False
    decoder_channels: tuple[int, ...] = ()
    series: str = ""
    series_widths: tuple[int, ...] = (64, 64, 128, 128)
    series_dropout: float = 0.0
    series_loss: float = 0.0


@dataclass(frozen=True)
class SeriesInput:
    """Facts of a series that its network is built for.

    Attributes:
        cells: side of a pixel of an image in pixels of a series.
        mean, std: (B,) of the values of the source domains.
    """

    cells: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


def modality_of(series: str) -> str:
    """Return what a network sees: ``image``, ``series`` or ``image + series``."""
    if not series:
        return "image"
    return "series" if series == ALONE else "image + series"


def name_of_network(settings: NetworkSettings) -> str:
    """Return the name of a network in tables and facts, such as ``unet resnet34 (frozen) + series (late)``."""
    image, series = f"{settings.architecture} {settings.encoder}", f"series ({settings.series})"
    image += " (frozen)" if settings.frozen else ""
    return {"image": image, "series": series}.get(modality_of(settings.series), f"{image} + {series}")
