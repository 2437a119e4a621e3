"""A small grid that can be disturbed: its data, its command, and what is left of it."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

METHODS = ("source-only", "entropy-minimization", "tent", "oracle")
SEEDS = "0,1"
RUNS = 16  # methods x two folds x seeds
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
RECIPE = "--steps 24 --batch-size 4 --crop 32 --checkpoints 2 --save-every 1 --accelerator cpu".split()  # noqa: SIM905


@dataclass(frozen=True)
class Ground:
    """A folder with a small world and a protocol.

    Attributes:
        folder: of all that the commands read and write.
    """

    folder: Path

    @classmethod
    def made(cls, folder: Path, **world: int) -> "Ground":
        """In an empty folder.

        Args:
            world: settings that are not those of `WORLD`.
        """
        from benchmark.data.synthetic import World, generate

        folder.mkdir(parents=True, exist_ok=True)
        generate(World(**(WORLD | world)), folder / "world")
        (folder / "disturbed.toml").write_text(PROTOCOL, encoding="utf-8")
        return cls(folder)

    def command(self, results: Path, *more: str, methods: Sequence[str] = METHODS, workers: int = 4) -> list[str]:
        """`landshift run` of the grid; every results folder has a store of decoded patches of its own."""
        chosen = [word for name in methods for word in ("--method", name)]
        places = ["--data", str(self.folder / "world"), "--results", str(results), "--stores", str(results / "stores")]
        return [
            *(sys.executable, "-m", "benchmark", "run", str(self.folder / "disturbed.toml")),
            *(*chosen, "--seeds", SEEDS, "--workers", str(workers), *places, *RECIPE, *more),
        ]

    def start(self, command: Sequence[str], output: Path, **more: Any) -> "subprocess.Popen[bytes]":
        """Start a command in a process group of its own; what it says goes to the end of a file."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        with output.open("ab") as file:
            return subprocess.Popen(
                command,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
                # What runs in the background of a shell ignores Ctrl-C, and its children would, too.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                **more,
            )

    def run(self, command: Sequence[str], output: Path, **more: Any) -> int:
        """Run a command to its end; the exit status."""
        return self.start(command, output, **more).wait()


def kill_group(process: "subprocess.Popen[bytes]", number: int = signal.SIGKILL) -> None:
    """Signal a command with all its workers, and wait for its end."""
    os.killpg(process.pid, number)
    process.wait()


def members(process: "subprocess.Popen[bytes]") -> list[int]:
    """Process ids of a command's group, the command first."""
    found = subprocess.run(["ps", "-o", "pid=", "-g", str(process.pid)], capture_output=True, text=True, check=False)
    return sorted(map(int, found.stdout.split()))


@dataclass(frozen=True)
class Left:
    """What is in a store.

    Attributes:
        states: number of runs of each status.
        twice: identities with several finished runs.
        numbers: of each finished run, by method, fold and seed: every metric but times, every curve, every confusion
            matrix and the weights, as bytes.
    """

    states: Counter[str]
    twice: int
    numbers: dict[tuple[str, str, str], dict[str, Any]]


def left(results: Path) -> Left:
    """Read a store."""
    from benchmark.tracking import Tracker

    tracker = Tracker(results)
    records = tracker.cells(tracker.experiment("disturbed-v1"))
    finished = [record for record in records if record.status == "FINISHED"]
    numbers = {}
    for record in finished:
        metrics = {name: value for name, value in record.metrics.items() if not name.startswith("time/")}
        with np.load(record.artifacts / "confusions.npz") as arrays:
            matrices = {name: arrays[name].tobytes() for name in sorted(arrays.files)}
        numbers[record.facts["method"], record.facts["fold"], record.facts["seed"]] = {
            "metrics": metrics,
            "curves": {name: tracker.history(record.id, name) for name in sorted(metrics)},
            "matrices": matrices,
            "weights": (record.artifacts / "weights.safetensors").read_bytes(),
        }
    return Left(Counter(record.status for record in records), len(finished) - len(numbers), numbers)


def differences(one: Left, other: Left) -> list[str]:
    """What is not the same in two stores, to the bit."""
    lost = sorted(map(str, one.numbers.keys() ^ other.numbers.keys()))
    changed = [
        f"{key}: {what}"
        for key in one.numbers.keys() & other.numbers.keys()
        for what in ("metrics", "curves", "matrices", "weights")
        if one.numbers[key][what] != other.numbers[key][what]
    ]
    return [f"only in one: {key}" for key in lost] + changed
