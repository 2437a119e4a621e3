"""Plain attributes of a method, and where two methods differ in them."""

from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from methods.base import Method

Pairs = dict[tuple[int, int], tuple[Any, Any]]
"""Pairs of values compared already, by their ids; kept, since Python gives the id of a deleted value to another."""


def differing_attributes(one: Method, other: Method) -> list[str]:
    """Return the names of the attributes that differ; modules, parameters and buffers are not among them."""
    module = vars(nn.Module())
    names = sorted((vars(one).keys() | vars(other).keys()) - module.keys())
    return [name for name in names if not _alike(vars(one).get(name), vars(other).get(name), {})]


def _alike(one: Any, other: Any, seen: Pairs) -> bool:
    """Return whether two values are the same as far as they can be copied; functions, which cannot be, always are."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (type, FunctionType, BuiltinFunctionType, MethodType)) or (id(one), id(other)) in seen:
        return True
    seen[id(one), id(other)] = one, other
    if isinstance(one, Tensor):
        return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    if isinstance(one, np.ndarray):
        return bool(one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, (int, float, complex, str, bytes, set, frozenset, type(None))):
        return bool(one == other or (one != one and other != other))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_alike(value, other[key], seen) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(_alike(*pair, seen) for pair in zip(one, other, strict=True))
    return _alike(_content(one), _content(other), seen)


def _content(value: Any) -> Any:
    """Return what a copy of an object is made of: an optimiser's or module's state, or else what pickle would write."""
    if hasattr(value, "state_dict"):
        return value.state_dict()
    try:
        parts = value.__reduce_ex__(4)
    except TypeError:  # a lock, a file
        return None
    return parts if isinstance(parts, str) else [list(part) if isinstance(part, Iterator) else part for part in parts]
