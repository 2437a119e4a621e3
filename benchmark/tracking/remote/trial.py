"""Whether an address is that of a server that can be used, before a folder is connected to it."""

import tempfile
import uuid
from pathlib import Path

from benchmark.errors import TrackingError
from benchmark.tracking.remote.away import why_away
from benchmark.tracking.remote.client import plain_client


def try_server(address: str) -> str:
    """MLflow's version there; one artifact is put there, fetched and deleted.

    Raises:
        TrackingError: nothing answers, it is no tracking server, it refuses us, or it takes no artifacts.
    """
    client = plain_client(address)
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        client.search_experiments(max_results=1)
        version = http_request(get_default_host_creds(address), "/version", "GET").text.strip()
    except Exception as error:  # of MLflow, requests and whatever answers there
        raise TrackingError(
            f"no MLflow tracking server can be used at {address}: {why_away(error) or _line(error)}"
        ) from error
    name = f"landshift-{uuid.uuid4().hex}"
    try:
        files = get_artifact_repository(f"mlflow-artifacts:/{name}", tracking_uri=address)
        with tempfile.TemporaryDirectory(prefix="landshift-") as folder:
            (Path(folder) / "trial.txt").write_text(name, encoding="utf-8")
            files.log_artifact(str(Path(folder) / "trial.txt"))
            fetched = Path(files.download_artifacts("trial.txt", str(Path(folder)))).read_text(encoding="utf-8")
        files.delete_artifacts()
    except Exception as error:
        raise TrackingError(
            f"the tracking server {address} keeps no artifacts: start it with --artifacts-destination and without "
            f"--no-serve-artifacts ({_line(error)})"
        ) from error
    if fetched != name:
        raise TrackingError(f"the tracking server {address} gave back another file than the one it was given")
    return version[:40]


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
