"""Labels: how a method with its hyperparameters is written, on the command line and in every table."""

import re
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from benchmark.training.config import TrainingConfig
from methods import registry
from methods.base import Method, MethodError, Needs, make_hyperparameters
from methods.sources import code_digest, is_imported

RATE = "recipe.learning_rate"
"""The one value of the recipe that a label may change: what is best for one method may be wrong for another."""


@dataclass(frozen=True)
class Setting:
    """The method and the values that a label names.

    Attributes:
        method: the class.
        hyperparameters: an instance of its ``Hyperparameters``.
        learning_rate: learning rate; None for the recipe's.
    """

    method: type[Method]
    hyperparameters: Any
    learning_rate: float | None = None

    def recipe(self, shared: TrainingConfig) -> TrainingConfig:
        """Return the comparison's config as this method is trained with it."""
        return shared if self.learning_rate is None else replace(shared, learning_rate=self.learning_rate)


def split_label(label: str) -> tuple[str, dict[str, str]]:
    """Return the name and the given values, as text, of ``name`` or ``name[key=value,key=value]``.

    Raises:
        MethodError: the label is not of that form.
    """
    match = re.fullmatch(r"([^\[\]]+)(?:\[([^\[\]]*)\])?", label)
    if not match:
        raise MethodError(f"a method is given as name or name[hyperparameter=value,...], not {label!r}")
    pairs = [pair.partition("=") for pair in (match[2] or "").split(",") if pair]
    if any(not equals for _, equals, _ in pairs):
        raise MethodError(f"hyperparameters are given as name=value, not {match[2]!r}")
    values = {key.strip(): value.strip() for key, _, value in pairs}
    if len(values) < len(pairs):
        raise MethodError(f"a hyperparameter is given twice in {match[2]!r}")
    return match[1], values


def parse_label(label: str) -> Setting:
    """Return the setting that a label names.

    Raises:
        MethodError: the label is malformed, or names something unknown.
    """
    name, values = split_label(label)
    method = registry.find(name)
    rate = _rate(method, name, values.pop(RATE)) if RATE in values else None
    return Setting(method, make_hyperparameters(method, values), rate)


def canonical_label(label: str, shared: TrainingConfig | None = None) -> str:
    """Return the canonical label of a setting.

    It is the method's name, if it has one, with only those values that are not the defaults, in their order.

    Args:
        shared: the recipe, whose learning rate is the default.
    """
    setting = parse_label(label)
    defaults = asdict(setting.method.Hyperparameters())
    changed = [f"{key}={value}" for key, value in asdict(setting.hyperparameters).items() if value != defaults[key]]
    if setting.learning_rate is not None and not (shared and setting.learning_rate == shared.learning_rate):
        changed.append(f"{RATE}={setting.learning_rate}")
    name = registry.name_of(setting.method) or label.partition("[")[0]
    return name + (f"[{','.join(changed)}]" if changed else "")


def has_recipe_rate(method: type[Method]) -> bool:
    """Return whether the config's learning rate is used: not where a method brings its optimiser."""
    return method.optimizer is Method.optimizer and method.needs is not Needs.TEST_STREAM


def is_foreign(label: str) -> bool:
    """Return whether a label from a file or a store names a module that is not imported."""
    return not is_imported(label.partition("[")[0])


def installed_digest(label: str, *, imports: bool = False) -> str | None:
    """Return the digest of the code of the label's method.

    It is "" if the method is not installed or has other hyperparameters; None if it is in a module that is not
    imported, since an import would run that code.

    Args:
        imports: import the module: the user has named the label on the command line.
    """
    if is_foreign(label) and not imports:
        return None
    try:
        return code_digest(parse_label(label).method)
    except MethodError:
        return ""


@cache
def control_label() -> str:
    """Return the name of the method that all others are compared with, and some start from."""
    return next(name for name, method in registry.available().items() if method.is_control)


def _rate(method: type[Method], name: str, text: str) -> float:
    if not has_recipe_rate(method):
        raise MethodError(f"{name} has an optimiser of its own, which {RATE} does not change")
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise MethodError(f"{RATE} takes a number above 0, not {text!r}")
    return rate
