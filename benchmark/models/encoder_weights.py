"""Weights of an encoder from a local file, for any number of bands."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.common.errors import DataError, NetworkError
from benchmark.common.files import read_tensors
from benchmark.models import encoders

MOST_TIMES = 4  # bytes in memory to bytes on disk
# Where training code puts a network beside its optimiser.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "encoder", "backbone", "weights")


def load_encoder(
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
    state = encoders.with_larger_patches(wanted, state)
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
