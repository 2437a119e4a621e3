"""SIGKILL at random moments of a grid until it is complete: is its table that of the undisturbed one?"""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.ground import Ground, Left, kill, left, members, problems

PAUSE = (1.0, 9.0)  # seconds between two kills
PATIENCE = 900.0  # for a command that nothing disturbs any more
# What dies: a worker most often; "other" are the process that workers are forked from, and the one that draws.
VICTIMS = ("worker",) * 7 + ("whole", "command", "other")


@dataclass
class Kills:
    """What came of it.

    Attributes:
        victims: how often each kind of process was killed; ``whole`` is a command with all its processes.
        rounds: grids that were completed.
        again: times that a job was begun again.
        seconds: from the first to the last grid.
        wrong: what differs from the undisturbed grid, of all rounds.
    """

    victims: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    again: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def run(ground: Ground, kills: int, seed: int, make_results: Callable[[str], Path]) -> Kills:
    """Kill processes of grids at random moments, each grid until it is complete.

    Args:
        kills: number of all.
        make_results: makes a results folder of a name.
    """
    chance, found, expected = random.Random(seed), Kills(), ground.undisturbed()
    started = time.monotonic()
    while found.victims.total() < kills:
        results = make_results(f"round-{found.rounds + 1}")
        _complete(ground, results, kills, chance, expected, found)
        found.rounds += 1
        print(f"{found.rounds} grids, {found.victims.total()} kills, {found.wrong or 'all well'}", flush=True)
    found.seconds = time.monotonic() - started
    return found


def _complete(ground: Ground, results: Path, kills: int, chance: random.Random, expected: Left, found: Kills) -> None:
    output, killed, drawing_killed = results.with_name(f"{results.name}.txt"), set[int](), False
    while True:
        process = ground.start(ground.command(results), output)
        while process.poll() is None:
            rest = kills - found.victims.total()
            try:
                process.wait(chance.uniform(*PAUSE) if rest else PATIENCE)
            except subprocess.TimeoutExpired:
                if not rest:
                    found.wrong.append(f"{results.name}: not complete after {PATIENCE:.0f} s without a kill")
                    kill(process)
                    return
                victim, pids = _strike(process, chance)
                killed |= pids
                found.victims.update([victim] if victim else [])
                drawing_killed |= victim == "other"
        if process.returncode == 0:
            break
        if process.returncode != -signal.SIGKILL and not drawing_killed:
            found.wrong.append(f"{results.name}: exit status {process.returncode}")
            return
        drawing_killed = False
    found.wrong += problems(results, expected, killed)
    found.again += left(results).again


def _strike(process: "subprocess.Popen[bytes]", chance: random.Random) -> tuple[str, set[int]]:
    """Kill; returns what, and all processes that die of it; "" and none where the command ends before."""
    victim = chance.choice(VICTIMS)
    while process.poll() is None:
        there = members(process)
        if victim == "whole":
            kill(process)
            return victim, set(there)
        if able := [pid for pid, kind in there.items() if kind == victim]:
            pid = chance.choice(able)
            os.kill(pid, signal.SIGKILL)
            # The process may be the one that workers are forked from: then its command kills them.
            return victim, set(there) - {process.pid} if victim == "other" else {pid}
        time.sleep(0.5)
    return "", set()
