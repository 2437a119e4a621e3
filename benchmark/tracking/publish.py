"""Runs in MLflow: written live while they are trained, or whole from what is recorded of them."""

import json
import re
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.common.errors import LandshiftError, Stopped, TrackingError
from benchmark.tracking.artifacts import store_files
from benchmark.tracking.client import NOTE, Client, one_line_errors
from benchmark.tracking.limits import BATCH_FACTS, BATCH_METRICS, DIGEST_LENGTH, Fact, checked_facts
from benchmark.tracking.summaries import Summary
from benchmark.tracking.ui_views import HEADLINES, run_note

KIND = "landshift.kind"  # the tag that tells runs of jobs, "cell", from summaries
FLUSH_METRICS = 500
FLUSH_SECONDS = 30.0
ERROR_LENGTH = 500
Curve = Sequence[tuple[int, Mapping[str, float]]]
"""Metrics by step, in the order they were logged."""


@dataclass(frozen=True)
class DatasetFact:
    """The dataset of a run, as MLflow shows it beside the run.

    Attributes:
        name: for example "flair-1".
        digest: of the catalog; MLflow shows the first 36 characters.
        source: a path or an address.
        patches: the number of patches of each domain.
        context: what the run used it for, shown beside the name.
    """

    name: str
    digest: str
    source: str
    patches: Mapping[str, int] = field(default_factory=dict)
    context: str = "benchmark"

    def entity(self) -> Any:
        """Return the `mlflow.entities.DatasetInput`."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = {"num_rows": sum(self.patches.values()), **{f"patches in {d}": n for d, n in self.patches.items()}}
        dataset = Dataset(
            name=self.name,
            digest=self.digest[:DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": self.source}),
            profile=json.dumps(profile),
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", self.context)])


@dataclass(frozen=True)
class RunInfo:
    """What a run is labelled with.

    Attributes:
        name: as shown in the UI, for example "advent | north | seed 0".
        facts: each is written as a param (all that charts offer) and as a tag (for search).
        tags: further tags.
        dataset: shown beside the run.
        started: seconds since the epoch.
    """

    name: str
    facts: Mapping[str, str]
    tags: Mapping[str, str]
    dataset: DatasetFact | None = None
    started: float = 0.0


class LiveRun:
    """A run that is being trained: its curves can be watched in MLflow.

    Metrics are buffered, because MLflow takes 9 ms for one and 0.3 ms for one of many. When MLflow fails, the run stops
    being live: `problem` says why, and the run is to be published whole later.

    Args:
        client: of the results folder.
        experiment: name.
        info: labels of the run.
        experiment_tags: facts of the protocol.
    """

    def __init__(
        self, client: Client, experiment: str, info: RunInfo, experiment_tags: Mapping[str, Fact] | None = None
    ) -> None:
        self.id, self.problem = "", ""
        self._client, self._folder = client, None
        self._buffer: list[Any] = []
        self._last: dict[str, float] = {}
        self._flushed = time.monotonic()
        try:
            run = _create(client, client.experiment(experiment, experiment_tags), info)
            self.id, self._uri = run.info.run_id, run.info.artifact_uri
            _label(client, self.id, info)
        except TrackingError as error:
            self.problem = str(error)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log checked metrics of one step."""
        if self.problem:
            return
        self._buffer += _entities([(step, metrics)])
        self._last |= metrics
        if len(self._buffer) >= FLUSH_METRICS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._try(self._flush)

    def finish(self, status: str, tags: Mapping[str, str], folder: Path | None = None) -> bool:
        """End the run; returns whether MLflow has all of it.

        Args:
            status: FINISHED, FAILED or KILLED.
            tags: to be set at last.
            folder: with the artifacts.
        """

        def end() -> None:
            self._flush()
            with one_line_errors(f"the run {self.id} cannot be ended"):
                _end(self._client, self.id, self._uri, status, {**_note(tags, self._last), **tags}, folder)

        if not self.problem:
            self._try(end)
        return not self.problem

    def _try(self, action: Any) -> None:
        try:
            action()
        except TrackingError as error:
            self.problem, self._buffer = str(error), []

    def _flush(self) -> None:
        with one_line_errors(f"metrics of the run {self.id} cannot be logged"):
            _log(self._client, self.id, self._buffer)
        self._buffer, self._flushed = [], time.monotonic()


def publish_run(
    client: Client,
    experiment: str,
    info: RunInfo,
    curve: Curve,
    status: str,
    tags: Mapping[str, str],
    folder: Path,
    ended: float,
    experiment_tags: Mapping[str, Fact] | None = None,
    on_created: Callable[[str], None] = lambda run: None,
) -> str:
    """Write a run whole into MLflow; returns its id.

    Args:
        folder: with the artifacts.
        ended: seconds since the epoch.
        on_created: takes the id as soon as there is one.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    run = _create(client, client.experiment(experiment, experiment_tags), info)
    on_created(run.info.run_id)
    _label(client, run.info.run_id, info)
    with one_line_errors(f"the run {info.name!r} cannot be published"):
        _log(client, run.info.run_id, _entities(curve, info.started))
        last = {name: value for _, metrics in curve for name, value in metrics.items()}
        _end(client, run.info.run_id, run.info.artifact_uri, status, {**_note(tags, last), **tags}, folder, ended)
    return str(run.info.run_id)


def publish_summary(client: Client, experiment: str, summary: Summary, tags: Mapping[str, str]) -> str:
    """Write a summary run; returns its id.

    Raises:
        TrackingError: a fact or a metric is refused, or MLflow cannot be used.
    """
    info = RunInfo(summary.name, checked_facts(summary.facts), {**tags, KIND: "summary"}, started=time.time())
    run = _create(client, client.experiment(experiment), info)
    _label(client, run.info.run_id, info)
    with one_line_errors(f"the summary {summary.name!r} cannot be published"):
        curve = [(0, summary.checked_metrics), *summary.checked_curves.items()]
        _log(client, run.info.run_id, _entities(curve))
        store_files(client, run.info.run_id, run.info.artifact_uri, summary.artifacts)
        client.api.set_terminated(run.info.run_id, "FINISHED")
    return str(run.info.run_id)


def runs_of(client: Client, experiment: str, identity: str) -> list[str]:
    """Return the runs that an experiment shows of a job, of which all but one are left of killed processes.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    place = client.experiment(experiment)
    with one_line_errors(f"the runs of the experiment {experiment!r} cannot be read"):
        found = client.api.search_runs([place], f"tags.identity = '{identity}'")
    return [run.info.run_id for run in found]


