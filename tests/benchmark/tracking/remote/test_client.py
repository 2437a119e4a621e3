"""Calls that are made again while the server is away, and what is not done twice by that."""

from types import SimpleNamespace
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException

from benchmark.tracking import patience
from benchmark.tracking.remote.away import why_away
from benchmark.tracking.remote.client import CLAIM, RemoteClient

AWAY = "API request to http://s/api failed with exception HTTPConnectionPool: [Errno 111] Connection refused (x)"


def _response(status: int) -> Any:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("no", response=response)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (MlflowException(AWAY), True),
        (MlflowException("what MLflow finds wrong here"), False),
        (RestException({"error_code": "INTERNAL_ERROR", "message": "no"}), True),
        (RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "(psycopg2.OperationalError)"}), True),
        (RestException({"error_code": "BAD_REQUEST", "message": "(psycopg2.errors.UniqueViolation) key"}), True),
        (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}), False),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "too long"}), False),
        (RestException({"error_code": "PERMISSION_DENIED", "message": "Invalid Host header"}), False),
        (_response(503), True),
        (_response(413), False),
        (requests.ConnectionError("reset"), True),
        (ConnectionResetError(104, "reset"), True),
        (PermissionError("a file"), False),
        (ValueError("a mistake"), False),
    ],
)
def test_what_will_pass_is_told_from_what_will_not(error: Exception, passes: bool) -> None:
    assert bool(why_away(error)) == passes


def test_the_reason_is_short() -> None:
    assert why_away(MlflowException(AWAY)) == "[Errno 111] Connection refused"
    assert len(why_away(RestException({"error_code": "INTERNAL_ERROR", "message": "x\n" * 5000}))) < 200


class _Losing:
    """Does what it is asked for, and loses the answer to the first call of each kind."""

    def __init__(self) -> None:
        self.runs: list[Any] = []
        self.experiments: dict[str, str] = {}
        self.heard: set[str] = set()

    def _lose(self, kind: str) -> None:
        if kind not in self.heard:
            self.heard.add(kind)
            raise MlflowException(AWAY)

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
        run = SimpleNamespace(tags=tags, info=SimpleNamespace(run_id=f"{len(self.runs)}", lifecycle_stage="active"))
        self.runs.append(run)
        self._lose("create_run")
        return run

    def search_runs(self, experiments: list[str], asked: str) -> list[Any]:
        return [run for run in self.runs if f"'{run.tags[CLAIM]}'" in asked]

    def create_experiment(self, name: str, place: str, tags: dict[str, str]) -> str:
        if name in self.experiments:
            raise MlflowException("it exists", error_code=3001)  # RESOURCE_ALREADY_EXISTS
        self.experiments[name] = "7"
        self._lose("create_experiment")
        return "7"

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=self.experiments[name])

    def get_run(self, id: str) -> Any:
        return self.runs[int(id)]

    def delete_run(self, id: str) -> None:
        if self.runs[int(id)].info.lifecycle_stage == "deleted":
            raise MlflowException("it must be active", error_code=1000)
        self.runs[int(id)].info.lifecycle_stage = "deleted"
        self._lose("delete_run")


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> _Losing:
    monkeypatch.setattr(patience, "PAUSE", 0.0)
    return _Losing()


def test_a_run_whose_answer_is_lost_is_made_once(losing: _Losing, caplog: pytest.LogCaptureFixture) -> None:
    client = RemoteClient(losing, "http://s")
    first, second = (client.create_run("1", {"a": "b"}, "n") for _ in range(2))
    assert [first.info.run_id, second.info.run_id] == ["0", "1"] and len(losing.runs) == 2
    assert "the tracking server http://s is away" in caplog.text


def test_an_experiment_and_a_deletion_whose_answers_are_lost(losing: _Losing) -> None:
    client = RemoteClient(losing, "http://s")
    assert client.create_experiment("e", "p", {}) == "7" and losing.experiments == {"e": "7"}
    run = client.create_run("1", {}, "n")
    client.delete_run(run.info.run_id)
    assert run.info.lifecycle_stage == "deleted"


def test_a_deletion_that_is_refused_is_an_error(losing: _Losing, monkeypatch: pytest.MonkeyPatch) -> None:
    client = RemoteClient(losing, "http://s")
    run = client.create_run("1", {}, "n")

    def refuse(id: str) -> None:
        raise RestException({"error_code": "PERMISSION_DENIED", "message": "not yours"})

    monkeypatch.setattr(losing, "delete_run", refuse)
    with pytest.raises(MlflowException, match="not yours"):
        client.delete_run(run.info.run_id)
