"""Results folders of several machines that share PostgreSQL and a tracking server, without any training."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmark.common.errors import TrackingError
from benchmark.experiments.queue import Claim, Entry
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_folder import RECORD, RunFolder, read_run
from benchmark.tracking import KIND, DatasetFact, RunInfo, Summary
from tests.server.conftest import Machine
from tests.server.ground import Postgres, Server, missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.skipif(bool(missing()), reason=missing())]
FACTS = {"method": "advent", "fold": "north", "seed": "0"}


@pytest.fixture
def pair(machine: Machine, tmp_path: Path) -> tuple[ResultsFolder, ResultsFolder]:
    """Two machines."""
    return ResultsFolder(machine(tmp_path / "one é")), ResultsFolder(machine(tmp_path / "two"))


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    """An experiment of the test's own."""
    return str(request.node.name)


def _claimed(results: ResultsFolder, experiment: str) -> tuple[Claim, RunFolder]:
    key = experiment.encode().hex()[-60:]
    results.queue.add([Entry(key, "", {}, FACTS)], experiment)
    claim = results.queue.claim("host:1:2/0", [key])
    assert claim is not None
    info = RunInfo("advent", FACTS, {KIND: "cell"}, DatasetFact("synthetic", "d", "data", {"north": 4}), time.time())
    return claim, RunFolder(results.folder, key, claim.attempt, info)


def _trained(results: ResultsFolder, experiment: str) -> str:
    """End a job as a worker does that MLflow does not answer; returns its key."""
    claim, run = _claimed(results, experiment)
    for step in range(600):
        run.log({"train/loss": float(step)}, step)
    (run.path / "settings.json").write_text("{}")
    (run.path / "panels").mkdir()
    (run.path / "panels" / "one.png").write_bytes(b"picture")
    run.commit("FINISHED")
    results.queue.finish(claim, FACTS, {"device": "cpu"}, run.metrics)
    return claim.key


def _runs(results: ResultsFolder, experiment: str) -> list[Any]:
    return list(results.client.api.search_runs([results.client.experiment(experiment)]))


def test_the_files_of_a_run_come_from_the_server(pair: tuple[ResultsFolder, ResultsFolder], experiment: str) -> None:
    one, two = pair
    key = _trained(one, experiment)
    assert "but where it was trained" in two.deliver(experiment, [key])
    assert one.deliver(experiment, [key]) == "" and two.deliver(experiment, [key]) == ""
    (run,) = two.finished(experiment).values()
    assert (run.id, run.facts, run.metrics) == (key, FACTS, {"train/loss": 599.0})
    assert not list(two.folder.glob("runs/*/*"))
    assert (run.artifacts / "settings.json").read_text() == "{}"
    assert (run.artifacts / "panels/one.png").read_bytes() == b"picture"
    assert not (run.artifacts / "weights.safetensors").exists()
    _, _, curve = read_run((run.artifacts / RECORD).parent) if (run.artifacts / "curve.json").exists() else (0, 0, [])
    assert curve == [(step, {"train/loss": float(step)}) for step in range(600)]
    (shown,) = _runs(one, experiment)
    assert shown.info.run_id == run.run and shown.info.status == "FINISHED" and shown.data.params == FACTS
    assert len(one.client.api.get_metric_history(run.run, "train/loss")) == 600


def test_many_deliver_at_once_and_mlflow_has_it_once(
    pair: tuple[ResultsFolder, ResultsFolder], experiment: str
) -> None:
    key = _trained(pair[0], experiment)
    many = [ResultsFolder(pair[0].folder) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda results: results.deliver(experiment, [key]), many)) == {""}
    assert [run.info.status for run in _runs(pair[0], experiment)] == ["FINISHED"]


def test_what_the_server_did_not_take_is_delivered_later(
    servers: tuple[Postgres, Server], pair: tuple[ResultsFolder, ResultsFolder], experiment: str
) -> None:
    key = _trained(pair[0], experiment)
    servers[1].kill()
    try:
        assert "1 runs are not in MLflow yet" in pair[0].deliver(experiment, [key])
        with pytest.raises(TrackingError):
            pair[0].summarise(experiment, Summary("advent", {"method": "advent"}, {"summary/a": 0.5}))
    finally:
        servers[1].start()
    assert pair[0].deliver(experiment, [key]) == ""
    assert [run.info.status for run in _runs(pair[0], experiment)] == ["FINISHED"]


def test_files_that_are_being_published_are_waited_for(
    pair: tuple[ResultsFolder, ResultsFolder], experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    key = _trained(one, experiment)
    publish, holds = one._publish, threading.Event()

    def publish_slowly(*arguments: Any) -> None:
        holds.set()
        time.sleep(3)
        publish(*arguments)

    monkeypatch.setattr(one, "_publish", publish_slowly)
    with ThreadPoolExecutor(1) as pool:
        delivered = pool.submit(one.deliver, experiment, [key])
        assert holds.wait(60)
        begun = time.monotonic()
        assert two.deliver(experiment, [key]) == "" and time.monotonic() - begun > 2
        assert (two.finished(experiment)[key].artifacts / "settings.json").read_text() == "{}"
        assert delivered.result() == ""


def test_a_database_that_is_away_is_waited_for(
    servers: tuple[Postgres, Server], pair: tuple[ResultsFolder, ResultsFolder], experiment: str
) -> None:
    claim, _ = _claimed(pair[0], experiment)
    servers[0].stop()
    assert _later(servers[0].start) > 0
    begun = time.monotonic()
    pair[0].queue.finish(claim, FACTS, {}, {"target/miou": 0.5})
    assert time.monotonic() - begun > 2
    assert list(pair[1].finished(experiment)) == [claim.key]


def test_summaries_are_replaced_and_what_is_forgotten_is_gone_for_all(
    pair: tuple[ResultsFolder, ResultsFolder], experiment: str
) -> None:
    one, two = pair
    key = _trained(one, experiment)
    one.deliver(experiment, [key])
    for results, value in ((one, 0.5), (one, 0.5), (two, 0.6)):
        results.summarise(experiment, Summary("advent", {"method": "advent"}, {"summary/a": value}))
    assert list(two.summaries(experiment)) == ["advent"] and len(_runs(two, experiment)) == 2
    two.remove(experiment, [key])
    assert one.runs(experiment) == [] and len(_runs(one, experiment)) == 1


def _later(action: Callable[[], object], seconds: float = 3.0) -> float:
    """Do something in a thread some seconds later; returns them."""
    threading.Timer(seconds, action).start()
    return seconds
