"""Encoders of every family under the heads of smp: their image sizes, outputs, and the names in their files."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.common.errors import NetworkError

_ONE_RESOLUTION = "Unsupported model downsampling pattern"  # as smp refuses encoders whose stages do not halve
_NEEDS_FOUR = "intermediate_channels must have the same length"
_NEEDS_TIMM = "Only Timm encoders are supported for DPT"


def for_any_size(encoder: str, build: Callable[..., Any]) -> Any:
    """Return what ``build`` makes with options that let an encoder take images of any size, where it has some.

    A Swin then makes its masks, and a ViT interpolates its positions, for the size of each image (timm's
    ``dynamic_img_size``); both would else take one size alone.
    """
    from timm.models import get_pretrained_cfg  # importing it takes seconds

    published = get_pretrained_cfg(encoder.removeprefix("tu-")) if encoder.startswith("tu-") else None
    if published is None or not published.fixed_input_size:
        return build()
    try:
        return build(dynamic_img_size=True, num_classes=0)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        return build()  # of a family that has no such option; whether it takes other sizes its first pass shows


def multiple_of(encoder: nn.Module, depth: int) -> int:
    """Return the number that the sides of an image must be a multiple of: 2 to the depth, of the DPT head always 32.

    Raises:
        NetworkError: a ViT has patches that the DPT head cannot bring to 4, 8, 16 and 32 pixels.
    """
    strides: Sequence[int] = getattr(encoder, "output_strides", ())  # of the encoders of that head alone
    if odd := [stride for stride in strides if 32 % stride]:
        raise NetworkError(f"the head dpt takes ViTs with patches of 4, 8, 16 or 32 pixels, and not of {odd[0]}")
    return 32 if strides else 2**depth


def deepest_of(features: Any) -> Tensor:
    """Return the deepest features (N, D, h, w) of what an encoder gives: a list, or one and the tokens before each."""
    stages = features[0] if isinstance(features, tuple) and isinstance(features[0], list) else features
    deepest: Tensor = stages[-1]
    return deepest


def advice_on(architecture: str, encoder: str, reason: str) -> str:
    """Return what to do where smp cannot put a head on an encoder; "" where nothing is known."""
    if _ONE_RESOLUTION in reason:
        return f"; {encoder} has one resolution, as plain ViTs have: take --architecture dpt --encoder-depth 4 for it"
    if _NEEDS_FOUR in reason:
        return f"; the head {architecture} takes four stages: --encoder-depth 4"
    if _NEEDS_TIMM in reason:
        return f"; the head {architecture} is for plain ViTs, such as tu-vit_small_patch16_224"
    return ""


def named_as(path: Path, held: dict[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors of a file by an encoder's own names, which may be those of smp's files or of timm's.

    Raises:
        NetworkError: the encoder is in the file twice, with other numbers.
    """
    # Encoders of features alone have their modules flattened ("stages_0" for "stages.0"), or wrapped.
    own_names = {re.sub(r"^([^.]*?)_(\d+)(?=\.)", r"\1.\2", own.removeprefix("model.")): own for own in expected}
    of_timm = {own_names.get(name, name): value for name, value in _without_prefix(path, held, own_names).items()}
    return max((_without_prefix(path, held, expected), of_timm), key=lambda state: len({*expected} & state.keys()))


def _without_prefix(path: Path, state: dict[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors by the expected names, without prefixes of smp, timm, Lightning or a wrapper of modules."""
    counts = Counter(
        name.removesuffix(own) for own in expected for name in state if name == own or name.endswith(f".{own}")
    )
    most = max(counts.values(), default=0)
    prefixes = [prefix for prefix, count in counts.items() if count == most]
    found = [{own: state[prefix + own] for own in expected if prefix + own in state} for prefix in prefixes]
    if any(not torch.equal(value, found[0][own]) for other in found[1:] for own, value in other.items()):
        raise NetworkError(
            f"{path} holds the encoder {len(found)} times, as {' and '.join(map(repr, sorted(prefixes)[:3]))}; write a "
            "file of one"
        )
    return found[0] if found else state
