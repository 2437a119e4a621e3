"""Hyperparameters of a method: declared on its dataclass, and made from the text of a command line."""

import math
from collections.abc import Iterable
from dataclasses import field, fields, replace
from typing import Any

from methods.parts.errors import MethodError

_TRUTH = {"true": True, "false": False}


def tunable(default: Any, *, low: float, high: float, log: bool = False, neutral: Any = None) -> Any:
    """Return a hyperparameter with its default and its search range, declared in one place.

    Args:
        default: the published default.
        low, high: bounds of the search, inclusive.
        log: search on a logarithmic scale.
        neutral: value at which, if all hyperparameters with one have it, the network's trained weights are those of
            source-only; None if this one has no such value.
    """
    return field(default=default, metadata={"low": low, "high": high, "log": log, "neutral": neutral})


def choice(default: str, options: Iterable[str], neutral: str | None = None) -> Any:
    """Return a hyperparameter that takes one of several named values; ``neutral`` as in `tunable`."""
    return field(default=default, metadata={"options": tuple(options), "neutral": neutral})


def switch(default: bool, neutral: bool | None = None) -> Any:
    """Return a hyperparameter that is true or false; ``neutral`` as in `tunable`."""
    return field(default=default, metadata={"options": (True, False), "neutral": neutral})


def make_hyperparameters(method: Any, values: dict[str, str]) -> Any:
    """Return the method's hyperparameters with some values given as text, as on a command line.

    Raises:
        MethodError: for an unknown name, a value of the wrong type or no finite number, or one that is not among the
            options. The search range is for tuning, and bounds nothing.
    """
    defaults = method.Hyperparameters()
    known = {item.name: item for item in fields(defaults)}
    changes: dict[str, Any] = {}
    for name, text in values.items():
        if name not in known:
            raise MethodError(f"{method.__name__} has no hyperparameter {name!r}; it has {', '.join(known) or 'none'}")
        kind = type(getattr(defaults, name))
        try:
            changes[name] = _TRUTH[text.lower()] if kind is bool else kind(text)
            if kind is float and not math.isfinite(changes[name]):
                raise ValueError(text)
        except (KeyError, ValueError) as error:
            expected = {bool: "true or false", int: "a whole number", float: "a finite number"}.get(kind, "a text")
            raise MethodError(f"{name} of {method.__name__} takes {expected}, not {text!r}") from error
        options = known[name].metadata.get("options")
        if options and changes[name] not in options:
            raise MethodError(f"{name} of {method.__name__} is one of {', '.join(options)}, not {text!r}")
    return replace(defaults, **changes)
