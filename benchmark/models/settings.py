"""Settings of the network of a recipe; without torch, which a command that only reads can do without."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkSettings:
    """The network to be trained.

    Attributes:
        architecture: a name smp knows, for example ``unet``; or ``light-fpn`` (see `benchmark.models.light_fpn`).
        encoder: an smp encoder (``resnet34``) or a timm one (``tu-convnext_tiny``).
        encoder_weights: "" for random weights, a name the encoder knows (``imagenet``), the path of a local file
            (.pth, .pt, .safetensors), or ``packaged`` (see `benchmark.models.packaged`).
        encoder_depth: stages of the encoder.
        decoder_channels: channels of the decoder's stages, deepest first; empty for the last of smp's default. The
            light FPN has one width.
    """

    architecture: str = "unet"
    encoder: str = "resnet34"
    encoder_weights: str = ""
    encoder_depth: int = 5
    decoder_channels: tuple[int, ...] = ()
