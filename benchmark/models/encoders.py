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


DINOV2_PATCH, LARGER_PATCH = 14, 16  # pixels


def for_any_size(encoder: str, build: Callable[..., Any]) -> Any:
    """Return what ``build`` makes with options that let an encoder take images of any size, where it has some.

    A Swin then makes its masks, and a ViT interpolates its positions, for the size of each image (timm's
    ``dynamic_img_size``); both would else take one size alone. DINOv2, with patches of 14 pixels, gets patches of 16,
    which the DPT head takes, see `with_larger_patches`.
    """
    from timm.models import get_pretrained_cfg  # importing it takes seconds

    published = get_pretrained_cfg(encoder.removeprefix("tu-")) if encoder.startswith("tu-") else None
    if published is None or not published.fixed_input_size:
        return build()
    larger = {"patch_size": LARGER_PATCH} if encoder.endswith("dinov2") else {}
    try:
        return build(dynamic_img_size=True, num_classes=0, **larger)
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


def with_larger_patches(vit: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a ViT with patches of 14 pixels for a ViT with those of 16; those of others as they are.

    The embedding of patches is resampled so that it gives the same for an image that is enlarged (Beyer et al., CVPR
    2023), and the positions are interpolated, both by timm.
    """
    embedding, positions = state.get("patch_embed.proj.weight"), state.get("pos_embed")
    patches = getattr(getattr(vit, "patch_embed", None), "patch_size", None)
    if embedding is None or positions is None or patches != (LARGER_PATCH,) * 2:
        return state
    if embedding.ndim != 4 or embedding.shape[-1] != DINOV2_PATCH:
        return state
    from timm.layers import resample_abs_pos_embed, resample_patch_embed

    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    return state | {
        "patch_embed.proj.weight": resample_patch_embed(embedding, list(patches)),
        "pos_embed": resample_abs_pos_embed(positions, list(vit.patch_embed.grid_size), num_prefix_tokens=prefix),
    }


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
