"""A tracker on a real server: it keeps what a folder of its own keeps, once, whatever breaks on the way."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import AlreadyTaken, TrackingError
from benchmark.tracking import DatasetFact, Reader, Summary, Tracker, is_store, sizes_of
from benchmark.tracking.connections import connect, undelivered
from benchmark.tracking.remote.left import deliver_left
from tests.server.ground import Server, missing, serving
from tests.server.proxy import Proxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
FACTS = {"method": "advent", "fold": "north", "seed": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture
def results(server: Server, tmp_path: Path) -> Path:
    connect(tmp_path / "results é", server.address)
    return tmp_path / "results é"


@pytest.fixture
def tracker(results: Path) -> Tracker:
    return Tracker(results)


@pytest.fixture
def experiment(tracker: Tracker, request: pytest.FixtureRequest) -> str:
    return tracker.experiment(
        request.node.name[:100].replace("[", " ").replace("]", ""), "A note.", {"fingerprint": "f"}
    )


def _points(server: Server, run: str) -> int:
    return int(server.postgres.ask(f"SELECT COUNT(*) FROM metrics WHERE run_uuid = '{run}'")[0][0])


def test_everything_comes_back(server: Server, tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    (tmp_path / "panels").mkdir()
    (tmp_path / "panels" / "one.png").write_bytes(b"picture")
    (tmp_path / "settings.json").write_text("{}")
    dataset = DatasetFact("synthetic", "d" * 64, "data/synthetic", {"north/2019": 64})
    with tracker.start(experiment, "advent · north", FACTS, "abc", dataset) as run:
        for step in range(600):
            run.log({"train/loss/a": 1 / 3, "train/loss/b": float(step)}, step)
        run.tag("note", "seen")
        run.artifact(tmp_path / "settings.json")
        run.artifact(tmp_path / "panels")
    (record,) = Reader(tracker.results).cells(experiment)
    assert (record.id, record.name, record.identity, record.status) == (run.id, "advent · north", "abc", "FINISHED")
    assert record.facts == {"method": "advent", "fold": "north", "seed": "0", "identity": "abc"}
    assert record.metrics == {"train/loss/a": 1 / 3, "train/loss/b": 599.0} and record.step == 599
    assert record.tags["note"] == "seen" and record.error is None and record.ended
    assert tracker.history(run.id, "train/loss/b") == [(step, float(step)) for step in range(600)]
    assert tracker.source(run.id) == "data/synthetic"
    assert tracker.find(run.id[:10]).id == run.id and list(tracker.finished(experiment)) == ["abc"]
    assert tracker.cells(experiment, "abc") and not tracker.cells(experiment, "other")
    shutil.rmtree(tracker.results / "fetched")  # as on another machine
    assert sum(sizes_of(record.artifacts).values()) == len(b"picture") + 2
    assert not (tracker.results / "fetched").exists()
    assert (record.artifacts / "settings.json").read_text() == "{}"
    assert (record.artifacts / "panels/one.png").read_bytes() == b"picture"
    assert not (record.artifacts / "weights.safetensors").exists()
    assert not server.twice() and not undelivered(tracker.results) and is_store(tracker.results)
    assert experiment in tracker.experiments().values() and "Default" not in tracker.experiments()
    assert tracker.tags(experiment)["fingerprint"] == "f"
    assert not (tracker.results / "mlflow.db").exists()


def test_summaries_are_replaced_and_kept(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(b"1")
    first = Summary("advent", {"method": "advent"}, {"summary/a": 0.5}, [tmp_path / "figure.png"])
    (one,) = tracker.summarise(experiment, first)
    assert tracker.summarise(experiment, first) == [one]
    (two,) = tracker.summarise(experiment, Summary("advent", {"method": "advent"}, {"summary/a": 0.6}))
    assert two != one and [run.id for run in tracker.summaries(experiment)] == [two]
    tracker.keep_summaries(experiment, {"another"})
    assert tracker.summaries(experiment) == []


def test_a_failure_is_written_with_its_traceback(tracker: Tracker, experiment: str) -> None:
    with pytest.raises(ValueError, match="loss"), tracker.start(experiment, "n", FACTS, "i") as run:
        run.log({"target/miou": 0.5})
        raise ValueError("the loss is not finite")
    (record,) = tracker.cells(experiment)
    assert (record.status, record.error) == ("FAILED", "ValueError: the loss is not finite")
    assert "Traceback" in (record.artifacts / "traceback.txt").read_text()
    assert record.metrics == {"target/miou": 0.5}


def test_of_many_that_ask_at_once_one_gets_the_cell(
    server: Server, tracker: Tracker, experiment: str, tmp_path: Path
) -> None:
    """Each has a results folder of its own, so that no lock on a disk helps."""
    crowd = 6
    for number in range(crowd):
        (tmp_path / str(number)).mkdir()
        shutil.copy(tracker.results / "server.toml", tmp_path / str(number))
    trackers = [Tracker(tmp_path / str(number)) for number in range(crowd)]
    tracker.start(experiment, "the colour of the method", FACTS, "first").finish()
    for round in range(6):
        barrier = threading.Barrier(crowd)

        def ask(mine: Tracker, round: int = round, barrier: threading.Barrier = barrier) -> Any:
            barrier.wait()
            try:
                return mine.start(experiment, "n", FACTS, f"round {round}")
            except AlreadyTaken:
                return None

        with ThreadPoolExecutor(crowd) as pool:
            got = [run for run in pool.map(ask, trackers) if run]
        assert len(got) == 1
        assert [record.id for record in tracker.cells(experiment, f"round {round}")] == [got[0].id]
        got[0].finish()


def test_what_is_logged_while_the_server_is_away_is_delivered_once(
    server: Server, tracker: Tracker, experiment: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file.txt").write_text("content")
    run = tracker.start(experiment, "n", FACTS, "i")
    for step in range(1200):
        run.log({"train/loss/a": float(step)}, step)
    server.kill()
    begun = time.monotonic()
    for step in range(1200, 2400):
        run.log({"train/loss/a": float(step)}, step)
    run.flush()
    run.artifact(tmp_path / "file.txt")
    run.tag("note", "away")
    assert time.monotonic() - begun < 2  # nobody waits
    assert undelivered(tracker.results) == 1
    while "is away" not in caplog.text and time.monotonic() < begun + 60:
        time.sleep(0.1)
    again = threading.Timer(6, server.start)
    again.start()
    run.finish()
    assert time.monotonic() - begun > 6
    again.join()
    (record,) = tracker.cells(experiment)
    assert (record.status, record.tags["note"]) == ("FINISHED", "away")
    assert tracker.history(run.id, "train/loss/a") == [(step, float(step)) for step in range(2400)]
    assert _points(server, run.id) == 2400 and not server.twice()
    assert "is away" in caplog.text and str(tracker.results) in caplog.text


def test_a_database_that_is_away_is_waited_for(server: Server, tracker: Tracker, experiment: str) -> None:
    run = tracker.start(experiment, "n", FACTS, "i")
    run.log({"train/loss/a": 1.0}, 1)
    server.postgres.stop()
    run.log({"train/loss/a": 2.0}, 2)
    run.flush()
    again = threading.Timer(4, server.postgres.start)
    again.start()
    assert tracker.cells(experiment)[0].status == "RUNNING"  # reading waits, too
    again.join()
    run.finish()
    assert tracker.history(run.id, "train/loss/a") == [(1, 1.0), (2, 2.0)]


def test_answers_that_are_lost_change_nothing(server: Server, tmp_path: Path) -> None:
    """The server has done it and its answer never came: what is asked again must not be done twice."""
    seen: set[str] = set()

    def lost(line: str) -> bool:
        """The answer to the first request of each kind, and to every third batch of metrics."""
        kind = line.split("?")[0]
        first, seen_before = kind not in seen, len(seen)
        seen.add(kind)
        if kind.endswith("log-batch HTTP/1.1"):
            seen.add(f"{kind} {seen_before}")
            return len(seen) % 3 == 0 or first
        return first and kind.startswith(("POST", "PUT"))

    proxy = Proxy(int(server.address.rpartition(":")[2]), lost)
    (tmp_path / "server.toml").write_text(f'url = "{proxy.address}"')
    (tmp_path / "file.txt").write_text("content")
    tracker = Tracker(tmp_path)
    experiment = tracker.experiment("lost answers v1", "A note.")
    with tracker.start(experiment, "n", FACTS, "i", DatasetFact("d", "e", "f")) as run:
        for step in range(1500):
            run.log({"train/loss/a": float(step), "train/loss/b": 1.0}, step)
            if not step % 100:
                run.flush()
        run.artifact(tmp_path / "file.txt")
        run.tag("note", "seen")
    (record,) = tracker.cells(experiment)
    assert record.status == "FINISHED" and proxy.losses > 6
    assert _points(server, run.id) == 3000 and not server.twice()
    assert tracker.history(run.id, "train/loss/a") == [(step, float(step)) for step in range(1500)]
    assert server.postgres.ask(f"SELECT COUNT(*) FROM runs WHERE experiment_id = {experiment}") == [(1,)]
    assert server.postgres.ask(f"SELECT COUNT(*) FROM inputs WHERE destination_id = '{run.id}'") == [(1,)]
    proxy.close()


def _log_and_sleep(results: Path, experiment: str, ready: Any, go_on: Any) -> None:
    with Tracker(results).start(experiment, "n", FACTS, "killed") as run:
        run.log({"train/loss/a": 0.0}, 0)
        run.flush()
        ready.set()
        go_on.wait()
        for step in range(1, 700):
            run.log({"train/loss/a": float(step)}, step)
        run.flush()
        ready.set()
        time.sleep(60)


def test_the_journal_of_a_killed_process_is_delivered_however_often(
    server: Server, results: Path, tracker: Tracker, experiment: str, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    ready, go_on = context.Event(), context.Event()
    process = context.Process(target=_log_and_sleep, args=(results, experiment, ready, go_on))
    process.start()
    assert ready.wait(120)
    ready.clear()
    server.kill()
    go_on.set()
    assert ready.wait(30)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    (outbox,) = (results / "outbox").iterdir()
    with (outbox / "journal.jsonl").open("ab") as file:
        file.write(b'{"do": "metrics", "values": [["train/lo')  # killed while it wrote
    shutil.copytree(outbox, tmp_path / "copy")
    server.start()
    second = Tracker(results)  # delivers what was left
    (record,) = second.cells(experiment)
    assert record.status == "RUNNING" and _points(server, record.id) == 700 and not undelivered(results)
    assert second.close_stale(experiment) == 1
    shutil.copytree(tmp_path / "copy", outbox)
    assert deliver_left(second._store._plain, server.address, results) == 1  # type: ignore[attr-defined]
    (record,) = second.cells(experiment)
    assert record.status == "KILLED" and "was killed" in str(record.error)
    assert _points(server, record.id) == 700 and not server.twice()


def test_what_the_server_refuses_fails_the_run(server: Server, tracker: Tracker, experiment: str) -> None:
    run = tracker.start(experiment, "n", FACTS, "i")
    tracker._client.delete_run(run.id)  # in the UI, for example
    with pytest.raises(TrackingError, match="refused"), run:
        run.log({"a": 1.0})


def test_no_server_no_artifacts_and_wrong_addresses_are_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="refused"):
        connect(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match="no MLflow tracking server"):
        connect(tmp_path, f"{server.address}/elsewhere")
    assert not (tmp_path / "server.toml").exists()


def test_what_is_forgotten_is_gone_for_all(tracker: Tracker, experiment: str) -> None:
    with tracker.start(experiment, "advent · north", FACTS, "abc") as run:
        run.log({"target/miou": 0.5})
    tracker.tag(experiment, "landshift.grid.key", "{}")
    other = Reader(tracker.results)
    tracker.discard(other.cells(experiment))
    tracker.untag(experiment, "landshift.grid.key")
    assert other.cells(experiment) == [] and "landshift.grid.key" not in other.tags(experiment)
