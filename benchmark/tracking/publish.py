"""Runs in MLflow: written live while they are trained, or whole from what is recorded of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.common.errors import TrackingError
from benchmark.tracking.client import NOTE, Client, one_line_errors
from benchmark.tracking.limits import BATCH_FACTS, BATCH_METRICS, Fact, checked_facts
from benchmark.tracking.records import KIND, Curve, RunInfo, Summary
from benchmark.tracking.runs import store_files
from benchmark.tracking.ui_views import HEADLINES, run_note

FLUSH_METRICS = 500
FLUSH_SECONDS = 30.0


class LiveRun:
    """A run that is being written: its curves can be watched in MLflow.

    Metrics are buffered, because MLflow takes 9 ms for one and 0.3 ms for one of many. When MLflow fails, the run stops
    being live: `problem` says why, and the run is to be published whole later. Its experiment, by name, gets the facts
    of the protocol as tags.
    """

    def __init__(
        self, client: Client, experiment: str, info: RunInfo, experiment_tags: Mapping[str, Fact] | None = None
    ) -> None:
        self.id, self.problem = "", ""
        self._client, self._info = client, info
        self._buffer: list[Any] = []
        self._last: dict[str, float] = {}
        self._flushed = time.monotonic()
        self._try(self._open, experiment, experiment_tags)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log checked metrics of one step."""
        self._add([(step, metrics)], time.time())
        if len(self._buffer) >= FLUSH_METRICS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._try(self._flush)

    def finish(
        self, status: str, tags: Mapping[str, str], files: Path | Sequence[Path] = (), ended: float = 0.0
    ) -> bool:
        """End the run with its last tags and its files; return whether MLflow has all of it.

        Args:
            status: FINISHED, FAILED or KILLED.
            tags: the last tags.
            files: the files, or the folder that holds them.
            ended: time of the end in seconds since the epoch, 0 for now.
        """
        self._try(self._flush)
        self._try(self._end, status, tags, files, ended)
        return not self.problem

    def write_whole(
        self, curve: Curve, status: str, tags: Mapping[str, str], files: Path | Sequence[Path], ended: float = 0.0
    ) -> str:
        """Log the curve and `finish`, instead of live; return its id, or raise a `TrackingError`."""
        self._add(curve, self._info.started)
        if not self.finish(status, tags, files, ended):
            raise TrackingError(self.problem)
        return self.id

    def _try(self, action: Callable[..., None], *given: Any) -> None:
        """Do the next step, unless one before it has failed."""
        try:
            if not self.problem:
                with one_line_errors(f"the run {self._info.name!r} cannot be published"):
                    action(*given)
        except TrackingError as error:
            self.problem, self._buffer = str(error), []

    def _open(self, experiment: str, experiment_tags: Mapping[str, Fact] | None) -> None:
        info, place, api = self._info, self._client.experiment(experiment, experiment_tags), self._client.api
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        tags = {"mlflow.source.name": "landshift", "mlflow.source.type": "LOCAL", **info.facts, **info.tags}
        run = api.create_run(place, int(info.started * 1000) or None, tags, info.name).info
        self.id, self._uri = str(run.run_id), run.artifact_uri
        self._log_batches("params", [Param(key, text) for key, text in info.facts.items()], BATCH_FACTS)
        if info.dataset is not None:
            try:
                api.log_inputs(self.id, [info.dataset.entity()])
            except MlflowException:  # a run that is the experiment's first with it, too, has added it to the tables
                api.log_inputs(self.id, [info.dataset.entity()])

    def _add(self, curve: Curve, at: float) -> None:
        if self.problem:
            return
        from mlflow.entities import Metric

        for step, metrics in curve:
            self._buffer += [Metric(key, value, int(at * 1000), step) for key, value in metrics.items()]
            self._last |= metrics

    def _flush(self) -> None:
        """Write the metrics; the run's page shows them in the order in which they came first."""
        metrics = sorted(self._buffer, key=lambda metric: metric.key not in HEADLINES)
        self._log_batches("metrics", metrics, BATCH_METRICS)
        self._buffer, self._flushed = [], time.monotonic()

    def _end(self, status: str, tags: Mapping[str, str], files: Path | Sequence[Path], ended: float) -> None:
        from mlflow.entities import RunTag

        paths = sorted(files.iterdir()) if isinstance(files, Path) else files
        store_files(self._client, self.id, self._uri, paths)
        note = tags.get("error", "") or run_note(self._last)  # what the run has come to, or why it has not
        texts = {**({NOTE: note} if note else {}), **tags}
        self._log_batches("tags", [RunTag(key, text) for key, text in texts.items()], BATCH_FACTS)
        self._client.api.set_terminated(self.id, status, int(ended * 1000) or None)

    def _log_batches(self, kind: str, entities: Sequence[Any], size: int) -> None:
        for first in range(0, len(entities), size):
            self._client.api.log_batch(self.id, **{kind: entities[first : first + size]})


def publish_summary(client: Client, experiment: str, summary: Summary, tags: Mapping[str, str]) -> str:
    """Write a summary run; return its id, or raise a `TrackingError`, also if a fact or a metric is refused."""
    info = RunInfo(summary.name, checked_facts(summary.facts), {**tags, KIND: "summary"}, started=time.time())
    curve = summary.curve  # refuses before the run is created
    return LiveRun(client, experiment, info).write_whole(curve, "FINISHED", {}, summary.artifacts)
