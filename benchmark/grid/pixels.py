"""The scores of the per-pixel baseline, kept in MLflow for reports, which have no data."""

import json
import math
from collections.abc import Mapping

from filelock import FileLock

from benchmark.tracking import Reader, Tracker

TAG = "landshift.pixels."  # experiment tag, followed by the version and the key of the data and the folds
VERSION = 2  # of what `benchmark.pixel_baseline` computes: raise it when a value may change, and all are fitted again


def pixel_scores(tracker: Reader, experiment: str, facts: Mapping[str, object]) -> dict[str, float]:
    """Mean IoU by fold of `benchmark.pixel_baseline`, where it was computed: it depends on no training.

    Args:
        facts: `Bench.shared_facts`.

    Returns:
        NaN for a fold that can have no value.
    """
    text = tracker.tags(experiment).get(_tag(facts), "{}")
    return {fold: math.nan if value is None else float(value) for fold, value in json.loads(text).items()}


def keep_pixel_scores(
    tracker: Tracker, experiment: str, facts: Mapping[str, object], scores: Mapping[str, float]
) -> None:
    """Add to what `pixel_scores` reads, to six digits."""
    with FileLock(tracker.results / "asked.lock"):  # another command must not write between reading and writing
        known = pixel_scores(tracker, experiment, facts) | dict(scores)
        values = {fold: round(value, 6) if math.isfinite(value) else None for fold, value in known.items()}
        tracker.tag(experiment, _tag(facts), json.dumps(values))


def _tag(facts: Mapping[str, object]) -> str:
    """The digest of the data set is of the decoded bands and masks, so that a choice of bands is another key."""
    key = "-".join(str(facts.get(name))[:16] for name in ("fingerprint", "dataset_digest", "class_set"))
    return f"{TAG}{VERSION}.{key}"
