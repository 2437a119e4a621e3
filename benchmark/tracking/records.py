"""Published records: the labels of a run, its dataset, its curves, and summaries."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.tracking.limits import DIGEST_LENGTH, Fact, checked_facts, checked_metrics

KIND = "landshift.kind"  # the tag that separates runs of jobs, "cell", from summaries
Curve = Sequence[tuple[int, Mapping[str, float]]]
"""Metrics by step, in the order they were logged."""


@dataclass(frozen=True)
class DatasetFact:
    """The dataset of a run, as MLflow shows it beside the run."""

    name: str  # for example "flair-1"
    digest: str  # of the catalog; MLflow shows the first 36 characters
    source: str  # a path or an address
    patches: Mapping[str, int] = field(default_factory=dict)  # the number of patches of each domain
    context: str = "benchmark"  # what the run used it for, shown beside the name

    def entity(self) -> Any:
        """Return the `mlflow.entities.DatasetInput`."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = {"num_rows": sum(self.patches.values()), **{f"patches in {d}": n for d, n in self.patches.items()}}
        source = json.dumps({"uri": self.source})
        dataset = Dataset(self.name, self.digest[:DIGEST_LENGTH], "local", source, profile=json.dumps(profile))
        return DatasetInput(dataset, [InputTag("mlflow.data.context", self.context)])


@dataclass(frozen=True)
class RunInfo:
    """The labels of a run."""

    name: str  # as shown in the UI, for example "advent · north · s0"
    facts: Mapping[str, str]  # each is written as a param (all that charts offer) and as a tag (for search)
    tags: Mapping[str, str]  # further ones
    dataset: DatasetFact | None = None
    started: float = 0.0  # seconds since the epoch


@dataclass(frozen=True)
class Summary:
    """A summary run to be written: of a method in a comparison, or of the folds.

    Its metrics have names of their own ("summary/..."), so that the UI never averages them with runs of jobs; a NaN is
    left out.
    """

    name: str  # usually the method's
    facts: Mapping[str, Fact]  # each is written as a param and as a tag
    metrics: Mapping[str, float]
    artifacts: Sequence[Path] = ()  # files to keep beside it
    curves: Mapping[int, Mapping[str, float]] = field(default_factory=dict)  # further metrics, by step

    @property
    def key(self) -> str:
        """The key within its experiment: the name, and the comparison that it is of."""
        comparison = self.facts.get("comparison", "")
        return f"{self.name} ({comparison})" if comparison else self.name

    @property
    def curve(self) -> Curve:
        """The metrics that have a value, at step 0, and then those of the curves; raises TrackingError for others."""
        steps = [(0, self.metrics), *sorted(self.curves.items(), key=lambda item: item[0])]
        return [(step, checked_metrics(metrics)) for step, metrics in steps]

    @property
    def digest(self) -> str:
        """Digest of facts, numbers and files: a summary that says the same has the same."""
        (_, metrics), *curves = self.curve
        content = [self.name, checked_facts(self.facts), metrics, curves]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        for path in self.artifacts:
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()[:16]
