"""The contract of a method's hooks: what they must return. A mistake is described in the method's own terms."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods.parts.errors import MethodError

EXPECTED_LOSSES = 'expected a dictionary of named scalar tensors, such as {"segmentation": loss}'


def require_losses(method: type, hook: str, losses: Any) -> dict[str, Tensor]:
    """Return what a hook gave, if it is a dictionary of named scalar tensors.

    Raises:
        MethodError: it is not.
    """
    if not isinstance(losses, dict) or not losses:
        raise MethodError(f"{name_of(method, hook)} returned {describe(losses)}; {EXPECTED_LOSSES}")
    for name, loss in losses.items():
        if not isinstance(name, str):
            raise MethodError(f"{name_of(method, hook)} returned a loss called {name!r}; {EXPECTED_LOSSES}")
        if not (isinstance(loss, Tensor) and loss.ndim == 0 and loss.is_floating_point()):
            raise MethodError(
                f"{name_of(method, hook)}: the {name} loss is {describe(loss)}; expected a tensor with one number, "
                "of shape ()"
            )
    return losses


def require_logits(method: type, logits: Any, images: Tensor, classes: int) -> Tensor:
    """Return what ``predict`` gave, if it is one number for each class and pixel; nothing is read from the device.

    Raises:
        MethodError: it is not.
    """
    expected = (len(images), classes, *images.shape[-2:])
    if isinstance(logits, Tensor) and logits.shape == expected and logits.is_floating_point():
        return logits
    raise MethodError(
        f"{name_of(method, 'predict')} returned {describe(logits)}; expected logits (N, classes, H, W), here a float "
        f"tensor of shape {expected}"
    )


def require_batches(method: type, batches: Any) -> tuple[Any, Any]:
    """Return what ``augment`` gave, if these are two batches.

    Raises:
        MethodError: they are not.
    """
    if isinstance(batches, tuple) and len(batches) == 2 and None not in batches:
        return batches
    raise MethodError(f"{name_of(method, 'augment')} returned {describe(batches)}; expected (source, target)")


def name_of(method: type, hook: str) -> str:
    """Return a hook with the file and line where the method defines it, such as ``Mine.losses() (mine.py:12)``."""
    function = getattr(method, hook)
    code = getattr(function, "__code__", None)
    if code is None or function.__module__ == "methods.base" or code.co_filename.startswith("<"):
        return f"{method.__name__}.{hook}()"
    return f"{method.__name__}.{hook}() ({Path(code.co_filename).name}:{code.co_firstlineno})"


def describe(value: Any) -> str:
    """Return what a value is, in a few words."""
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        kind = "" if value.dtype is torch.float32 else f"{str(value.dtype).removeprefix('torch.')} "
        words = f"{kind}tensor of shape {tuple(value.shape)}"
    else:
        empty = "empty " if isinstance(value, (dict, list, tuple)) and not value else ""
        words = empty + type(value).__name__
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
