"""A run of another machine is taken for gone when its sign is old and does not change while it is watched."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.tracking.heartbeat import STALE
from benchmark.tracking.remote import pulse
from benchmark.tracking.remote.pulse import ALIVE, Pulse, Watch, is_old, sign
from tests.benchmark.tracking.remote.fakes import FakeClient


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY", 0.01)
    monkeypatch.setattr(pulse, "WATCH", 0.05)
    monkeypatch.setattr(pulse, "LOOK", 0.01)


def _run(id: str, shown: str | None, status: str = "RUNNING") -> Any:
    tags = {} if shown is None else {ALIVE: shown}
    return SimpleNamespace(info=SimpleNamespace(run_id=id, status=status), data=SimpleNamespace(tags=tags))


def _ago(seconds: float) -> str:
    return str(int((time.time() - seconds) * 1000))


def test_a_sign_is_set_until_the_end_and_a_server_that_is_away_is_no_matter() -> None:
    client = FakeClient()
    beat = Pulse(client, "1")
    client.away = True
    time.sleep(0.1)
    client.away, client.tags = False, {}
    end = time.monotonic() + 10
    while ALIVE not in client.tags:
        assert time.monotonic() < end
        time.sleep(0.01)
    beat.stop()
    time.sleep(0.05)
    before = client.tags[ALIVE]
    time.sleep(0.1)
    assert client.tags[ALIVE] == before and not is_old(before) and not is_old(sign())


def test_only_the_old_and_unchanging_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    """After the server was away for long every sign is old."""
    old = _ago(2 * STALE)
    runs = {id: _run(id, old) for id in ("gone", "back", "ended")}
    runs |= {"young": _run("young", _ago(10)), "none": _run("none", None), "odd": _run("odd", "soon")}
    later = {**runs, "back": _run("back", sign()), "ended": _run("ended", old, "FINISHED")}
    assert Watch().silent(list(runs.values()), lambda id: later[id]) == {"gone"}
    assert "watching them" in caplog.text


def test_who_was_watched_is_not_watched_again() -> None:
    watch, run = Watch(), _run("gone", _ago(2 * STALE))
    begun = time.monotonic()
    assert watch.silent([run], lambda id: run) == {"gone"}
    first = time.monotonic() - begun
    assert watch.silent([run], lambda id: run) == {"gone"}
    assert first >= 0.05 and time.monotonic() - begun - first < 0.05
    moved = _run("gone", _ago(2 * STALE - 1))  # its clock is behind, and it lives
    again = time.monotonic()
    watch.silent([moved], lambda id: moved)
    assert time.monotonic() - again >= 0.05


def test_a_clock_that_is_behind_makes_nobody_gone() -> None:
    """Signs of an hour ago that go on changing."""
    clock = iter(range(10_000))
    assert Watch().silent([_run("a", _ago(3600))], lambda id: _run("a", str(int(_ago(3600)) + next(clock)))) == set()
