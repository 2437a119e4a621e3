"""Commands on two machines (here: results folders) that share a queue and a tracking server."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.experiments.results import ResultsFolder
from tests.faults.ground import EXPERIMENT, Ground, left, problems
from tests.server.conftest import Machine
from tests.server.ground import missing

METHODS = ("source-only", "entropy-minimization", "tent")  # twelve runs; tent starts from source-only
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground.made(tmp_path_factory.mktemp("ground"))


def _say(*words: object) -> str:
    command = [sys.executable, "-m", "benchmark", *map(str, words)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_two_machines_share_a_grid_and_a_third_one_looks(ground: Ground, machine: Machine) -> None:
    one, other, third = (machine(ground.folder / name) for name in ("one", "other", "third"))
    outputs = [ground.folder / f"{results.name}.txt" for results in (one, other)]
    both = [
        ground.start(ground.command(results, methods=METHODS, workers=2), output)
        for results, output in zip((one, other), outputs, strict=True)
    ]
    assert [process.wait(900) for process in both] == [0, 0], [output.read_text() for output in outputs]
    expected = ground.undisturbed(METHODS)
    assert problems(one, expected) + problems(other, expected) == []
    mine, theirs = left(one).trained, left(other).trained
    assert len(mine) + len(theirs) == 12 and not mine.keys() & theirs.keys()
    assert mine and theirs
    _looks(ground, one, third)


def _looks(ground: Ground, one: Path, third: Path) -> None:
    """A folder in which nothing was trained has the same table, and fetches only the files that it needs."""
    assert re.search(r"disturbed-v1.* 12 ", _say("status", "--results", third))
    assert not (third / "runs").exists()
    protocol = ground.folder / "disturbed.toml"
    for results in (one, third):
        _say("report", protocol, "--results", results)
    tables = [(results / EXPERIMENT / "cells.csv").read_text() for results in (one, third)]
    assert tables[0] == tables[1] and tables[0].count("done") == 12
    assert list((third / "runs").glob("*/confusions.npz")) and not list((third / "runs").glob("*/weights.safetensors"))
    run = next(iter(ResultsFolder(third).finished(EXPERIMENT).values()))
    places = ("--data", ground.folder / "world", "--protocol", protocol, "--stores", f"{one}.stores")
    assert "target mIoU" in _say("replay", run.id, "--results", third, *places)


def test_a_worker_on_another_machine_helps(ground: Ground, machine: Machine) -> None:
    """Its data and decoded patches lie elsewhere."""
    here, there = machine(ground.folder / "here"), machine(ground.folder / "there")
    (ground.folder / "elsewhere").symlink_to(ground.folder / "world")
    seeds = ("--seeds", "7,8")
    command = ground.start(
        ground.command(here, *seeds, methods=("source-only", "tent"), workers=1), ground.folder / "here.txt"
    )
    words = [sys.executable, "-m", "tests.faults.watched", "worker", "--results", there, "--keep"]
    places = ["--data", ground.folder / "elsewhere", "--stores", f"{there}.stores"]
    worker = ground.start([*map(str, words + places)], ground.folder / "there.txt")
    try:
        assert command.wait(900) == 0, (ground.folder / "here.txt").read_text()
    finally:
        worker.terminate()
    assert worker.wait(60) == 130
    mine, theirs = left(here).trained, left(there).trained
    assert len(mine) + len(theirs) == 8 and not mine.keys() & theirs.keys() and theirs
    assert (here / EXPERIMENT / "cells.csv").read_text().count("done") == 8
