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
from benchmark.tracking.settings import read_settings

NOTE = "mlflow.note.content"
WAIT = "?timeout=60"  # seconds for another process to end its transaction; SQLite waits 5 by default
# MLflow repeats calls to a server for minutes otherwise; what a run cannot publish is published later.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # for mlflow = "file:///folder" in settings.toml
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",  # a pooled connection must not cross a fork
}


def prepare_environment() -> None:
    """Turn off telemetry, connection pools, long retries and progress bars; to be called before MLflow is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for logger in ("alembic", "mlflow.store.db.utils", "urllib3"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # what fails is raised, too


@contextmanager
def one_line_errors(action: str) -> Iterator[None]:
    """Turn an error of MLflow, its database or the disk into one line.

    Args:
        action: what failed, for example "the run cannot be published".

    Raises:
        TrackingError: in place of those errors.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:  # ImportError: a database's driver
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrackingError(without_passwords(f"{action}: {line}")) from error


class Client:
    """MLflow's client, opened on first use, with the experiments of a results folder by name.

    Args:
        results: the results folder.

    Raises:
        TrackingError: by every method, if MLflow cannot be used.
    """

    def __init__(self, results: Path) -> None:
        self.results = results.resolve()
        self.uri = read_settings(results).mlflow
        self.is_own = self.uri == f"sqlite:///{self.results / 'mlflow.db'}"
        """Whether the runs are in a SQLite file of the results folder, which may be moved or copied with it."""
        self._client: Any = None
        self._experiments: dict[str, str] = {}

    @property
    def api(self) -> Any:
        """The `MlflowClient`."""
        if self._client is None:
            prepare_environment()
            from mlflow import MlflowClient

            with one_line_errors(f"MLflow at {self.uri} cannot be used"), self._alone():
                file = self.results / "mlflow.db"
                if self.is_own and not file.exists():
                    _create(file)
                address = self.uri + WAIT * self.is_own
                self._client = MlflowClient(address, address)
        return self._client

    def _alone(self) -> FileLock:
        """MLflow creates and migrates its tables, and creates experiments, without a lock."""
        self.results.mkdir(parents=True, exist_ok=True)
        return FileLock(self.results / "mlflow.lock")

    def experiment(self, name: str, tags: Mapping[str, Fact] | None = None) -> str:
        """Return the id of an experiment, which is created on the first call, and again if it was deleted in the UI.

        Args:
            tags: facts of the protocol.
        """
        if name not in self._experiments:
            api = self.api
            with one_line_errors(f"the experiment {name!r} cannot be used"), self._alone():
                self._experiments[name] = self._open_experiment(api, name, tags or {})
        return self._experiments[name]

    def _open_experiment(self, api: Any, name: str, tags: Mapping[str, Fact]) -> str:
        found = api.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":  # MLflow keeps its name taken
            api.restore_experiment(found.experiment_id)
            api.rename_experiment(found.experiment_id, f"{name} (deleted, {found.experiment_id})")
            api.delete_experiment(found.experiment_id)
            found = None
        if found is None:
            folder = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "experiment"
            own = f"mlflow-artifacts:/{folder}" if self.is_own else (self.results / "artifacts" / folder).as_uri()
            place = None if self.uri.startswith(("http://", "https://")) else own
            found = _create_experiment(api, name, place)
        texts = {key: checked_text(key, value, EXPERIMENT_TAG_LENGTH) for key, value in tags.items()}
        # Without this tag the UI asks every visitor what kind of experiment it is.
        texts["mlflow.experimentKind"] = "custom_model_development"
        for key, text in texts.items():
            if found.tags.get(key) != text:
                api.set_experiment_tag(found.experiment_id, key, text)
        return str(found.experiment_id)

    def describe(self, experiment: str, markdown: str, views: Sequence[ui_views.View] = ()) -> None:
        """Set the note on top of an experiment's page, with links to its views in front, and the views.

        Args:
            experiment: its name.
            views: all that it has, the first one first; others are deleted.
        """
        id = self.experiment(experiment)
        tags = {name: text for view in views for name, text in ui_views.tags(view).items()}
        tags[NOTE] = "\n\n".join(filter(None, [ui_views.links(id, views), markdown]))
        with one_line_errors(f"the experiment {experiment!r} cannot be described"):
            old = self.api.get_experiment(id).tags
            for key, text in tags.items():
                if old.get(key) != checked_text(key, text, EXPERIMENT_TAG_LENGTH):
                    self.api.set_experiment_tag(id, key, text)
            for key in old:
                if key.startswith(ui_views.PREFIX) and key not in tags:
                    self.api.delete_experiment_tag(id, key)

    def artifact_folder(self, uri: str) -> Path | None:
        """Return the folder of a run's artifacts if it is one of the results folder; None if MLflow has to store them.

        Args:
            uri: MLflow's name of the place.
        """
        place = self.results / "artifacts"
        folder = place / uri.removeprefix("mlflow-artifacts:/").lstrip("/")
        # Below the experiment's folder and the run's, which is deleted with the run.
        inside = folder.is_relative_to(place) and len(folder.relative_to(place).parts) >= 3 and ".." not in folder.parts
        return folder if self.is_own and uri.startswith("mlflow-artifacts:/") and inside else None


def _create_experiment(api: Any, name: str, place: str | None) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return api.get_experiment(api.create_experiment(name, place))
    except MlflowException:  # a process with another results folder has created it meanwhile
        if (found := api.get_experiment_by_name(name)) is None:
            raise
        return found


def _create(file: Path) -> None:
    """Create MLflow's SQLite file under another name and move it to its place, so that there is never half of one."""
    from mlflow import MlflowClient

    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    client = MlflowClient(f"sqlite:///{fresh}", f"sqlite:///{fresh}")
    client.delete_experiment("0")  # MLflow's own "Default", which would be the first in every list
    fresh.replace(file)
