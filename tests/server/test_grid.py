"""Commands on several machines (here: results folders) that share a server which is killed now and then."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmark.tracking import Reader
from benchmark.tracking.connections import connect, undelivered
from tests.faults.ground import Ground, Left, differences, kill_group, left
from tests.server.ground import Server, missing, serving

METHODS = ("source-only", "entropy-minimization")  # eight runs
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground.made(tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="module")
def alone(ground: Ground) -> Left:
    """What the same grid leaves in a folder of its own."""
    results = ground.folder / "alone"
    assert ground.run(ground.command(results, methods=METHODS, workers=2), ground.folder / "alone.txt") == 0
    return left(results)


@pytest.fixture
def server() -> Iterator[Server]:
    """Each test has an empty one."""
    with serving() as started:
        yield started


def _connected(ground: Ground, server: Server, name: str) -> Path:
    results = ground.folder / name
    connect(results, server.address)
    return results


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.3)


def _is_the_same(results: Path, alone: Left, server: Server) -> None:
    """To the bit, every cell once, no metric twice, nothing left behind."""
    found = left(results)
    assert differences(found, alone) == []
    assert found.twice == 0 and found.states["FINISHED"] == 8 and not found.states["RUNNING"]
    assert server.twice() == []
    assert undelivered(results) == 0


def _say(*words: object) -> str:
    command = [sys.executable, "-m", "benchmark", *map(str, words)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_two_machines_share_a_grid_and_a_third_one_looks(ground: Ground, server: Server, alone: Left) -> None:
    one, other, third = (_connected(ground, server, name) for name in ("one", "other", "third"))
    outputs = [ground.folder / f"{results.name}.txt" for results in (one, other)]
    both = [
        ground.start(ground.command(results, methods=METHODS, workers=2), output)
        for results, output in zip((one, other), outputs, strict=True)
    ]
    assert [process.wait(600) for process in both] == [0, 0]
    assert all("target mIoU" in output.read_text() for output in outputs)  # both have done something
    _is_the_same(one, alone, server)
    _is_the_same(other, alone, server)
    assert sum(server.states().values()) == 8

    assert re.search(r"disturbed-v1.* 8 ", _say("status", "--results", third))
    assert "100% of what can be run is done" in _say("status", "disturbed-v1", "--results", third)
    assert not (third / "fetched").exists()  # a look fetches nothing
    protocol = str(ground.folder / "disturbed.toml")
    for results in (one, third):  # who ended first has told of what the other was still at
        _say("report", protocol, "--results", results)
    assert (third / "disturbed-v1" / "cells.csv").read_text() == (one / "disturbed-v1" / "cells.csv").read_text()
    assert not list((third / "fetched").glob("*/weights.safetensors"))
    tracker = Reader(third)
    record = tracker.cells(tracker.experiments()["disturbed-v1"])[0]
    places = ("--data", ground.folder / "world", "--protocol", protocol, "--stores", one / "stores")
    assert "target mIoU" in _say("replay", record.id, "--results", third, *places)
    assert server.address in _say("ui", "--results", third)
    assert server.address in _say("connect", "--results", third)
    assert "no server any more" in _say("connect", "--off", "--results", third)
    assert not (third / "server.toml").exists()


def test_a_server_that_is_killed_and_restarted_costs_nothing(ground: Ground, server: Server, alone: Left) -> None:
    results, output = _connected(ground, server, "restarted"), ground.folder / "restarted.txt"
    process = ground.start(ground.command(results, methods=METHODS, workers=2), output)
    _until(lambda: server.states()["FINISHED"] >= 2 and server.states()["RUNNING"] >= 1)
    server.kill()
    time.sleep(10)
    server.start()
    assert process.wait(600) == 0, output.read_text()
    assert "is away" in output.read_text()
    _is_the_same(results, alone, server)
    assert server.states() == {"FINISHED": 8}


def test_a_command_killed_while_the_server_is_away_goes_on(ground: Ground, server: Server, alone: Left) -> None:
    results = _connected(ground, server, "killed")
    kill_group(_cut_off(ground, server, results))
    assert undelivered(results) == 1
    server.start()
    assert server.states()["RUNNING"] == 1
    _goes_on(ground, server, results, alone)


def test_ctrl_c_leaves_what_waits_and_the_next_call_delivers_it(ground: Ground, server: Server, alone: Left) -> None:
    results = _connected(ground, server, "stopped")
    process = _cut_off(ground, server, results)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert undelivered(results) == 1
    server.start()
    _goes_on(ground, server, results, alone)


def _cut_off(ground: Ground, server: Server, results: Path) -> "subprocess.Popen[bytes]":
    """A command whose server was killed amid a run, which has come to its end meanwhile and waits."""
    output = results.with_suffix(".txt")
    process = ground.start(ground.command(results, methods=METHODS, workers=1), output)
    _until(lambda: server.states() == {"FINISHED": 1, "RUNNING": 1} and _at_work(results))
    server.kill()
    _until(lambda: "wait in" in output.read_text())
    return process


def _at_work(results: Path) -> bool:
    """Whether a run has logged something; before, while it is begun, it waits for the server."""
    return any(journal.stat().st_size for journal in (results / "outbox").glob("*/journal.jsonl"))


def _goes_on(ground: Ground, server: Server, results: Path, alone: Left) -> None:
    """The same command, with the server back, trains nothing that was finished when only the server had not heard."""
    output = results.with_suffix(".txt")
    assert ground.run(ground.command(results, methods=METHODS, workers=1), output) == 0, output.read_text()
    _is_the_same(results, alone, server)
    assert server.states() == {"FINISHED": 8}
