"""A results folder: its jobs, their runs and what else is known of an experiment, and their publication in MLflow."""

import logging
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.common.errors import DataError, TrackingError
from benchmark.experiments.database import Database
from benchmark.experiments.publications import Publications
from benchmark.experiments.queue import DONE, EXPIRED, FAILED, PRUNED, QUEUED, RUNNING, JobRow, Queue
from benchmark.experiments.run_folder import (
    RECORD,
    FetchedFiles,
    Files,
    attempt_folders,
    folder_of,
    read_run,
    savepoints_of,
)
from benchmark.experiments.run_record import RunRecord, run_name
from benchmark.tracking import (
    Client,
    LiveRun,
    Summary,
    close_run,
    delete_run,
    fetch_file,
    publish_summary,
    read_settings,
    runs_of,
    sqlite_address,
    tag_run,
)
from benchmark.tracking.ui_views import color

ABOUT, SUMMARIES, METHODS = "about", "summaries", "methods"  # names of documents
LOOK_EVERY = 1.0  # seconds
STATUS = {DONE: "FINISHED", FAILED: "FAILED", PRUNED: "KILLED", QUEUED: "KILLED"}
logger = logging.getLogger(__name__)


class ResultsFolder:
    """A results folder: its jobs, files and publications.

    Args:
        folder: the results folder; made if it is missing.

    Raises:
        SettingsError: its settings are wrong.
        TrackingError: the database cannot be used, or the folder is of an earlier version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        settings = read_settings(self.folder)
        if (self.folder / "mlflow.db").exists() and _is_old(self.folder):
            raise TrackingError(
                f"{folder} was written by an earlier version of landshift, which kept its jobs in mlflow.db; read it "
                "with that version, and name another folder with --results"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrackingError(f"the results folder {folder} cannot be used: {error.strerror}") from error
        self.database = Database(settings.database)
        self.queue = Queue(self.database, settings.lease, settings.kills)
        self.publications = Publications(self.database, settings.lease)

    @cached_property
    def client(self) -> Client:
        """The MLflow client; nothing is opened before it is used."""
        return Client(self.folder)

    # Jobs and their runs

    def experiments(self) -> list[str]:
        """Return the names of all experiments, in the order they were made."""
        return self.publications.experiments()

    def runs(self, experiment: str, keys: Collection[str] | None = None) -> list[RunRecord]:
        """Return the runs of an experiment's jobs that were begun, in the order the jobs were added.

        Args:
            keys: keys of the jobs; None for all.
        """
        rows = self.queue.rows(experiment, keys)
        return [self._record(row) for row in rows if row.state != QUEUED or row.error]  # of a re-requested one nothing

    def finished(self, experiment: str, keys: Collection[str] | None = None) -> dict[str, RunRecord]:
        """Return the finished runs by key."""
        return {run.id: run for run in self.runs(experiment, keys) if run.status == "FINISHED"}

    def find(self, prefix: str) -> RunRecord:
        """Return a finished run by the first characters of its job's key or of its id in MLflow.

        Raises:
            TrackingError: there is none or several, or it is not finished.
        """
        matches = self.publications.find(prefix) if re.fullmatch("[0-9a-f]+", prefix) else []
        keys = dict.fromkeys(key for key, _ in matches)
        if len(keys) != 1:
            what = f"the ids of {len(keys)} runs begin with" if keys else "there is no run with an id that begins with"
            raise TrackingError(f"{what} {prefix!r} in {self.folder}" + "; give more of it" * bool(keys))
        key, experiment = matches[0]
        for run in self.runs(experiment, [key]):
            if run.status == "FINISHED":
                return run
            raise TrackingError(f"the run {key} ({run.name}) is not finished: it is {run.status}")
        raise TrackingError(f"the run {key} is not finished: it was not begun")

    def _record(self, row: JobRow) -> RunRecord:
        status = STATUS.get(row.state, "KILLED" if row.expired else "RUNNING")
        error = row.error or (EXPIRED if row.expired else "interrupted" if status == "KILLED" else "")
        return RunRecord(
            id=row.key,
            name=run_name(row.facts),
            status=status,
            facts=row.facts,
            metrics=row.metrics,
            tags={**row.tags, **row.shown},
            error=error if status in ("FAILED", "KILLED") else None,
            artifacts=self.files(row.key, row.run if row.published else ""),
            started=row.started,
            ended=row.ended if row.state in (DONE, FAILED, PRUNED) else None,
            progress=row.progress,
            run=row.run,
        )

    def files(self, key: str, run: str = "") -> Files:
        """Return the files of a job's run; those that only MLflow has are downloaded when they are read."""
        folder = folder_of(self.folder, key)
        is_here = self.client.is_own or not run or self._is_here(key)
        return folder if is_here else FetchedFiles(folder, self.client, run)

    def whole_run(self, key: str) -> str:
        """Return an MLflow run that shows a finished job whole, "" if there is none.

        Wait while a process publishes it, most likely one on the machine that trained the job.
        """
        while True:
            run, is_busy = self.publications.whole(key)
            if run or not is_busy:
                return run
            time.sleep(LOOK_EVERY)

    def remove(self, experiment: str, keys: Collection[str]) -> None:
        """Remove jobs from an experiment, and delete those that no other one shows, with their files and savepoints.

        Raises:
            TrackingError: MLflow cannot be used.
        """
        for run in self.publications.runs(keys, experiment):
            delete_run(self.client, run)
        self.publications.remove(keys, experiment)
        gone = self.queue.remove_unpublished(keys)
        for key in gone:
            shutil.rmtree(folder_of(self.folder, key), ignore_errors=True)
            shutil.rmtree(savepoints_of(self.folder, key), ignore_errors=True)

    # Documents

    def document(self, experiment: str, name: str, kind: type = dict) -> Any:
        """Return a document of an experiment; None if there is none.

        Args:
            kind: type of its outermost value.

        Raises:
            DataError: it is damaged, or of another kind.
        """
        content = self.database.documents(experiment, name).get(name)
        if content is not None and not isinstance(content, kind):
            raise DataError(f"{name} of {experiment}, in the database: not a JSON {kind.__name__}")
        return content

    def describe(self, experiment: str, description: str, facts: Mapping[str, str]) -> None:
        """Note what an experiment is about, which makes it known."""
        about = {"description": description, "facts": dict(facts)}
        if self.document(experiment, ABOUT) != about:
            self.database.edit(experiment, ABOUT, lambda old: about)

    def about(self, experiment: str) -> dict[str, Any]:
        """Return description and facts of an experiment."""
        return self.document(experiment, ABOUT) or {"description": "", "facts": {}}

    def look(self, experiment: str, method: str) -> dict[str, str]:
        """Return the tags by which the MLflow UI shows a method's runs in one colour."""
        methods = self.document(experiment, METHODS, list) or []
        if method not in methods:
            add: Callable[[Any], Any] = lambda old: list(dict.fromkeys([*(old or []), method]))  # noqa: E731
            methods = self.database.edit(experiment, METHODS, add)
        return {"mlflow.runColor": color(method, methods)}

    # Publication in MLflow

    def deliver(self, experiment: str, keys: Collection[str] | None = None) -> str:
        """Publish the ended jobs that MLflow does not show whole; return why that failed, "" where it did not.

        Args:
            keys: keys of the jobs; None for all.
        """
        rows = self.queue.rows(experiment, keys)
        waiting = [row for row in rows if not row.published and row.state in (DONE, FAILED, PRUNED)]
        left, why = len(waiting), ""
        try:
            for row in waiting:
                claimed = self._claim(row, experiment)
                if claimed is None:
                    left -= 1
                    continue
                try:
                    self._publish(claimed, experiment)
                    left -= 1
                except DataError as error:  # of this run alone
                    why = str(error)
                finally:
                    self.publications.free(row.key, experiment)
        except TrackingError as error:
            why = str(error)
        return f"{left} runs are not in MLflow yet: {why}. The next command publishes them" if why else ""

    def _claim(self, row: JobRow, experiment: str) -> JobRow | None:
        """Return an ended job as it is when this process may publish it; None where another process has done it.

        Waits while another process has the claim: its files are needed next, or it was killed, and its lease runs out.
        """
        while not row.published:
            if self.publications.claim(row.key, experiment, row.run, row.attempts):
                return row
            time.sleep(LOOK_EVERY)
            rows = self.queue.rows(experiment, [row.key])
            if not rows or rows[0].state not in (DONE, FAILED, PRUNED):
                return None  # removed, or requested again
            row = rows[0]
        return None

    def _publish(self, row: JobRow, experiment: str) -> None:
        """Publish a job whole, in the place of its run if it has one.

        Raises:
            TrackingError: MLflow cannot be used.
            DataError: the run's files are damaged, or on another machine.
        """
        folder = folder_of(self.folder, row.key)
        if not self._is_here(row.key) and row.state == DONE:  # trained on another machine
            run, _ = self.publications.whole(row.key)  # others may lack files
            if not run:
                raise DataError(f"the files of {run_name(row.facts)} are not in {folder}, but where it was trained")
            fetch_file(self.client, run, "", folder)
        if not self._is_here(row.key):
            if row.run:  # its worker was killed
                close_run(self.client, row.run, row.error, STATUS[row.state])
            self.publications.note(row.key, experiment, row.run, row.attempts)
            return
        info, record, curve = read_run(folder)
        look = self.look(experiment, info.facts.get("method", ""))
        info = replace(info, tags={**info.tags, **row.shown, **look})
        tags = {**record["end_tags"], **({"error": row.error} if row.error else {})}
        facts = self.about(experiment)["facts"]
        self.delete_runs(row.key, experiment, row.run)
        live = LiveRun(self.client, experiment, info, facts)
        self.publications.note(row.key, experiment, live.id, -1)  # at once, so that what is cut short is deleted later
        run = live.write_whole(curve, STATUS[row.state], tags, folder, row.ended)
        self.publications.note(row.key, experiment, run, row.attempts)

    def delete_runs(self, key: str, experiment: str, noted: str, but: str = "") -> None:
        """Delete the MLflow runs of a job that were cut short; a killed process may not have noted its own.

        Args:
            noted: the run that is noted as the job's.
            but: stays.

        Raises:
            TrackingError: MLflow cannot be used.
        """
        self.client.experiment(experiment, self.about(experiment)["facts"])
        for run in {noted, *runs_of(self.client, experiment, key)} - {"", but}:
            delete_run(self.client, run)

    def _is_here(self, key: str) -> bool:
        return (folder_of(self.folder, key) / RECORD).is_file()

    def tag(self, experiment: str, name: str, values: Mapping[str, str]) -> None:
        """Give runs of an experiment a tag, and take it from all others.

        Args:
            name: name of the tag.
            values: value of the tag, by the job's key.

        Raises:
            TrackingError: MLflow cannot be used.
        """
        rows = [row for row in self.queue.rows(experiment) if row.shown.get(name) != values.get(row.key)]
        for row in rows:
            if row.run:
                tag_run(self.client, row.run, name, values.get(row.key))
        self.publications.tag(experiment, name, {row.key: values.get(row.key) for row in rows})

    def close_expired(self) -> None:
        """Put jobs with an expired lease back into the queue, and mark their runs in MLflow as killed.

        Files that killed workers left half written are removed.
        """
        keys = self.queue.requeue_expired()
        for run in self.publications.runs(keys) if keys else ():
            try:
                close_run(self.client, run, EXPIRED)
            except TrackingError as error:
                logger.warning("%s", error)
                break  # the others most likely cannot be closed, either
        attempts = attempt_folders(self.folder)  # before the rows, so that each has its claim there
        rows = {row.key: row for row in self.queue.rows(keys={key for _, key, _ in attempts})} if attempts else {}
        for path, key, attempt in attempts:
            if key not in rows or (rows[key].state, rows[key].attempts) != (RUNNING, attempt):
                shutil.rmtree(path, ignore_errors=True)

    def summarise(self, experiment: str, *summaries: Summary) -> None:
        """Publish summary runs; those that say the same as before stay, others are replaced.

        Raises:
            TrackingError: MLflow cannot be used, or refuses a fact or a metric.
        """
        before = self.document(experiment, SUMMARIES) or {}
        for summary in summaries:
            digest = summary.digest
            old = before.get(summary.key, {})
            if old.get("digest") != digest:
                method = str(summary.facts.get("method", ""))
                run = publish_summary(self.client, experiment, summary, self.look(experiment, method) if method else {})
                facts = {name: str(value) for name, value in summary.facts.items()}
                self._edit_summaries(experiment, {summary.key: {"run": run, "digest": digest, "facts": facts}})
                if old:
                    delete_run(self.client, old["run"])

    def summaries(self, experiment: str) -> dict[str, dict[str, str]]:
        """Return the facts of all summary runs, by their keys (`Summary.key`)."""
        return {name: content["facts"] for name, content in (self.document(experiment, SUMMARIES) or {}).items()}

    def remove_summaries(self, experiment: str, names: Iterable[str]) -> None:
        """Delete summary runs.

        Args:
            names: their keys.

        Raises:
            TrackingError: MLflow cannot be used.
        """
        summaries = self.document(experiment, SUMMARIES) or {}
        for name in names:
            if name in summaries:
                delete_run(self.client, summaries[name]["run"])
                self._edit_summaries(experiment, {name: None})

    def _edit_summaries(self, experiment: str, changes: Mapping[str, Any]) -> None:
        def change(old: Any) -> Any:
            return {name: value for name, value in {**(old or {}), **changes}.items() if value is not None}

        self.database.edit(experiment, SUMMARIES, change)


def has_results(folder: Path) -> bool:
    """Return whether a results folder has a job database; `ResultsFolder` makes one."""
    file = folder.resolve() / "jobs.db"
    return read_settings(folder).database != sqlite_address(file) or file.is_file()


def _is_old(folder: Path) -> bool:
    return not (folder / "jobs.db").exists() and not (folder / "settings.toml").exists()
