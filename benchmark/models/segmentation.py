"""Segmentation networks from segmentation-models-pytorch with any smp or timm encoder."""

import inspect
import socket
import warnings
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.common.errors import DataError, NetworkError
from benchmark.common.files import read_tensors
from benchmark.models import encoders, light_fpn
from benchmark.models.packaged import PACKAGED, packaged_file, timm_names
from benchmark.models.settings import NetworkSettings
from methods.base import SourceBatch, TargetBatch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

MOST_TIMES = 4  # bytes in memory to bytes on disk
AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # by the name of Fabric's precision
HUB = ("huggingface.co", 443)
_NO_PASS = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)  # as encoders refuse sizes
_ENDINGS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
# Where training code puts a network beside its optimiser.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "encoder", "backbone", "weights")


class SegmentationNetwork(nn.Module):
    """An smp network that takes batches of raw pixel values of any image size, and normalises them itself.

    Args:
        settings: settings of the network. Random weights come from torch's global generator: seed it before.
        bands: number of image bands.
        classes: number of outputs.
        mean, std: (bands,) of the raw pixel values of the source domains.

    Attributes:
        stages: the encoder's stages by name, shallowest first, whose output can be changed (see ``perturbation``);
            none where they are unknown.
        perturbation: called with (stage, features), and gives the features to continue with; None for none.
        multiple: number of pixels that divides the sides of what the encoder sees; images are padded to it.
        autocast: the lower precision of a pass, where it is mixed; None for that of the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: NetworkSettings, bands: int, classes: int, mean: np.ndarray, std: np.ndarray) -> None:
        super().__init__()
        self.model = _build(settings, bands, classes)
        self.multiple = encoders.multiple_of(self.model.encoder, settings.encoder_depth)
        self.stages = _stages(self.model.encoder, bands, self.multiple)
        self.perturbation: Callable[[str, Tensor], Tensor] | None = None
        self.autocast: torch.dtype | None = None
        for name, stage in self.stages.items():
            stage.register_forward_hook(partial(self._perturb, name))
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(
        self, batch: SourceBatch | TargetBatch, return_features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (N, classes, H, W) of a batch with raw images (N, bands, H, W).

        Args:
            return_features: return (logits, the encoder's deepest features (N, D, h, w)).
        """
        images = batch.images.to(self.mean.dtype)
        with torch.autocast(images.device.type, self.autocast) if self.autocast else nullcontext():
            logits, features = self._predict(images)
        return (logits, features) if return_features else logits

    def _predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        height, width = images.shape[-2:]
        below, right = -height % self.multiple, -width % self.multiple
        normalized = (images - self.mean) / self.std
        if below or right:
            normalized = F.pad(normalized, (0, right, 0, below), mode="replicate")
        deepest: list[Tensor] = []
        hook = self.model.encoder.register_forward_hook(lambda _, inputs, out: deepest.append(encoders.deepest_of(out)))
        logits: Tensor = self.model(normalized.contiguous(memory_format=torch.channels_last))[..., :height, :width]
        hook.remove()
        return logits, deepest[0]

    def features(self, images: Tensor) -> Tensor:
        """Return the encoder's deepest features averaged over each image (N, bands, H, W) float32: (N, D)."""
        return encoders.deepest_of(self.model.encoder((images - self.mean) / self.std)).mean((2, 3))

    def _perturb(self, name: str, stage: nn.Module, inputs: Any, features: Tensor) -> Tensor | None:
        return None if self.perturbation is None else self.perturbation(name, features)


def structure_of(network: nn.Module) -> list[tuple[str, type, list[tuple[int, ...]]]]:
    """Return name, class and shapes of the weights of every module; equal for networks that differ in values alone."""
    return [
        (name, type(module), [tuple(weights.shape) for weights in module.parameters(recurse=False)])
        for name, module in network.named_modules()
    ]


