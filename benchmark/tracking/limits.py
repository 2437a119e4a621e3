"""What MLflow accepts; it cuts long values silently and words its refusals badly, so we check before it does."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence

from benchmark.common.errors import TrackingError

Fact = str | int | float | bool | tuple[str, ...]
"""A value that is written as an MLflow param and as a tag, both of them text. Of names it says how many there are."""

# Source: mlflow/utils/validation.py (3.17); longer values are cut with no more than a warning in a log.
KEY_LENGTH = 250
PARAM_LENGTH = 6000
TAG_LENGTH = 8000
EXPERIMENT_TAG_LENGTH = 20_000
DIGEST_LENGTH = 36
BATCH_FACTS = 100
BATCH_METRICS = 1000
FIRST_LENGTH = 80  # of the one name that stands for many

_KEY = re.compile(r"[\w.\- :]+(/[\w.\- :]+)*")


def checked_key(key: str) -> str:
    """A name of a metric or a fact, if MLflow takes it.

    Raises:
        TrackingError: if it does not; the message names the key.
    """
    if not _KEY.fullmatch(key) or {".", ".."} & set(key.split("/")):
        raise TrackingError(
            f"the name {key!r} cannot be logged: letters, digits, '_', '-', '.', ':', spaces and "
            "single '/' between them are allowed"
        )
    if len(key) > KEY_LENGTH:
        raise TrackingError(f"the name {key[:60]!r}... has {len(key)} characters; MLflow allows {KEY_LENGTH}")
    return key


def checked_text(key: str, value: Fact, limit: int) -> str:
    """A value as text, if it fits whole.

    Raises:
        TrackingError: if the text is longer than `limit` characters; MLflow would cut it.
    """
    text = summary_of(value) if isinstance(value, tuple) else str(value)
    if len(text) > limit:
        raise TrackingError(f"the value of {key!r} has {len(text)} characters; MLflow keeps {limit}")
    return text


def summary_of(names: Sequence[str]) -> str:
    """A text for names that are too many to be written: how many, the first, and a digest by which they are compared.

    The digest is of the names joined by ``+``.
    """
    first = names[0] if len(names[0]) <= FIRST_LENGTH else f"{names[0][:FIRST_LENGTH]}…"
    digest = hashlib.sha256("+".join(names).encode()).hexdigest()[:8]
    return f"{len(names)} names, first {first}, sha256 {digest}"


def checked_facts(facts: Mapping[str, Fact]) -> dict[str, str]:
    """Facts as text, each of which fits a param (and so a tag, whose limit is higher)."""
    return {checked_key(key): checked_text(key, value, PARAM_LENGTH) for key, value in facts.items()}


def checked_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that have a value: a NaN (a class that is absent) is left out.

    Raises:
        TrackingError: if a name is refused or a value is infinite; MLflow would store 1.797e308 for it.
    """
    values = {checked_key(key): float(value) for key, value in metrics.items()}
    infinite = [key for key, value in values.items() if math.isinf(value)]
    if infinite:
        raise TrackingError(f"the metric {infinite[0]!r} is infinite")
    return {key: value for key, value in values.items() if not math.isnan(value)}