def delete_run(client: Client, run: str) -> None:
    """Delete a run with its files, if MLflow has it.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    from mlflow.exceptions import MlflowException

    with one_line_errors(f"the run {run} cannot be deleted"):
        try:
            found = client.api.get_run(run)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return
            raise
        if found.info.lifecycle_stage != "deleted":
            client.api.delete_run(run)
    folder = client.artifact_folder(found.info.artifact_uri)
    if folder is not None:
        shutil.rmtree(folder.parent, ignore_errors=True)


def close_run(client: Client, run: str, error: str, status: str = "KILLED") -> None:
    """End a run whose worker is gone.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    with one_line_errors(f"the run {run} cannot be closed"):
        client.api.set_tag(run, "error", error)
        client.api.set_terminated(run, status)


def tag_run(client: Client, run: str, name: str, value: str | None) -> None:
    """Set a tag of a run, or delete it; of a run that MLflow does not have, nothing is done.

    Args:
        value: None to delete it.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    from mlflow.exceptions import MlflowException

    with one_line_errors(f"the run {run} cannot be tagged"):
        try:
            if value is None:
                client.api.delete_tag(run, name)
            else:
                client.api.set_tag(run, name, value)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # the run was deleted
                raise


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line of at most 500 characters; with its class, unless it is our own."""
    kind = "" if isinstance(error, LandshiftError | Stopped) else f"{type(error).__name__}: "
    text = " ".join(f"{kind}{error}".split()).removesuffix(":")
    return text if len(text) <= ERROR_LENGTH else f"{text[: ERROR_LENGTH - 1]}…"


def trace(error: BaseException) -> str:
    """Return the traceback of an error as text."""
    return "".join(traceback.format_exception(error))


def _create(client: Client, experiment: str, info: RunInfo) -> Any:
    source = {"mlflow.source.name": "landshift", "mlflow.source.type": "LOCAL"}
    with one_line_errors(f"the run {info.name!r} cannot be created"):
        return client.api.create_run(
            experiment,
            start_time=int(info.started * 1000) or None,
            tags={**source, **info.facts, **info.tags},
            run_name=info.name,
        )


def _label(client: Client, run: str, info: RunInfo) -> None:
    """Log the params and the dataset of a run that was created; apart, so that its id is known if this fails."""
    from mlflow.entities import Param

    params = [Param(key, text) for key, text in info.facts.items()]
    with one_line_errors(f"the run {info.name!r} cannot be labelled"):
        for first in range(0, len(params), BATCH_FACTS):
            client.api.log_batch(run, params=params[first : first + BATCH_FACTS])
        if info.dataset is not None:
            _log_dataset(client, run, info.dataset)


def _log_dataset(client: Client, run: str, dataset: DatasetFact) -> None:
    """Log the dataset of a run. Two runs that are the first of an experiment with it both add it to MLflow's tables,
    which refuse one; tried again, it is found there."""
    from mlflow.exceptions import MlflowException

    try:
        client.api.log_inputs(run, [dataset.entity()])
    except MlflowException as error:
        if not re.search("unique constraint|duplicate entry", str(error), re.IGNORECASE):
            raise
        client.api.log_inputs(run, [dataset.entity()])


def _entities(curve: Iterable[tuple[int, Mapping[str, float]]], at: float = 0.0) -> list[Any]:
    from mlflow.entities import Metric

    now = int((at or time.time()) * 1000)
    return [Metric(key, value, now, step) for step, metrics in curve for key, value in metrics.items()]


def _note(tags: Mapping[str, str], last: Mapping[str, float]) -> dict[str, str]:
    """Return what the run's page says first, as a tag: what the run has come to, or why it has not."""
    text = tags.get("error", "") or run_note(last)
    return {NOTE: text} if text else {}


def _log(client: Client, run: str, metrics: Sequence[Any]) -> None:
    """Log metrics; the run's page shows them in the order in which they came first."""
    metrics = sorted(metrics, key=lambda metric: metric.key not in HEADLINES)
    for first in range(0, len(metrics), BATCH_METRICS):
        client.api.log_batch(run, metrics=metrics[first : first + BATCH_METRICS])


def _end(
    client: Client,
    run: str,
    uri: str,
    status: str,
    tags: Mapping[str, str],
    folder: Path | None,
    ended: float = 0.0,
) -> None:
    from mlflow.entities import RunTag

    if folder is not None:
        store_files(client, run, uri, sorted(folder.iterdir()))
    client.api.log_batch(run, tags=[RunTag(key, text) for key, text in tags.items()])
    client.api.set_terminated(run, status, int(ended * 1000) or None)
