"""An `MlflowClient` of a server, whose calls wait while it is away, and do nothing twice where an answer was lost."""

import logging
import os
import uuid
from collections.abc import Mapping
from typing import Any

from benchmark.tracking.database import silence
from benchmark.tracking.patience import Patient
from benchmark.tracking.remote.away import why_away
from benchmark.tracking.remote.pulse import ALIVE, sign

CLAIM = "landshift.claim"  # the tag by which a run is found again whose maker never heard that it was made
PATIENCE = 24 * 3600.0  # seconds
# MLflow would make calls again by itself, for minutes and in silence.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def plain_client(address: str) -> Any:
    """MLflow's own client; an error comes out of it at once."""
    silence()
    os.environ.update(_SETTINGS)
    from mlflow import MlflowClient

    logging.getLogger("urllib3").setLevel(logging.ERROR)
    return MlflowClient(address, address)


class RemoteClient(Patient):
    """MLflow's client, patient.

    What a call does is either the same when it is done again, or is looked for before it is done again: the connection
    may break after the server has done it and before it has said so.

    Args:
        client: of `plain_client`.
        address: of the server, for what is said while it is away.
    """

    def __init__(self, client: Any, address: str) -> None:
        def excuse(error: Exception) -> str:
            why = why_away(error)
            return f"the tracking server {address} is away ({why}); waiting for it, Ctrl-C ends that" if why else ""

        super().__init__(client, excuse, PATIENCE)

    def create_run(self, experiment: str, tags: Mapping[str, str], run_name: str) -> Any:
        """A new run, made once."""
        claim = uuid.uuid4().hex
        tried = False

        def create() -> Any:
            nonlocal tried
            if tried and (found := self._client.search_runs([experiment], f"tags.`{CLAIM}` = '{claim}'")):
                return found[0]
            tried = True
            return self._client.create_run(experiment, tags={**tags, CLAIM: claim, ALIVE: sign()}, run_name=run_name)

        return self._again(create)()

    def create_experiment(self, name: str, artifact_location: str, tags: Mapping[str, str]) -> str:
        """The id of a new experiment, or of the one that was made at the same moment by another process."""
        from mlflow.exceptions import MlflowException

        def create() -> str:
            try:
                return str(self._client.create_experiment(name, artifact_location, dict(tags)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return str(self._client.get_experiment_by_name(name).experiment_id)

        return str(self._again(create)())

    def delete_run(self, run: str) -> None:
        """Delete a run that may be deleted already."""
        from mlflow.exceptions import MlflowException

        def delete() -> None:
            try:
                self._client.delete_run(run)
            except MlflowException as error:
                if why_away(error) or self._client.get_run(run).info.lifecycle_stage != "deleted":
                    raise

        self._again(delete)()
