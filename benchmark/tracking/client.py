"""The MLflow client of a results folder, its experiments, and MLflow's errors in one line."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.common.errors import TrackingError
from benchmark.common.texts import without_passwords
from benchmark.tracking import ui_views
from benchmark.tracking.limits import EXPERIMENT_TAG_LENGTH, Fact, checked_text
from benchmark.tracking.settings import read_settings, sqlite_address

NOTE = "mlflow.note.content"
WAIT = "?timeout=60"  # seconds for another process to end its transaction; SQLite waits 5 by default
# MLflow repeats calls to a server for minutes otherwise; what a run cannot publish is published later.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # for mlflow = "file:///folder" in settings.toml
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",  # a pooled connection must not cross a fork
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # two processes of the server, for language models
}


def prepare_environment() -> None:
    """Turn off telemetry, connection pools, long retries and progress bars; to be called before MLflow is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for logger in ("alembic", "mlflow.store.db.utils", "urllib3"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # what fails is raised, too


@contextmanager
def one_line_errors(action: str) -> Iterator[None]:
    """Turn an error of MLflow, its database or the disk into a `TrackingError` of one line.

    Args:
        action: begin of the message: what failed, for example "the run cannot be published".
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:  # ImportError: a database's driver
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrackingError(without_passwords(f"{action}: {line}")) from error


class Client:
    """MLflow's client of a results folder, opened on first use, with its experiments by name.

    Every method raises a `TrackingError` if MLflow cannot be used.
    """

    def __init__(self, results: Path) -> None:
        prepare_environment()
        self.results = results.resolve()
        settings = read_settings(results)
        self.uri, self.needs_http = settings.mlflow, settings.needs_http
        self.is_own = self.uri == sqlite_address(self.results / "mlflow.db")
        """Whether the runs are in a SQLite file of the results folder, which may be moved or copied with it."""
        self._client: Any = None
        self._experiments: dict[str, str] = {}

    @property
    def api(self) -> Any:
        """The `MlflowClient`."""
        if self._client is None:
            from mlflow import MlflowClient

            with one_line_errors(f"MLflow at {self.uri} cannot be used"), self._alone():
                if self.is_own and not (file := self.results / "mlflow.db").exists():
                    _create(file)
                address = self.uri + WAIT * self.is_own
                self._client = MlflowClient(address, address)
        return self._client

    def _alone(self) -> FileLock:
        """Return a lock for creating and migrating MLflow's tables and for creating experiments: MLflow has none."""
        self.results.mkdir(parents=True, exist_ok=True)
        return FileLock(self.results / "mlflow.lock")

    def experiment(self, name: str, tags: Mapping[str, Fact] | None = None) -> str:
        """Return the id of an experiment.

        It is created on the first call, and again if it was deleted in the UI; its tags are facts of the protocol.
        """
        if name not in self._experiments:
            api = self.api
            with one_line_errors(f"the experiment {name!r} cannot be used"), self._alone():
                experiment = self._open(api, name)
                # Without this tag the UI asks every visitor what kind of experiment it is.
                self._tag(experiment, {**(tags or {}), "mlflow.experimentKind": "custom_model_development"})
            self._experiments[name] = str(experiment.experiment_id)
        return self._experiments[name]

    def _open(self, api: Any, name: str) -> Any:
        from mlflow.exceptions import MlflowException

        experiment = api.get_experiment_by_name(name)
        if experiment is not None and experiment.lifecycle_stage != "deleted":
            return experiment
        if experiment is not None:  # MLflow keeps its name taken
            api.restore_experiment(experiment.experiment_id)
            api.rename_experiment(experiment.experiment_id, f"{name} (deleted, {experiment.experiment_id})")
            api.delete_experiment(experiment.experiment_id)
        folder = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "experiment"
        own = f"mlflow-artifacts:/{folder}" if self.is_own else (self.results / "artifacts" / folder).as_uri()
        try:
            return api.get_experiment(api.create_experiment(name, None if self.needs_http else own))
        except MlflowException:  # a process with another results folder has created it meanwhile
            if (experiment := api.get_experiment_by_name(name)) is None:
                raise
            return experiment

    def _tag(self, experiment: Any, tags: Mapping[str, Fact]) -> None:
        """Set those tags of an experiment that differ."""
        from mlflow.exceptions import MlflowException

        for key, value in tags.items():
            text = checked_text(key, value, EXPERIMENT_TAG_LENGTH)
            if experiment.tags.get(key) != text:
                try:
                    self.api.set_experiment_tag(experiment.experiment_id, key, text)
                except MlflowException:  # a process with another results folder has added it meanwhile
                    self.api.set_experiment_tag(experiment.experiment_id, key, text)

    def describe(self, experiment: str, markdown: str, views: Sequence[ui_views.View] = ()) -> None:
        """Set the note on top of an experiment's page, with links to its views in front, and the views.

        Views are in the order of the links; others are deleted.
        """
        id = self.experiment(experiment)
        tags = {name: text for view in views for name, text in ui_views.tags(view).items()}
        tags[NOTE] = "\n\n".join(filter(None, [ui_views.links(id, views), markdown]))
        with one_line_errors(f"the experiment {experiment!r} cannot be described"):
            current = self.api.get_experiment(id)
            self._tag(current, tags)
            for key in current.tags:
                if key.startswith(ui_views.PREFIX) and key not in tags:
                    self.api.delete_experiment_tag(id, key)

    def artifact_folder(self, uri: str) -> Path | None:
        """Return the folder of a run's artifacts by its URI; None if MLflow has to store them.

        Only a folder inside the results folder is written to directly.
        """
        scheme, _, place = uri.partition(":/")
        parts = Path(place.lstrip("/")).parts  # the experiment's folder, the run's, which is deleted with the run, ...
        inside = scheme == "mlflow-artifacts" and len(parts) >= 3 and ".." not in parts
        return Path(self.results, "artifacts", *parts) if self.is_own and inside else None


def _create(file: Path) -> None:
    """Create MLflow's SQLite file under another name and move it to its place, so that there is never half of one."""
    from mlflow import MlflowClient

    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    client = MlflowClient(sqlite_address(fresh), sqlite_address(fresh))
    client.delete_experiment("0")  # MLflow's own "Default", which would be the first in every list
    fresh.replace(file)
