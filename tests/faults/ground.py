"""A small grid that can be disturbed: its data, its command, and what is left of it."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.experiments.checkpoint_records import CONFUSIONS
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_folder import CURVE, RECORD, read_run
from benchmark.experiments.run_job import WEIGHTS
from tests.faults.watched import log_of

METHODS = ("source-only", "entropy-minimization", "tent", "oracle")
SMALL = ("source-only", "entropy-minimization")  # eight runs
SEEDS = "0,1"
EXPERIMENT = "disturbed-v1"
WORLD = {"places": 2, "times": 2, "zones": 4, "zone_side": 2, "patch_size": 32}  # 64 patches
PROTOCOL = """
name = "disturbed"
version = 1
dataset = "world"
title = "A small split"
description = "Two times of a small world."
confounds = "Nothing."
hold_out = ["time"]
"""
RECIPE = "--steps 40 --batch-size 4 --crop 32 --checkpoints 2 --save-every 1 --accelerator cpu".split()  # noqa: SIM905


@dataclass(frozen=True)
class Ground:
    """A folder with a small world and a protocol.

    Attributes:
        folder: of all that the commands read and write.
    """

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> "Ground":
        """Make one in an empty folder."""
        from benchmark.data.synthetic import World, generate

        folder.mkdir(parents=True, exist_ok=True)
        generate(World(**WORLD), folder / "world")
        (folder / "disturbed.toml").write_text(PROTOCOL, encoding="utf-8")
        return cls(folder)

    def results(self, name: str, settings: str = "", kills: int = 100) -> Path:
        """Return a new results folder.

        Args:
            settings: content of its `settings.toml`, besides a short lease.
            kills: deaths of its worker after which a job fails.
        """
        folder = self.folder / name
        folder.mkdir()
        (folder / "settings.toml").write_text(f"lease = 8.0\nkills = {kills}\n{settings}", encoding="utf-8")
        return folder

    def command(self, results: Path, *more: str, methods: Sequence[str] = METHODS, workers: int = 4) -> list[str]:
        """Return `landshift run` of the grid; every results folder has a store of decoded patches of its own."""
        chosen = [word for name in methods for word in ("--method", name)]
        places = ["--data", str(self.folder / "world"), "--results", str(results), "--stores", f"{results}.stores"]
        return [
            *(sys.executable, "-m", "tests.faults.watched", "run", str(self.folder / "disturbed.toml")),
            *(*chosen, "--seeds", SEEDS, "--workers", str(workers), *places, *RECIPE, *more),
        ]

    def start(self, command: Sequence[str], output: Path) -> "subprocess.Popen[bytes]":
        """Start a command in a session of its own; what it prints is appended to a file."""
        with output.open("ab") as file:
            return subprocess.Popen(
                command,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"},
                start_new_session=True,
                # What runs in the background of a shell ignores Ctrl-C, and its children would, too.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def run(self, command: Sequence[str], output: Path) -> int:
        """Run a command to its end; returns the exit status."""
        return self.start(command, output).wait()

    def undisturbed(self, methods: Sequence[str] = METHODS) -> "Left":
        """Return what the grid leaves that nothing disturbs; it is trained once.

        Raises:
            RuntimeError: it failed.
        """
        results = self.folder / f"undisturbed-{len(methods)}"
        if not results.exists():
            results.mkdir()
            output = self.folder / f"{results.name}.txt"
            if self.run(self.command(results, methods=methods), output):
                raise RuntimeError(f"the undisturbed grid failed: {output}")
        return left(results)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL a command with all its workers, and wait for its end."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def members(process: "subprocess.Popen[bytes]") -> dict[int, str]:
    """Return the processes of a command by their ids: ``command``, ``worker`` or ``other``."""
    asked = ["ps", "-o", "pid=,ppid=,stat=,args=", "-g", str(process.pid)]
    lines = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    found = [line.split(maxsplit=3) for line in lines]
    parents = {int(pid): int(parent) for pid, parent, state, _ in found if not state.startswith("Z")}
    servers = {int(pid) for pid, parent, _, words in found if "forkserver" in words and int(parent) == process.pid}
    kinds = {pid: "worker" if parent in servers else "other" for pid, parent in parents.items()}
    return kinds | {process.pid: "command"}


@dataclass(frozen=True)
class Left:
    """What is in a results folder.

    Attributes:
        states: number of jobs in each state.
        again: times that a job was begun again.
        trained: processes that trained each job to its end, by key.
        numbers: of each finished run, by method, fold and seed: every metric but times, every curve, every confusion
            matrix and the weights, as bytes.
    """

    states: Counter[str]
    again: int
    trained: dict[str, list[int]]
    numbers: dict[tuple[str, str, str], dict[str, Any]]


def left(results: Path) -> Left:
    """Read a results folder, and from MLflow the files that only it has."""
    opened = ResultsFolder(results)
    rows = opened.queue.rows(EXPERIMENT)
    numbers = {}
    for run in opened.finished(EXPERIMENT).values():
        files = [run.artifacts / name for name in (RECORD, CURVE, CONFUSIONS, WEIGHTS)]
        _, _, curve = read_run(files[0].parent)
        with np.load(files[2]) as arrays:
            matrices = {name: arrays[name].tobytes() for name in sorted(arrays.files)}
        numbers[run.facts["method"], run.facts["fold"], run.facts["seed"]] = {
            "metrics": _untimed(run.metrics),
            "curves": [(step, _untimed(metrics)) for step, metrics in curve],
            "matrices": matrices,
            "weights": files[3].read_bytes(),
        }
    return Left(Counter(row.state for row in rows), sum(row.attempts - 1 for row in rows), _trained(results), numbers)


def _untimed(metrics: Any) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def _trained(results: Path) -> dict[str, list[int]]:
    trained: dict[str, list[int]] = {}
    log = log_of(results.resolve())
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        key, pid, status = line.split()
        if status == "FINISHED":
            trained.setdefault(key, []).append(int(pid))
    return trained


def differences(one: Left, other: Left) -> list[str]:
    """Return what is not the same in two results folders, to the bit."""
    lost = sorted(map(str, one.numbers.keys() ^ other.numbers.keys()))
    changed = [
        f"{key}: {what}"
        for key in one.numbers.keys() & other.numbers.keys()
        for what in ("metrics", "curves", "matrices", "weights")
        if one.numbers[key][what] != other.numbers[key][what]
    ]
    return [f"only in one: {key}" for key in lost] + changed


def problems(results: Path, expected: Left, killed: Collection[int] = ()) -> list[str]:
    """Return what is wrong with a results folder in which the grid has been completed, and with its runs in MLflow.

    Args:
        expected: what the undisturbed grid left.
        killed: processes that died; what they trained to the end and could not write into the queue is trained again.
    """
    found = left(results)
    wrong = differences(found, expected)
    if set(found.states) != {"done"}:
        wrong.append(f"jobs are {dict(found.states)}")
    for key, processes in found.trained.items():
        if len([pid for pid in processes[:-1] if pid not in killed]):
            wrong.append(f"{key} was trained to its end by the processes {processes}")
    return [f"{results.name}: {line}" for line in wrong + _unpublished(results, len(expected.numbers))]


def _unpublished(results: Path, count: int) -> list[str]:
    """Return what MLflow does not show, or shows twice or otherwise than the run folders."""
    opened = ResultsFolder(results)
    api, experiment = opened.client.api, opened.client.experiment(EXPERIMENT)
    runs = api.search_runs([experiment], "tags.`landshift.kind` = 'cell'", max_results=10_000)
    states = Counter(run.info.status for run in runs)
    wrong = [] if states == {"FINISHED": count} else [f"runs in MLflow are {dict(states)}"]
    for run in opened.finished(EXPERIMENT).values():
        _, _, curve = read_run((run.artifacts / RECORD).parent)
        name = next(iter(curve[0][1]))
        points = [(step, metrics[name]) for step, metrics in curve if name in metrics]
        shown = api.get_metric_history(run.run, name) if run.run else []
        if sorted((point.step, point.value) for point in shown) != points:
            wrong.append(f"{run.name}: MLflow has {len(shown)} points of {name}, the curve {len(points)}")
    return wrong
