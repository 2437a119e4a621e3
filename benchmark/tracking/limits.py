"""Limits of MLflow: it cuts long values silently and words its refusals badly, so they are checked before."""

import hashlib
import math
import re
from collections.abc import Mapping

from benchmark.common.errors import TrackingError

Fact = str | int | float | bool | tuple[str, ...]
"""A value that is written as an MLflow param and as a tag, both of them text. Of names it says how many there are."""

# Source: mlflow/utils/validation.py (3.17); longer values are cut with no more than a warning in a log.
KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH, EXPERIMENT_TAG_LENGTH, DIGEST_LENGTH = 250, 6000, 8000, 20_000, 36
BATCH_FACTS, BATCH_METRICS = 100, 1000
FIRST_LENGTH = 80  # of the one name that replaces many
_KEY = re.compile(r"[\w.\- :]+(/[\w.\- :]+)*")


def checked_key(key: str) -> str:
    """Return a name of a metric or a fact; raise a `TrackingError` that names it, if MLflow does not take it."""
    if not _KEY.fullmatch(key) or {".", ".."} & set(key.split("/")):
        signs = "letters, digits, '_', '-', '.', ':', spaces and single '/' between them"
        raise TrackingError(f"the name {key!r} cannot be logged: {signs} are allowed")
    if len(key) > KEY_LENGTH:
        raise TrackingError(f"the name {key[:60]!r}... has {len(key)} characters; MLflow allows {KEY_LENGTH}")
    return key


def checked_text(key: str, value: Fact, limit: int) -> str:
    """Return a value as text; raise a `TrackingError` if it is longer than `limit` characters: MLflow would cut it."""
    text = str(value)
    if isinstance(value, tuple):  # too many names to be written: how many, the first, and a digest that compares them
        first = value[0] if len(value[0]) <= FIRST_LENGTH else f"{value[0][:FIRST_LENGTH]}…"
        text = f"{len(value)} names, first {first}, sha256 {hashlib.sha256('+'.join(value).encode()).hexdigest()[:8]}"
    if len(text) > limit:
        raise TrackingError(f"the value of {key!r} has {len(text)} characters; MLflow keeps {limit}")
    return text


def checked_facts(facts: Mapping[str, Fact]) -> dict[str, str]:
    """Return facts as text, each of which fits a param (and so a tag, whose limit is higher)."""
    return {checked_key(key): checked_text(key, value, PARAM_LENGTH) for key, value in facts.items()}


def checked_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that have a value: a NaN (a class that is absent) is left out.

    Raises:
        TrackingError: if a name is refused or a value is infinite; MLflow would store 1.797e308 for it.
    """
    values = {checked_key(key): float(value) for key, value in metrics.items()}
    for key, value in values.items():
        if math.isinf(value):
            raise TrackingError(f"the metric {key!r} is infinite")
    return {key: value for key, value in values.items() if not math.isnan(value)}
