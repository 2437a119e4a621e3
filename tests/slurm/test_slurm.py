"""Jobs on a real Slurm: some are killed, some go back into the queue, one fails, and the table says it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.data.synthetic import World, generate
from benchmark.tracking import RunRecord, Tracker

PROGRAMS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "sbatch")
SCRIPT = Path(__file__).with_name("cluster.sh")
REPOSITORY = Path(__file__).resolve().parents[2]
PROTOCOL = """
name = "tiny"
version = 1
dataset = "world"
title = "A tiny split"
description = "Times."
confounds = "Nothing."
hold_out = ["time"]
"""
METHODS = """
import time
from methods.base import Method

class Slow(Method):
    \"\"\"Takes long enough to be killed, and breaks on seed 1.\"\"\"

    def losses(self, source, target, progress):
        time.sleep(1)
        if self.seed == 1:
            raise RuntimeError("no idea what to do")
        return {"segmentation": self.segmentation_loss(source)}
"""

missing = [name for name in PROGRAMS if not shutil.which(name)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(missing), reason=f"no Slurm here: {', '.join(missing)} not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a Slurm"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    pytest.importorskip("submitit")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "start", folder], check=True, timeout=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield
        subprocess.run(["scancel", "--user=root"], check=False, timeout=30)
    subprocess.run([SCRIPT, "stop", folder], check=True, timeout=100)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A comparison of two methods and six seeds, without its engine."""
    generate(World(places=2, times=2, zones=4, zone_side=1, patch_size=32), tmp_path / "world")
    (tmp_path / "tiny.toml").write_text(PROTOCOL)
    (tmp_path / "slow_methods.py").write_text(METHODS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return [
        *(sys.executable, "-m", "benchmark", "run", "tiny.toml", "--data", "world", "--stores", "stores"),
        *("--method", "slow_methods:Slow", "--method", "source-only", "--seeds", "0,1,2,3,4,5", "--folds", "2020"),
        *("--steps", "20", "--checkpoints", "2", "--batch-size", "2", "--accelerator", "cpu", "--engine", "slurm"),
    ]


def _await_running(results: Path, seed: str) -> RunRecord:
    """The run of the slow method with a seed, once it is training."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        tracker = Tracker(results)
        for record in tracker.cells(tracker.experiment("tiny-v1")):
            asked = record.facts.get("method") == "slow_methods:Slow" and record.facts.get("seed") == seed
            if asked and record.status == "RUNNING":
                return record
        time.sleep(0.5)
    raise AssertionError(f"seed {seed} was never at work")


def test_what_is_killed_or_requeued_goes_on_and_what_fails_says_why(
    cluster: None, command: list[str], tmp_path: Path
) -> None:
    began = time.monotonic()
    detached = subprocess.run([*command, "--detach"], capture_output=True, text=True, timeout=200, check=True)
    assert "12 runs submitted, 0 there before" in detached.stdout
    print(f"submitted after {time.monotonic() - began:.0f} s")

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attached:
        killed = _await_running(tmp_path / "results", "2")
        os.kill(int(killed.tags["landshift.owner"].split(" ")[1]), signal.SIGKILL)
        requeued = _await_running(tmp_path / "results", "3")
        subprocess.run(["scontrol", "requeue", requeued.task], check=True, timeout=30)
        preempted = _await_running(tmp_path / "results", "4")
        urgent = [
            "sbatch",
            "--partition=high",
            "--ntasks=4",
            "--output=/dev/null",
            "--wrap=sleep 1",
        ]  # takes every slot
        subprocess.run(urgent, check=True, timeout=30)
        text = attached.communicate(timeout=700)[0]
    print(f"ended after {time.monotonic() - began:.0f} s\n{text}")
    assert attached.returncode == 1  # one failed
    begun = re.search(r"(\d+) runs submitted, \d+ there before", text)
    assert begun and int(begun[1]) <= 1  # the failed one is run again, if it had failed by then
    assert re.search(r"slow_methods:Slow, 2020, seed 2: its Slurm task \w+ ended .*it is submitted again", text)
    before = int(text.partition(" done before")[0].split(" ")[-1])
    assert before + len(re.findall(r"\[\d+/\d+\] .*: target mIoU", text)) == 11
    assert re.search(r"Slow, 2020, seed 1: FAILED: .*no idea what to do.*slurm/\w+_0_log\.out", text)

    tracker = Tracker(tmp_path / "results")
    records = tracker.cells(tracker.experiment("tiny-v1"))
    runs = {record.id: record for record in records}
    statuses = Counter(record.status for record in records)
    assert (statuses["FINISHED"], statuses["FAILED"], statuses["RUNNING"]) == (11, 1 + int(begun[1]), 0)
    assert f"its Slurm task {killed.task} ended before it did" in str(runs[killed.id].error)
    for stopped in (requeued, preempted):
        assert runs[stopped.id].status == "KILLED" and f"task {stopped.task} was" in str(runs[stopped.id].error)
        again = next(r for r in records if r.identity == stopped.identity and r.status == "FINISHED")
        assert again.task == stopped.task  # the same task began twice
    comparison = (tmp_path / "results" / "tiny-v1" / "comparison.md").read_text()
    assert "no idea what to do" in comparison and "_0_log.out" in comparison
