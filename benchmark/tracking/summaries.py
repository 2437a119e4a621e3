"""What a summary run says: of a method in a comparison, or of the folds."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.tracking.limits import Fact, checked_facts, checked_metrics


@dataclass(frozen=True)
class Summary:
    """A summary run to be written.

    Attributes:
        name: usually the method's.
        facts: each is written as a param and as a tag.
        metrics: under names of their own ("summary/..."), so that the UI never averages them with runs of jobs; a NaN
            is left out.
        artifacts: files to keep beside it.
        curves: further metrics, by step.
    """

    name: str
    facts: Mapping[str, Fact]
    metrics: Mapping[str, float]
    artifacts: Sequence[Path] = ()
    curves: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells it from all others of its experiment: the name, and the comparison that it is of."""
        comparison = self.facts.get("comparison", "")
        return f"{self.name} ({comparison})" if comparison else self.name

    @property
    def checked_metrics(self) -> dict[str, float]:
        """The metrics that have a value.

        Raises:
            TrackingError: a name or a value is refused.
        """
        return checked_metrics(self.metrics)

    @property
    def checked_curves(self) -> dict[int, dict[str, float]]:
        """The curves' values, in the order of their steps."""
        return {step: checked_metrics(self.curves[step]) for step in sorted(self.curves)}

    @property
    def digest(self) -> str:
        """Digest of facts, numbers and files: a summary that says the same has the same."""
        content = [self.name, checked_facts(self.facts), self.checked_metrics, list(self.checked_curves.items())]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        for path in self.artifacts:
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()[:16]
