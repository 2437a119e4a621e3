"""Segmentation networks from segmentation-models-pytorch with any smp or timm encoder."""

import inspect
import math
import socket
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.common.errors import NetworkError
from benchmark.models import encoders, light_fpn
from benchmark.models.encoder_weights import load_encoder
from benchmark.models.fusion import FUSIONS, SeriesNetwork
from benchmark.models.packaged import PACKAGED, packaged_file, timm_names
from benchmark.models.settings import ALONE, NetworkSettings, SeriesInput
from benchmark.models.temporal import UTAE
from methods.base import IGNORE, SeriesBatch, SourceBatch, TargetBatch
from methods.parts.frozen_encoder import freeze

if TYPE_CHECKING:
    from lightning_fabric import Fabric

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # by the name of Fabric's precision
HUB = ("huggingface.co", 443)
_NO_PASS = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)  # as encoders refuse sizes
_ENDINGS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


class SegmentationNetwork(nn.Module):
    """An smp network that takes batches of raw pixel values of any image size, and normalises them itself.

    Where its settings say so, it sees the batch's series of satellite images, too, or these alone. A batch without
    series is one without any valid date.

    Args:
        settings: settings of the network. Random weights come from torch's global generator: seed it before.
        bands: number of image bands.
        classes: number of outputs.
        mean, std: (bands,) of the raw pixel values of the source domains.
        series: what it must know of the series; None where there are none.

    Attributes:
        stages: the encoder's stages by name, shallowest first, whose output can be changed (see ``perturbation``);
            none where they are unknown, and of a network of the series alone.
        perturbation: called with (stage, features), and gives the features to continue with; None for none.
        multiple: number of pixels that divides the sides of what the encoder sees; images are padded to it.
        autocast: the lower precision of a pass, where it is mixed; None for that of the weights.

    Raises:
        NetworkError: the settings say that it sees series, and there are none.
    """

    mean: Tensor
    std: Tensor
    series_mean: Tensor
    series_std: Tensor

    def __init__(
        self,
        settings: NetworkSettings,
        bands: int,
        classes: int,
        mean: np.ndarray,
        std: np.ndarray,
        series: SeriesInput | None = None,
    ) -> None:
        super().__init__()
        if settings.series and series is None:
            raise NetworkError("this network sees a series of satellite images, and there is none")
        alone = settings.series == ALONE
        self.model = (
            _series_network(settings, classes, series) if alone and series else _build(settings, bands, classes)
        )
        self.multiple = 1 if alone else encoders.multiple_of(self.model.encoder, settings.encoder_depth)
        self._frozen = settings.frozen and not alone
        self.stages = {} if alone else _stages(self.model.encoder, bands, self.multiple)
        self.perturbation: Callable[[str, Tensor], Tensor] | None = None
        self.autocast: torch.dtype | None = None
        for name, stage in self.stages.items():
            stage.register_forward_hook(partial(self._perturb, name))
        self.fusion: nn.Module | None = None
        self._cells, self._series_loss, self._last = series.cells if series else 0.0, settings.series_loss, _LastPass()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).view(1, -1, 1, 1))
        if settings.series and series is not None:
            if not alone:
                fuse, utae = FUSIONS[settings.series], _utae(settings, series)
                self.fusion = fuse(self.model.encoder, utae, classes, series.cells, settings.series_dropout)
            for name, values in (("series_mean", series.mean), ("series_std", series.std)):
                self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32).view(-1, 1, 1))
        if self._frozen:
            freeze(self.model.encoder)
            self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules; a frozen encoder is always in eval mode."""
        super().train(mode)
        if self._frozen:
            self.model.encoder.eval()
        return self

    def forward(
        self, batch: SourceBatch | TargetBatch, return_features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (N, classes, H, W) of a batch with raw images (N, bands, H, W).

        Args:
            return_features: return (logits, the encoder's deepest features (N, D, h, w)).
        """
        images = batch.images.to(self.mean.dtype)
        with torch.autocast(images.device.type, self.autocast) if self.autocast else nullcontext():
            logits, auxiliary, features = self._predict(images, batch.series)
        labelled = isinstance(batch, SourceBatch) and self.training and torch.is_grad_enabled()
        if labelled and auxiliary is not None and self._series_loss:
            self._last.labels, self._last.auxiliary = batch.labels, auxiliary
        return (logits, features) if return_features else logits

    def auxiliary_loss(self, batch: SourceBatch) -> Tensor | None:
        """Return the weighted cross-entropy of what the series alone predicts, once.

        None where there is no such loss, or where the last pass on labelled patches was on other ones. Those with other
        images (another view) are the same, as long as they have the same labels.
        """
        auxiliary = self._last.auxiliary if self._last.labels is batch.labels else None
        self._last = _LastPass()
        if auxiliary is None:
            return None
        total = F.cross_entropy(auxiliary.float(), batch.labels, ignore_index=IGNORE, reduction="sum")
        return self._series_loss * total / (batch.labels != IGNORE).sum().clamp(min=1)

    def _predict(self, images: Tensor, series: SeriesBatch | None) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return logits, those of the series alone where there are such, and the deepest features."""
        size = images.shape[-2:]
        below, right = (-side % self.multiple for side in size)
        normalized = (images - self.mean) / self.std
        if below or right:
            normalized = F.pad(normalized, (0, right, 0, below), mode="replicate")
        normalized = normalized.contiguous(memory_format=torch.channels_last)
        auxiliary = None
        with ExitStack() as stack:
            deepest: list[Tensor] = []
            hook = self.model.encoder.register_forward_hook(
                lambda _, inputs, out: deepest.append(encoders.deepest_of(out))
            )
            stack.callback(hook.remove)
            if self.fusion is not None:
                logits, auxiliary = self.fusion(self.model, normalized, size, *self._normalize(series, images))
            elif isinstance(self.model, SeriesNetwork):
                logits = self.model(normalized, *self._normalize(series, images))
            else:
                logits = self.model(normalized)[..., : size[0], : size[1]]
        return logits, auxiliary, deepest[0]

    def _normalize(self, series: SeriesBatch | None, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return normalised values, days and valid of the series of images, empty ones where there are none."""
        if series is None:
            side = math.ceil(max(images.shape[-2:]) * self._cells) + 1
            series = SeriesBatch.empty(len(images), len(self.series_mean), side).to(images.device)
        values = (series.values.to(self.series_mean.dtype) - self.series_mean) / self.series_std
        return values, series.days, series.valid

    def features(self, images: Tensor) -> Tensor:
        """Return the encoder's deepest features averaged over each image (N, bands, H, W) float32: (N, D)."""
        return encoders.deepest_of(self.model.encoder((images - self.mean) / self.std)).mean((2, 3))

    def _perturb(self, name: str, stage: nn.Module, inputs: Any, features: Tensor) -> Tensor | None:
        return None if self.perturbation is None else self.perturbation(name, features)


