"""What a run logs goes to disk first, and to the server once, in order, whenever that is there."""

import threading
import time
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from benchmark.errors import TrackingError
from benchmark.tracking import Run
from benchmark.tracking.connections import undelivered
from benchmark.tracking.remote import left, outbox
from benchmark.tracking.remote.delivery import Delivery
from benchmark.tracking.remote.entries import file_entry, prepared
from benchmark.tracking.remote.journal import Journal
from benchmark.tracking.remote.left import deliver_left
from benchmark.tracking.remote.outbox import Outbox
from tests.benchmark.tracking.remote.fakes import FakeClient

RUN = "0123abcd"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PAUSE", 0.01)
    monkeypatch.setattr(left, "PAUSE", 0.01)
    monkeypatch.setattr(outbox, "LINGER", 0.1)


@pytest.fixture
def client() -> Any:
    return FakeClient()


def _run(client: Any, results: Path) -> Run:
    box = Outbox(client, "http://s", RUN, results)
    return Run(box, RUN, box.files, None, box.stored)


def _gone(run: Run) -> None:
    """As if the process had been killed: the thread sends no more, and the file is let go."""
    run._client._closed = True
    time.sleep(0.1)
    run._client._journal.close()


def test_a_run_arrives_whole_and_in_order(client: Any, tmp_path: Path) -> None:
    (tmp_path / "panels").mkdir()
    (tmp_path / "panels" / "a.png").write_bytes(b"picture")
    with _run(client, tmp_path / "r") as run:
        run.log({"a": 0.1}, 1)
        run.tag("note", "seen")
        run.artifact(tmp_path / "panels")
        run.artifact(tmp_path / "panels" / "a.png", "deep/er")
    assert {point[:2] for point in client.metrics} == {("a", 0.1)} and client.tags == {"note": "seen"}
    assert client.files == {"panels/a.png": b"picture", "deep/er/a.png": b"picture"}
    assert client.status == "FINISHED" and client.calls[-1] == "set_terminated"
    assert undelivered(tmp_path / "r") == 0 and not (tmp_path / "r" / "outbox" / RUN).exists()
    assert (tmp_path / "r" / "fetched" / RUN / "panels" / "a.png").read_bytes() == b"picture"
    assert threading.get_ident() not in client.threads["log_batch"]


def test_while_the_server_is_away_nobody_waits_but_the_end(
    client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client.away = True
    run = _run(client, tmp_path)
    for step in range(1100):
        run.log({"a": float(step)}, step)
    assert undelivered(tmp_path) == 1 and not client.metrics
    away = "is away ([Errno 111] Connection refused)"
    end = time.monotonic() + 20
    while away not in caplog.text and time.monotonic() < end:
        time.sleep(0.01)
    threading.Timer(0.3, lambda: setattr(client, "away", False)).start()
    run.finish()
    assert client.status == "FINISHED" and len(client.metrics) == 1100
    assert caplog.text.count(away) == 1  # a line a minute at most


def test_who_is_stopped_does_not_wait_long_and_the_rest_is_delivered_later(
    client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client.away = True
    run = _run(client, tmp_path)
    with pytest.raises(KeyboardInterrupt), run:
        run.log({"a": 1.0}, 1)
        raise KeyboardInterrupt
    assert "the next landshift run" in caplog.text and client.status == "RUNNING"
    assert deliver_left(client, "http://s", tmp_path) == 0  # its process is there still
    _gone(run)
    client.away = False
    assert deliver_left(client, "http://s", tmp_path) == 1
    assert client.status == "KILLED" and len(client.metrics) == 1 and "traceback.txt" in client.files
    assert undelivered(tmp_path) == 0


def test_a_killed_process_loses_no_more_than_a_line_it_was_writing(client: Any, tmp_path: Path) -> None:
    client.away = True
    run = _run(client, tmp_path)
    run.log({"a": 1.0}, 1)
    run.flush()
    _gone(run)
    with (tmp_path / "outbox" / RUN / "journal.jsonl").open("ab") as file:
        file.write(b'{"do": "tag", "key": "la')
    client.away = False
    assert deliver_left(client, "http://s", tmp_path) == 1
    assert len(client.metrics) == 1 and not client.tags and client.status == "RUNNING"


def test_what_is_delivered_again_changes_nothing(client: Any, tmp_path: Path) -> None:
    client.away = True
    run = _run(client, tmp_path)
    run.log({"a": 1.0, "b": 1 / 3}, 1)
    run.flush()
    _gone(run)
    client.away = False
    journal = Journal(tmp_path / "outbox" / RUN)
    for _ in range(2):
        Delivery(client, RUN, journal, tmp_path).go_on()
    assert client.calls == ["log_batch"] * 2
    assert {point[:2] for point in client.metrics} == {("a", 1.0), ("b", 1 / 3)}


def test_what_is_refused_fails_the_run_and_is_said(client: Any, tmp_path: Path) -> None:
    client.refuses = "log_artifact"
    (tmp_path / "weights").write_bytes(b"w")
    with pytest.raises(TrackingError, match="refused weights: too large"), _run(client, tmp_path / "r") as run:
        run.artifact(tmp_path / "weights")
    assert client.status == "FAILED" and "too large" in client.tags["error"]


def test_what_is_refused_of_a_run_left_behind_is_kept_aside(
    client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.away = True
    run = _run(client, tmp_path)
    run.log({"a": 1.0})
    monkeypatch.setattr(run._client, "_wait", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    _gone(run)
    client.away, client.refuses = False, "log_batch"
    deliver_left(client, "http://s", tmp_path)
    assert client.status == "KILLED" and "too large" in client.tags["error"]  # not finished, with half its metrics
    assert (tmp_path / "outbox" / f"refused-{RUN}" / "journal.jsonl").exists() and "too large" in caplog.text
    assert undelivered(tmp_path) == 0 and deliver_left(client, "http://s", tmp_path) == 0


def _interrupted(seconds: float | None) -> bool:
    raise KeyboardInterrupt


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b'{"do": "harm"}\n', b'{"do": "file", "path": "../x"}\n'])
def test_a_damaged_journal_is_kept_aside(
    client: Any, tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outbox" / RUN).mkdir(parents=True)
    (tmp_path / "outbox" / RUN / "journal.jsonl").write_bytes(line)
    deliver_left(client, "http://s", tmp_path)
    assert (tmp_path / "outbox" / f"refused-{RUN}").is_dir() and len(caplog.records) == 1
    assert not client.files


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    journal.append({"do": "tag", "key": "a", "value": "b"})
    file = journal._file

    class Full:
        def write(self, line: bytes) -> int:
            return file.write(line[:5])

        def __getattr__(self, name: str) -> Any:
            return getattr(file, name)

    monkeypatch.setattr(journal, "_file", Full())
    with pytest.raises(OSError, match="5 of"):
        journal.append({"do": "tag", "key": "c", "value": "d"})
    monkeypatch.setattr(journal, "_file", file)
    journal.append({"do": "tag", "key": "e", "value": "f"})
    assert [entry["key"] for entry, _ in journal.entries()] == ["a", "e"]


def test_one_process_holds_a_journal(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    with pytest.raises(BlockingIOError):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path).close()


def test_a_file_that_leads_out_is_not_uploaded(client: Any, tmp_path: Path) -> None:
    for path in ("/etc/passwd", "a/../../b", ""):
        with pytest.raises(TrackingError, match="outside"):
            prepared(client, RUN, tmp_path, file_entry(PurePosixPath(path)))
