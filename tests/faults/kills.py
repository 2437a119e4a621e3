"""SIGKILL at random moments of a grid, each followed by the same command: is the table the unbroken one's?"""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.ground import RUNS, Ground, Left, differences, kill_group, left, members

SETTLE = 180.0  # seconds that a worker may go on with its run after its parent's death
PHASES = {"written:": "at its end", f"{RUNS}/{RUNS}": "reporting", " runs, ": "running"}  # by what was said last


@dataclass
class Kills:
    """What came of it.

    Attributes:
        phases: how many fell into what.
        rounds: stores that were begun anew, because the one before was complete.
        wrong: what differs from the unbroken grid, of all rounds.
    """

    phases: Counter[str] = field(default_factory=Counter)
    rounds: int = 1
    wrong: list[str] = field(default_factory=list)


def run(ground: Ground, kills: int, seed: int) -> Kills:
    """Kill the command with all its workers, the command alone, or one of its workers, at random moments."""
    chance, found = random.Random(seed), Kills()
    whole = ground.folder / "whole"
    started = time.monotonic()
    if ground.run(ground.command(whole), ground.folder / "whole.txt"):
        raise RuntimeError(f"the undisturbed grid failed: {ground.folder / 'whole.txt'}")
    duration, expected = time.monotonic() - started, left(whole)
    print(f"the undisturbed grid: {len(expected.numbers)} runs in {duration:.0f} s", flush=True)
    results = ground.folder / "round-1"
    for number in range(kills):
        output = ground.folder / f"kill-{number}.txt"
        process = ground.start(ground.command(results), output)
        moment = chance.uniform(1, 0.95 * duration)
        try:
            process.wait(moment)
            phase = "after its end"
        except subprocess.TimeoutExpired:
            phase = _strike(process, chance, output)
        found.phases[phase] += 1
        print(f"[{number + 1}/{kills}] after {moment:.0f} s, {phase}", flush=True)
        if (results / "mlflow.db").exists() and left(results).states["FINISHED"] == RUNS:
            found.wrong += _wrong(ground, results, expected)
            found.rounds += 1
            results = ground.folder / f"round-{found.rounds}"
    found.wrong += _wrong(ground, results, expected)
    return found


def _strike(process: "subprocess.Popen[bytes]", chance: random.Random, output: Path) -> str:
    """Kill; what, and in which phase."""
    said = output.read_text(errors="replace")
    phase = next((phase for words, phase in PHASES.items() if words in said), "before the first run")
    kind, others = chance.choice(("all", "all", "command", "worker")), members(process)[1:]
    if kind == "worker" and others:
        os.kill(chance.choice(others), signal.SIGKILL)
        try:  # the command goes on without it
            process.wait(SETTLE)
        except subprocess.TimeoutExpired:
            kill_group(process)
    elif kind == "command":
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    else:
        kill_group(process)
    return f"{phase} ({kind})"


def _wrong(ground: Ground, results: Path, expected: Left) -> list[str]:
    """What is wrong with a store after the same command was run to its end."""
    output = ground.folder / f"{results.name}.txt"
    end = time.monotonic() + SETTLE
    status = ground.run(ground.command(results), output)
    while left(results).states["RUNNING"] and time.monotonic() < end:  # an orphan is at its last run
        time.sleep(1)
        status = ground.run(ground.command(results), output)
    found = left(results)
    wrong = differences(found, expected)
    wrong += [f"exit status {status}"] if status else []
    wrong += [f"{found.twice} finished twice"] if found.twice else []
    wrong += [f"{found.states['RUNNING']} left RUNNING"] if found.states["RUNNING"] else []
    return [f"{results.name}: {line}" for line in wrong]
