"""The scores of the per-pixel baseline, kept for reports, which have no data."""

import math
from collections.abc import Mapping
from typing import Any

from benchmark.experiments.results import ResultsFolder

NAME = "pixels/"  # of documents, followed by the version and the key of the data and the folds
VERSION = 2  # of `benchmark.training.pixel_baseline`: raise it when a value may change, and all are fitted again


def pixel_scores(results: ResultsFolder, experiment: str, facts: Mapping[str, object]) -> dict[str, float]:
    """Return the mean IoU by fold of `benchmark.training.pixel_baseline`, where it was computed.

    Args:
        facts: `Bench.shared_facts`.

    Returns:
        NaN for a fold that can have no value.
    """
    scores = results.document(experiment, _name(facts)) or {}
    return {fold: math.nan if value is None else float(value) for fold, value in scores.items()}


def keep_pixel_scores(
    results: ResultsFolder, experiment: str, facts: Mapping[str, object], scores: Mapping[str, float]
) -> None:
    """Add to what `pixel_scores` reads, to six digits."""
    values = {fold: round(value, 6) if math.isfinite(value) else None for fold, value in scores.items()}

    def add(old: Any) -> Any:
        return {**(old or {}), **values}

    results.database.edit(experiment, _name(facts), add)


def _name(facts: Mapping[str, object]) -> str:
    """Return the name of a protocol's scores by the digest of its bands and masks: a choice of bands has its own."""
    key = "-".join(str(facts.get(name))[:16] for name in ("fingerprint", "dataset_digest", "class_set"))
    return f"{NAME}{VERSION}.{key}"
