"""What is done while another process holds the database."""

import sqlite3
import threading
from pathlib import Path

import pytest

from benchmark.tracking import Tracker, patience
from benchmark.tracking.database import database
from benchmark.tracking.patience import Patient


class _Locked:
    """Refuses some calls."""

    ready = True

    def __init__(self, refusals: int, message: str = "(sqlite3.OperationalError) database is locked") -> None:
        self.refusals, self.message, self.calls = refusals, message, 0

    def log(self, value: int, *, times: int) -> int:
        self.calls += 1
        if self.calls <= self.refusals:
            raise RuntimeError(self.message)
        return value * times


def test_a_refused_call_is_made_again(monkeypatch, caplog):
    monkeypatch.setattr(patience, "PAUSE", 0.0)
    client = _Locked(3)
    assert Patient(client).log(2, times=3) == 6 and client.calls == 4
    assert "locked by another process" in caplog.text
    assert Patient(client).ready


def test_another_error_is_not_waited_out():
    client = _Locked(1, "no such table")
    with pytest.raises(RuntimeError, match="no such table"):
        Patient(client).log(2, times=3)
    assert client.calls == 1


def test_even_patience_ends(monkeypatch):
    monkeypatch.setattr(patience, "PAUSE", 0.0)
    monkeypatch.setattr(patience, "WAIT", -1.0)
    with pytest.raises(RuntimeError, match="locked"):
        Patient(_Locked(9)).log(2, times=3)


@pytest.mark.slow  # MLflow itself waits for twenty seconds
def test_a_run_outlives_a_lock_longer_than_mlflow_waits(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with sqlite3.connect(database(tracker.results)) as other:
            other.execute("BEGIN EXCLUSIVE")
            held.set()
            over.wait(25)
            other.rollback()

    thread = threading.Thread(target=hold)
    with tracker.start(experiment, "n", {"method": "m"}, "i") as run:
        thread.start()
        held.wait()
        run.log({"loss": 1.0}, 0)
    over.set()
    thread.join()
    (record,) = tracker.cells(experiment)
    assert record.status == "FINISHED" and tracker.history(record.id, "loss") == [(0, 1.0)]