def build_network(
    settings: NetworkSettings, bands: int, classes: int, mean: np.ndarray, std: np.ndarray, seed: int
) -> SegmentationNetwork:
    """Return a network whose random weights depend on the seed alone; torch's global generator is left as it was.

    Raises:
        NetworkError: an unknown architecture or encoder, or weights that are not available; at once, and in one line.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = SegmentationNetwork(settings, bands, classes, mean, std)
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


def check_network(settings: NetworkSettings, bands: int, classes: int, crop: int = 0) -> None:
    """Build a network and predict one black image, so that what is wrong with the settings fails early.

    Args:
        crop: side of the images in training, pixels; 0 if it is not known.

    Raises:
        NetworkError: see `build_network`; or its logits are not of the size of the image.
    """
    network = build_network(settings, bands, classes, np.zeros(bands), np.ones(bands), 0).eval()
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
        _load_encoder(model.encoder, file, bands, timm_names if packaged else None)
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


def _load_encoder(
    encoder: nn.Module,
    path: Path,
    bands: int = 3,
    rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
) -> None:
    """Load the weights of an encoder for three bands from a local file, and make it one for another number of bands.

    What the file holds beyond the encoder (its stages left out, a classifier) is not used.

    Args:
        bands: that it is to have. A file for as many is taken as it is; of one for three the first layer is widened.
        rename: gives the tensors the encoder's names; None to find what is put before these.

    Raises:
        NetworkError: the file cannot be read, or lacks a tensor of the encoder in its shape, or holds numbers that are
            not finite.
    """
    if not path.is_file():
        raise NetworkError(f"there is no file {path} with encoder weights")
    held = _read_weights(path)
    wanted = getattr(encoder, "model", encoder)
    expected = wanted.state_dict()
    state = rename(held) if rename else encoders.named_as(path, held, expected)
    first = next((name for name, value in expected.items() if value.ndim == 4 and value.shape[1] == 3), "")
    fits_bands = first in state and state[first].ndim == 4 and state[first].shape[1] == bands != 3
    if fits_bands:
        _widen(encoder, bands)
        expected = wanted.state_dict()
    fitting = {name: value for name, value in state.items() if name in expected and value.shape == expected[name].shape}
    missing = sorted(set(expected) - set(fitting))
    if missing:
        lost = first if first in missing else missing[0]
        shapes = f", {tuple(state[lost].shape)} where {tuple(expected[lost].shape)} is needed" if lost in state else ""
        raise NetworkError(
            f"{path} does not fit the encoder: {len(missing)} of {len(expected)} weights are missing or of another "
            f"shape, for example {lost}{shapes}; the file holds {', '.join(sorted(held)[:3]) or 'no tensor'}"
        )
    if wrong := [name for name, value in fitting.items() if not bool(torch.isfinite(value).all())]:
        raise NetworkError(
            f"{path}: {wrong[0]} holds numbers that are not finite; the training that made it had failed"
        )
    try:
        wanted.load_state_dict(fitting)
    except RuntimeError as error:  # sparse, quantised or complex weights
        raise NetworkError(f"{path} does not fit the encoder: {str(error).splitlines()[-1].strip()}") from error
    if not fits_bands and bands != 3:
        _widen(encoder, bands)


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Return tensors by name. No object is made of what a file holds but tensors and plain containers."""
    if path.suffix.lower() == ".safetensors":
        try:
            return read_tensors(path)
        except DataError as error:
            raise NetworkError(f"cannot read encoder weights from {error}") from error
    if (declared := _declared(path)) > MOST_TIMES * path.stat().st_size:
        raise NetworkError(f"cannot read encoder weights from {path}: it says that it holds {declared:,} bytes")
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickle protocols, with the advice to file an issue
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's, zip's and torch's own; torch's text advises to switch the guard off
        raise NetworkError(
            f"cannot read encoder weights from {path}: it is damaged, or a pickle that holds more than tensors, which "
            "could run any code and is never loaded; give a .safetensors file, or a .pth of a state_dict alone"
        ) from error
    while isinstance(state, dict) and (
        inner := next((key for key in _WRAPPERS if isinstance(state.get(key), dict)), "")
    ):
        state = state[inner]
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise NetworkError(f"cannot read encoder weights from {path}: no state_dict, but a {type(state).__name__}")
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _declared(path: Path) -> int:
    """Return the bytes that torch would take for a file: it does not compress, but unpacks what is."""
    try:
        with zipfile.ZipFile(path) as content:
            return sum(member.file_size for member in content.infolist())
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile):
        return 0  # of the older kind, or damaged, which torch reports


def _widen(encoder: nn.Module, bands: int) -> None:
    """Repeat the first layer's filters over the extra bands, scaled so that the response keeps its size."""
    from segmentation_models_pytorch.encoders._utils import patch_first_conv

    patch_first_conv(encoder, bands, pretrained=True)
    encoder._out_channels = [bands, *list(encoder.out_channels)[1:]]  # type: ignore[assignment,arg-type]


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