class _LastPass:
    """The labels of a network's last pass on some in training, and the logits of its series; a copy holds none."""

    def __init__(self) -> None:
        self.labels: Tensor | None = None
        self.auxiliary: Tensor | None = None

    def __reduce__(self) -> tuple[type["_LastPass"], tuple[()]]:
        return _LastPass, ()


def structure_of(network: nn.Module) -> list[tuple[str, type, list[tuple[int, ...]]]]:
    """Return name, class and shapes of the weights of every module; equal for networks that differ in values alone."""
    return [
        (name, type(module), [tuple(weights.shape) for weights in module.parameters(recurse=False)])
        for name, module in network.named_modules()
    ]


def build_network(
    settings: NetworkSettings,
    bands: int,
    classes: int,
    mean: np.ndarray,
    std: np.ndarray,
    seed: int,
    series: SeriesInput | None = None,
) -> SegmentationNetwork:
    """Return a network whose random weights depend on the seed alone; torch's global generator is left as it was.

    Raises:
        NetworkError: an unknown architecture or encoder, or weights that are not available; at once, and in one line.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = SegmentationNetwork(settings, bands, classes, mean, std, series)
        except _NO_PASS as error:  # of the first pass, by which the stages are found
            raise _cannot_run(settings, error) from error
        return network.to(memory_format=torch.channels_last)


def _cannot_run(settings: NetworkSettings, error: Exception) -> NetworkError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return NetworkError(
        f"{settings.architecture} on {settings.encoder} at depth {settings.encoder_depth} cannot predict: {reason}; "
        "take another encoder or architecture"
    )


def set_precision(network: Any, fabric: "Fabric") -> None:
    """Have a network compute in the precision of Fabric, whose own wrapper of modules takes no batches."""
    precision = fabric.strategy.precision
    precision.convert_module(network)
    network.autocast = AUTOCAST.get(str(precision.precision))


def check_network(
    settings: NetworkSettings, bands: int, classes: int, crop: int = 0, series: SeriesInput | None = None
) -> None:
    """Build a network and predict one black image, so that what is wrong with the settings fails early.

    Args:
        crop: side of the images in training, pixels; 0 if it is not known.
        series: what it must know of the series; None where there are none.

    Raises:
        NetworkError: see `build_network`; or its logits are not of the size of the image.
    """
    network = build_network(settings, bands, classes, np.zeros(bands), np.ones(bands), 0, series).eval()
    side = crop or 64
    black = TargetBatch.of(torch.zeros(1, bands, side, side))
    try:
        with torch.no_grad():
            shape = tuple(network(black).shape)
    except _NO_PASS as error:
        raise _cannot_run(settings, error) from error
    if shape != (1, classes, side, side):
        raise NetworkError(
            f"{settings.architecture} on {settings.encoder} at depth {settings.encoder_depth} gives logits of "
            f"{shape[-2]} x {shape[-1]} pixels for an image of {side} x {side}"
        )


def _utae(settings: NetworkSettings, series: SeriesInput) -> UTAE:
    """Return the network of the series; it has at most sixteen heads of attention, each of eight channels or more."""
    widths = settings.series_widths
    if len(widths) < 2 or any(width % 4 or width <= 0 for width in widths):
        raise NetworkError(f"series_widths are two or more multiples of 4, not {widths}")
    return UTAE(len(series.mean), widths, widths[:-1], math.gcd(16, *widths, max(widths[-1] // 8, 1)))


def _series_network(settings: NetworkSettings, classes: int, series: SeriesInput) -> Any:
    return SeriesNetwork(_utae(settings, series), classes, series.cells)


def _build(settings: NetworkSettings, bands: int, classes: int) -> Any:
    import segmentation_models_pytorch as smp  # importing it takes seconds

    weights = settings.encoder_weights
    packaged = weights == PACKAGED
    from_file = packaged or (bool(weights) and _is_file(weights))
    file = packaged_file(settings.encoder) if packaged else Path(weights)
    if weights and not from_file:
        _require_hub(settings)
    try:
        # Pretrained files are for three bands; their first layer is widened after loading.
        named = weights if weights and not from_file else None
        build = partial(_model, smp, settings, named, 3 if from_file else bands, classes)
        model = encoders.for_any_size(settings.encoder, build)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        # timm raises RuntimeError for unknown names, smp KeyError; both messages list what there is.
        advice = encoders.advice_on(settings.architecture, settings.encoder, str(error))
        raise NetworkError(
            f"cannot build {settings.architecture} on {settings.encoder}: {str(error)[:300].rstrip('.')}{advice}"
        ) from error
    if from_file:
        load_encoder(model.encoder, file, bands, timm_names if packaged else None)
    return model


def _is_file(weights: str) -> bool:
    """Return whether the name of weights is that of a file: one that exists, or one with such an ending."""
    return Path(weights).is_file() or Path(weights).suffix.lower() in _ENDINGS


def _model(smp: Any, settings: NetworkSettings, weights: str | None, bands: int, classes: int, **options: Any) -> Any:
    """Return the encoder with its decoder and head.

    Args:
        weights: a name that the encoder knows.
        options: further arguments of the encoder.
    """
    if settings.architecture.lower() == light_fpn.NAME:
        if len(settings.decoder_channels) > 1:
            raise ValueError(f"a light FPN has one width, not the channels {settings.decoder_channels}")
        encoder = smp.encoders.get_encoder(
            settings.encoder, in_channels=bands, depth=settings.encoder_depth, weights=weights, **options
        )
        model = light_fpn.LightFPN(encoder, classes, *settings.decoder_channels)
    else:
        channels = settings.decoder_channels or _decoder_channels(smp, settings)
        model = smp.create_model(
            settings.architecture,
            encoder_name=settings.encoder,
            encoder_weights=weights,
            encoder_depth=settings.encoder_depth,
            in_channels=bands,
            classes=classes,
            **({"decoder_channels": channels} if channels else {}),
            **options,
        )
    _drop_unused_blocks(model.encoder)
    return model


def _drop_unused_blocks(encoder: Any) -> None:
    """Drop the blocks behind the deepest stage that is used: timm's EfficientNets compute them, for nothing."""
    inner: Any = getattr(encoder, "model", None)
    blocks = getattr(inner, "blocks", None)
    if not isinstance(blocks, nn.Sequential) or not hasattr(getattr(inner, "feature_info", None), "module_name"):
        return
    container, _, last = str(inner.feature_info.module_name()[-1]).partition(".")
    if container == "blocks" and last.isdigit():
        inner.blocks = blocks[: int(last) + 1]


