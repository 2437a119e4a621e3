"""Jobs on a real Slurm: some are killed, some go back into the queue, one fails, and the table says it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.data.synthetic import World, generate
from benchmark.experiments.queue import JobRow
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.slurm_task import task_of

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
    """A comparison of two methods and six seeds on Slurm."""
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


def _rows(results: Path) -> dict[tuple[str, str], JobRow]:
    """The jobs by method and seed."""
    return {(row.facts["method"], row.facts["seed"]): row for row in ResultsFolder(results).queue.rows()}


def _await_running(results: Path, seed: str) -> str:
    """The task in which the slow method with a seed is being trained, once it is."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        row = _rows(results).get(("slow_methods:Slow", seed))
        if row and row.state == "running":
            return task_of(row.worker)
        time.sleep(0.5)
    raise AssertionError(f"seed {seed} was never at work")


def _process_of(task: str) -> int:
    """The process of a task, on this machine."""
    wanted = dict(zip(("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"), task.split("_"), strict=True))
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_text().split("\0")
            environment = dict(pair.partition("=")[::2] for pair in (folder / "environ").read_text().split("\0"))
        except OSError:
            continue
        if "submitit.core._submit" in line and "python" in line[0] and wanted.items() <= environment.items():
            return int(folder.name)
    raise AssertionError(f"there is no process of {task}")


def test_what_is_killed_or_requeued_goes_on_and_what_fails_says_why(
    cluster: None, command: list[str], tmp_path: Path
) -> None:
    results, began = tmp_path / "results", time.monotonic()
    detached = subprocess.run([*command, "--detach"], capture_output=True, text=True, timeout=200, check=True)
    assert "12 tasks submitted, 0 there before" in detached.stdout
    print(f"submitted after {time.monotonic() - began:.0f} s")

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attached:
        killed = _await_running(results, "2")
        os.kill(_process_of(killed), signal.SIGKILL)
        requeued = _await_running(results, "3")
        subprocess.run(["scontrol", "requeue", requeued], check=True, timeout=30)
        _await_running(results, "4")
        every_slot = ["--partition=high", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 1"]
        subprocess.run(["sbatch", *every_slot], check=True, timeout=30)
        text = attached.communicate(timeout=700)[0]
    print(f"ended after {time.monotonic() - began:.0f} s\n{text}")
    assert attached.returncode == 1  # one failed
    begun = re.search(r"(\d+) tasks? submitted, (\d+) there before", text)
    assert begun and int(begun[2]) > 0
    assert re.search(rf"1 run put back into the queue: its Slurm task {killed} ended before it did \(failed; log", text)
    before = int(text.partition(" done before")[0].split(" ")[-1])
    assert before + len(re.findall(r"\[\d+/\d+\] .*: target mIoU", text)) == 11
    assert re.search(r"Slow, 2020, seed 1: FAILED: .*no idea what to do", text)

    rows = _rows(results)
    states = {key: row.state for key, row in rows.items()}
    assert states.pop(("slow_methods:Slow", "1")) == "failed" and set(states.values()) == {"done"}
    assert all(rows["slow_methods:Slow", seed].attempts > 1 for seed in "234")
    again = subprocess.run(["sacct", "--noheader", "--duplicates", "--allocations", f"--jobs={requeued}"],
                           capture_output=True, text=True, timeout=30, check=True)  # fmt: skip
    assert len(again.stdout.splitlines()) > 1  # the same task began twice
    assert "no idea what to do" in (results / "tiny-v1" / "comparison.md").read_text()


def test_cancelled_tasks_are_not_replaced(cluster: None, command: list[str], tmp_path: Path) -> None:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attached:
        assert attached.stdout and any("12 tasks submitted" in line for line in attached.stdout)
        task = _await_running(tmp_path / "results", "2")  # others wait
        subprocess.run(["scancel", task.partition("_")[0]], check=True, timeout=30)
        text = attached.communicate(timeout=300)[0]
    assert attached.returncode == 1 and "the tasks were cancelled" in text
    left = subprocess.run(["squeue", "--noheader", "--me"], capture_output=True, text=True, timeout=30, check=True)
    assert not left.stdout and not any(row.state == "running" for row in _rows(tmp_path / "results").values())


def test_runs_side_by_side_in_one_task_stop_before_its_time_limit_and_go_on(
    cluster: None, command: list[str], tmp_path: Path
) -> None:
    profile = tmp_path / "cluster.toml"
    profile.write_text('time = "3"\nruns_per_device = 2\nat_once = 1\n')  # the notice comes after 90 seconds
    command[command.index("0,1,2,3,4,5")] = "0,2"
    command[command.index("20")] = "100"
    command += ["--save-every", "5", "--profile", str(profile)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1000, check=False)
    print(ended.stdout, ended.stderr)
    assert ended.returncode == 0 and re.search("1 tasks? submitted, 0 there before", ended.stdout)
    rows = _rows(tmp_path / "results")
    assert {row.state for row in rows.values()} == {"done"}
    assert max(row.attempts for row in rows.values()) > 1
    assert len({task_of(row.worker) for row in rows.values()}) == 1
