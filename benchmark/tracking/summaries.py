"""What a summary run says: of a method in a comparison, or of the folds."""

import filecmp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.tracking.limits import Fact, checked_facts, checked_metrics
from benchmark.tracking.runs import RunRecord


@dataclass(frozen=True)
class Summary:
    """A summary run to be written.

    Attributes:
        name: usually the method's.
        facts: each is written as a param and as a tag.
        metrics: under names of their own ("summary/..."), so that the UI never averages them with cells; a NaN is left
            out.
        artifacts: files to keep beside it.
        curves: further metrics, by step.
    """

    name: str
    facts: Mapping[str, Fact]
    metrics: Mapping[str, float]
    artifacts: Sequence[Path] = ()
    curves: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    def is_in(self, run: RunRecord) -> bool:
        """Whether a run is complete and holds exactly these facts, numbers and files.

        Raises:
            TrackingError: a fact or a metric cannot be logged.
        """
        last = {name: value for step in sorted(self.curves) for name, value in self.curves[step].items()}
        kept = [(path, run.artifacts / path.name) for path in self.artifacts]
        return (
            run.name == self.name
            and run.status == "FINISHED"
            and run.facts == checked_facts(self.facts)
            and run.metrics == checked_metrics({**self.metrics, **last})
            and all(copy.exists() and filecmp.cmp(path, copy, shallow=False) for path, copy in kept)
        )