def _decoder_channels(smp: Any, settings: NetworkSettings) -> tuple[int, ...]:
    """Return the last of smp's default channels for five stages; none if the decoder has one width or it is unknown."""
    architecture = smp.MODEL_ARCHITECTURES_MAPPING.get(settings.architecture.lower())
    parameters = inspect.signature(architecture).parameters if architecture else {}
    default = parameters["decoder_channels"].default if "decoder_channels" in parameters else ()
    return tuple(default[-settings.encoder_depth :]) if isinstance(default, (tuple, list)) else ()


def _require_hub(settings: NetworkSettings) -> None:
    """Fail at once where the hub cannot be reached: its own client tries for most of a minute first."""
    try:
        socket.create_connection(HUB, timeout=3).close()
    except OSError as error:
        raise NetworkError(
            f"the weights {settings.encoder_weights!r} of {settings.encoder} are on a model hub that cannot be reached "
            "from here; give the path of a local file with --encoder-weights, or 'none' for random weights"
        ) from error


def _stages(encoder: nn.Module, bands: int, multiple: int) -> dict[str, nn.Module]:
    """Return the modules whose outputs the decoder sees, named ``stage1`` (shallowest) onwards.

    None at all, unless the last of those that run gives the deepest features: some encoders use parts of their modules.
    """
    inner = getattr(encoder, "model", None)
    if inner is not None and hasattr(getattr(inner, "feature_info", None), "module_name"):
        modules = dict(inner.named_modules())
        # Most of timm's encoders are flattened, which puts underscores into the names; EfficientNets are not.
        stages = [str(name) for name in inner.feature_info.module_name()]
        names = [name if name in modules else name.replace(".", "_") for name in stages]
    else:
        modules = dict(encoder.named_children())
        names = [name for name in modules if name.startswith("norm")]  # of an MiT, where each stage ends in one
        names = names or [name for name in modules if name.startswith(("layer", "stage", "block", "features"))]
    ran: dict[nn.Module, Any] = {}
    candidates = [modules[name] for name in names if name in modules]
    hooks = [module.register_forward_hook(lambda module, _, out: ran.update({module: out})) for module in candidates]
    training = encoder.training
    with torch.no_grad():
        side = -(-64 // multiple) * multiple  # some encoders merge stages, and fail on smaller images
        # No constant image: without bias, all features of a black one are equal.
        image = torch.linspace(-1, 1, bands * side**2).view(1, bands, side, side)
        deepest = encoders.deepest_of(encoder.eval()(image))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    last = list(ran.values())[-1] if ran else None
    if not isinstance(last, Tensor) or not torch.equal(last, deepest):
        return {}
    return {f"stage{index + 1}": module for index, module in enumerate(ran)}
