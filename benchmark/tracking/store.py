"""The MLflow store of one results folder: experiments, runs and what can be asked of them."""

import contextlib
import json
import re
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import AlreadyTaken, TrackingError
from benchmark.tracking import view
from benchmark.tracking.database import locked, told
from benchmark.tracking.limits import (
    BATCH_FACTS,
    EXPERIMENT_TAG_LENGTH,
    PARAM_LENGTH,
    Fact,
    checked_facts,
    checked_metrics,
    checked_text,
)
from benchmark.tracking.owner import how_it_went, this_process, this_task
from benchmark.tracking.reader import Reader
from benchmark.tracking.runs import IDENTITY, KIND, OWNER, TASK, DatasetFact, Run, RunRecord
from benchmark.tracking.summaries import Summary

NOTE = "mlflow.note.content"


class Tracker(Reader):
    """The MLflow store of one results folder: its own, or that of the server it is connected to.

    Each process makes its own tracker; any number may write at once. A folder with a store of its own may be moved or
    copied to another machine: nothing in the store knows its path. Artifacts are addressed as `mlflow-artifacts:/...`,
    which a server resolves: the one started by `serve` to `<results>/artifacts`.

    Args:
        results: the folder; made if it is missing.

    Raises:
        TrackingError: if the folder cannot be written or the store cannot be read.
    """

    def __init__(self, results: Path):
        super().__init__(results)
        self._client = self._store.open_client()
        self._seen: dict[str, list[str]] = {}

    def experiment(self, name: str, description: str = "", tags: Mapping[str, Fact] | None = None) -> str:
        """The id of an experiment, created on the first call, and anew if it was deleted in the UI.

        Args:
            name: one for each protocol version.
            description: Markdown; see `describe`.
            tags: facts of the protocol, for example its fingerprint.

        Raises:
            TrackingError: if a text is too long.
        """
        texts = {key: checked_text(key, value, EXPERIMENT_TAG_LENGTH) for key, value in (tags or {}).items()}
        # Without this tag the UI asks every visitor what kind of experiment it is.
        texts["mlflow.experimentKind"] = "custom_model_development"
        # The lock, because MLflow fails where two processes create one experiment, or one tag of it.
        with told(f"the experiment {name!r} cannot be used"), locked(self.results):
            found = self._client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage == "deleted":
                self._release_name(found)
                found = None
            if found is None:
                folder = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "experiment"
                found = self._client.get_experiment(
                    self._client.create_experiment(name, f"mlflow-artifacts:/{folder}", texts)
                )
            id = str(found.experiment_id)
            self._set_tags(found, texts)
            with contextlib.suppress(TrackingError):  # undocumented tags: a future MLflow may refuse them
                self._set_tags(found, view.tags())
        if description:
            self.describe(id, description)
        return id

    def _release_name(self, experiment: Any) -> None:
        """Rename a deleted experiment, whose name MLflow keeps taken; it can rename only what is not deleted."""
        self._client.restore_experiment(experiment.experiment_id)
        self._client.rename_experiment(
            experiment.experiment_id, f"{experiment.name} (deleted, {experiment.experiment_id})"
        )
        self._client.delete_experiment(experiment.experiment_id)

    def _set_tags(self, experiment: Any, tags: Mapping[str, str]) -> None:
        with told(f"the experiment {experiment.name!r} cannot be tagged"):
            for key, text in tags.items():
                if experiment.tags.get(key) != text:
                    self._client.set_experiment_tag(experiment.experiment_id, key, text)

    def describe(self, experiment: str, markdown: str) -> None:
        """Set the note on top of an experiment's page; the links to its views are put in front.

        Raises:
            TrackingError: if it is longer than MLflow keeps (20,000 characters).
        """
        text = f"{view.links(experiment)}\n\n{markdown}"
        checked_text("description", text, EXPERIMENT_TAG_LENGTH)
        with told("the experiment cannot be described"):
            self._client.set_experiment_tag(experiment, NOTE, text)

    def tag(self, experiment: str, key: str, text: str) -> None:
        """Set one tag of an experiment.

        Raises:
            TrackingError: if the text is longer than MLflow keeps (20,000 characters).
        """
        checked_text(key, text, EXPERIMENT_TAG_LENGTH)
        with told("the experiment cannot be tagged"):
            self._client.set_experiment_tag(experiment, key, text)

    def untag(self, experiment: str, key: str) -> None:
        """Remove a tag of an experiment."""
        with told("the experiment cannot be tagged"):
            self._client.delete_experiment_tag(experiment, key)

    def discard(self, records: Sequence[RunRecord]) -> None:
        """Delete runs with their files."""
        with told("the runs cannot be deleted"):
            for record in records:
                self._store.discard(record)

    def start(
        self,
        experiment: str,
        name: str,
        facts: Mapping[str, Fact],
        identity: str,
        dataset: DatasetFact | None = None,
    ) -> Run:
        """Start the run of a cell, owned by the calling process.

        Args:
            experiment: its id.
            name: as shown in the UI, for example "advent | north | seed 0".
            facts: each is written as a param (all that charts offer) and as a tag (for search).
            identity: of the cell (design, law 3).
            dataset: shown beside the run.

        Raises:
            TrackingError: if a fact does not fit.
            AlreadyTaken: if a run of this identity is finished, or a living process is at it.
        """
        texts = checked_facts({**facts, IDENTITY: identity})
        checked_text("name", name, PARAM_LENGTH)
        (look,) = self._looks(experiment, [texts.get("method")])
        tags = {KIND: "cell", OWNER: this_process(), **look}
        if task := this_task():
            tags[TASK] = task
        with locked(self.results):  # two processes that ask at the same time must not both get it
            mine = f"tags.`{IDENTITY}` = '{texts[IDENTITY]}'"
            # That there are none, as nearly always, a file tells in a tenth of the time that MLflow's search takes.
            others = self._search(experiment, mine) if self.cells(experiment, texts[IDENTITY]) else []
            if any(run.info.status == "FINISHED" for run in others):
                raise AlreadyTaken(f"{name} is finished in another process")
            at_it = [run for run in others if run.info.status == "RUNNING"]
            if len(self._store.gone(at_it)) < len(at_it):
                raise AlreadyTaken(f"{name} is being run by another process")
            return self._start(experiment, name, texts, tags, dataset, alive=True)

    def summaries(self, experiment: str) -> list[RunRecord]:
        """All summary runs, oldest first."""
        return self._store.records(experiment, "summary")

    def finished(self, experiment: str, identity: str = "") -> dict[str, RunRecord]:
        """The finished run of each identity, or of the one; the newest, where there are several."""
        return {record.identity: record for record in self.cells(experiment, identity) if record.status == "FINISHED"}

    def tag_run(self, run: str, key: str, value: Fact) -> None:
        """Set a tag of a run that may be finished."""
        with told(f"run {run} cannot be tagged"):
            self._client.set_tag(run, key, checked_text(key, value, PARAM_LENGTH))

    def find(self, prefix: str) -> RunRecord:
        """The finished run of a cell by its id, or by as many of its first characters as tell it from all others.

        Raises:
            TrackingError: there is none, there are several, or it is another kind of run; the message says which.
        """
        found: list[Any] = []
        if re.fullmatch("[0-9a-f]*", prefix):
            with told("the runs cannot be read"):
                experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
                found = list(self._client.search_runs(experiments, f"attributes.run_id LIKE '{prefix}%'"))
        if not found:
            raise TrackingError(f"there is no run with an id that begins with {prefix!r} in {self.results}")
        if len(found) > 1:
            raise TrackingError(
                f"the ids of {len(found)} runs in {self.results} begin with {prefix!r}; give more of it"
            )
        (run,) = found
        name = f"{run.info.run_id} ({run.info.run_name})"
        if run.data.tags.get(KIND) != "cell":
            raise TrackingError(f"{name} is a summary of runs; it was not trained itself")
        if run.info.status != "FINISHED":
            raise TrackingError(f"the run {name} is not finished: it is {run.info.status}")
        same = self.cells(run.info.experiment_id, run.data.tags.get(IDENTITY, ""))
        return next(record for record in same if record.id == run.info.run_id)

    def source(self, run: str) -> str:
        """Where the data of a run lay, as `DatasetFact.source`; "" where it has none."""
        with told(f"the run {run} cannot be read"):
            inputs = self._client.get_run(run).inputs.dataset_inputs
        try:
            return str(json.loads(inputs[0].dataset.source)["uri"]) if inputs else ""
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TrackingError(f"where the data of the run {run} lay cannot be read: {error!r}") from error

    def history(self, run: str, metric: str) -> list[tuple[int, float]]:
        """Every (step, value) of a metric, in the order they were logged."""
        with told(f"the metrics of run {run} cannot be read"):
            return [(entry.step, entry.value) for entry in self._client.get_metric_history(run, metric)]

    def close_stale(self, experiment: str) -> int:
        """Close runs that a killed process left RUNNING, as KILLED; returns how many.

        A run is left alone if its process is alive. Of a process of another host that is known by its signs of life
        (`benchmark.tracking.heartbeat`); without any the run is left alone, too.
        """
        running = self._search(experiment, "attributes.status = 'RUNNING'")
        gone = self._store.gone(running)
        for run in running:
            if run.info.run_id in gone:
                self._store.close(run, how_it_went(run.data.tags.get(OWNER, "")))
        return len(gone)

    def close_task(self, experiment: str, task: str, reason: str) -> list[str]:
        """Close the runs that a task of Slurm left RUNNING, as KILLED; returns their identities.

        Args:
            task: one that has ended, or that has just begun again.
            reason: told as the runs' error.
        """
        running = f"attributes.status = 'RUNNING' and tags.`{TASK}` = '{task}'"
        left = self._search(experiment, running)
        for run in left:
            self._store.close(run, reason)
        return [run.data.tags.get(IDENTITY, "") for run in left]

    def summarise(self, experiment: str, *summaries: Summary) -> list[str]:
        """Write summary runs; returns their ids.

        One that says the same is kept. Otherwise a new one takes its place and the old one is deleted: params cannot
        change, and a number that is no longer known must not stay.

        Raises:
            TrackingError: if a fact or a metric cannot be logged; then of this summary nothing is written.
        """
        looks = self._looks(experiment, [summary.facts.get("method") for summary in summaries])
        with locked(self.results), told("the summaries cannot be written"):
            old = self._store.records(experiment, "summary")
            return [self._summarise(experiment, *one, old) for one in zip(summaries, looks, strict=True)]

    def _summarise(self, experiment: str, summary: Summary, look: Mapping[str, str], old: Sequence[RunRecord]) -> str:
        kept = next((run.id for run in old if summary.is_in(run)), None)
        if kept is None:
            facts = checked_facts(summary.facts)
            new = self._start(experiment, summary.name, facts, {KIND: "summary", **look}, metrics=summary.metrics)
            for step, values in summary.curves.items():
                new.log(values, step)
            for path in summary.artifacts:
                new.artifact(path)
            new.finish()
        for run in old:
            if run.name == summary.name and run.id != kept:
                self._store.discard(run)
        return str(kept or new.id)

    def keep_summaries(self, experiment: str, names: Collection[str]) -> None:
        """Delete the summaries of all others: they belong to another comparison."""
        with locked(self.results), told("old summaries cannot be deleted"):
            for run in self._store.records(experiment, "summary"):
                if run.name not in names:
                    self._store.discard(run)

    def _start(
        self,
        experiment: str,
        name: str,
        facts: Mapping[str, str],
        tags: Mapping[str, str],
        dataset: DatasetFact | None = None,
        metrics: Mapping[str, float] | None = None,
        *,
        alive: bool = False,
    ) -> Run:
        from mlflow.entities import Metric, Param

        entity = dataset.entity() if dataset else None
        with told(f"the run {name!r} cannot be started"):
            run = self._client.create_run(experiment, tags={**facts, **tags}, run_name=name)
            if alive:
                self._store.settle(run, name)
            opened = self._store.opened(run, alive=alive)
            params = [Param(key, text) for key, text in facts.items()]
            now = int(time.time() * 1000)
            # In one call with the first params, because a call takes as long as some hundred values.
            values = [Metric(key, value, now, 0) for key, value in checked_metrics(metrics or {}).items()]
            for first in range(0, max(len(params), 1), BATCH_FACTS):
                self._client.log_batch(run.info.run_id, values, params[first : first + BATCH_FACTS])
                values = []
            if entity is not None:
                self._client.log_inputs(run.info.run_id, [entity])
        return opened

    def _looks(self, experiment: str, methods: Sequence[Fact | None]) -> list[dict[str, str]]:
        """For each method the tags that make the UI show it in one colour: its summary and all its cells."""
        named = [str(method) for method in methods if method is not None]
        known = self._seen.get(experiment, [])
        if not set(named) <= set(known):
            with told("the colours of the methods cannot be chosen"), locked(self.results):
                before = self._methods(experiment)
                known = list(dict.fromkeys([*before, *named]))
                text = json.dumps(known)
                if len(text) > EXPERIMENT_TAG_LENGTH:
                    known = before
                elif known != before:
                    self._client.set_experiment_tag(experiment, view.METHODS_TAG, text)
            self._seen[experiment] = known  # to read it again for every run would take as long as to start one
        tags = {"mlflow.source.name": "landshift", "mlflow.source.type": "LOCAL"}
        return [
            tags if method is None else {**tags, "mlflow.runColor": view.color(str(method), known)}
            for method in methods
        ]

    def _methods(self, experiment: str) -> list[str]:
        """The methods seen in an experiment, in the order of their colours."""
        text = self._client.get_experiment(experiment).tags.get(view.METHODS_TAG, "[]")
        try:
            return [str(method) for method in json.loads(text)]
        except (ValueError, TypeError, RecursionError):
            return []  # the colours begin anew

    def _search(self, experiment: str, condition: str) -> list[Any]:
        """Runs of cells, oldest first."""
        wanted = f"tags.`{KIND}` = 'cell' and {condition}"
        found: list[Any] = []
        token = None
        with told("the runs cannot be read"):
            while True:
                page = self._client.search_runs(
                    [experiment], wanted, max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
                )
                found += page
                token = page.token
                if not token:
                    return found
