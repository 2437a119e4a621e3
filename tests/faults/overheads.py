"""What landshift itself costs: writing runs down, going from one to the next, and what a second worker gains.

Shares and ratios of times measured side by side.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

from benchmark.grid.jobs import Job, Plan
from benchmark.grid.pool import Runner
from benchmark.grid.session import Session
from benchmark.recipe import PRESETS
from benchmark.tracking import Tracker
from benchmark.tracking.runs import Run
from tests.faults.ground import Ground

METHODS = ("source-only", "entropy-minimization")
RECIPE = "--steps 200 --batch-size 16 --crop 32 --checkpoints 4 --save-every 60".split()  # noqa: SIM905 - the preset's


@dataclass(frozen=True)
class Overheads:
    """Of small grids.

    Attributes:
        run: seconds, the mean.
        tracking: share of the runs' time that the store takes: to start, to log, to keep files, to end.
        scheduling: share of the grid's time that is in no run.
        workers: how many times as long the command takes with one worker as with two: all of it, and without what a
            command takes that finds everything done.
        machine: the same of two commands, each with half of the runs, one after the other and side by side: what the
            machine itself gains.
    """

    run: float
    tracking: float
    scheduling: float
    workers: tuple[float, float]
    machine: float


class Tally:
    """Adds up the seconds inside some calls; a call within another counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return call(*args, **kwargs)
            self._inside, started = True, time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds += time.perf_counter() - started

        return timed

    @contextmanager
    def of(self, *calls: tuple[type, str]) -> Iterator[None]:
        """Within, these methods of classes are timed."""
        with ExitStack() as stack:
            for owner, name in calls:
                stack.enter_context(patch.object(owner, name, self.timed(getattr(owner, name))))
            yield


def measure(ground: Ground) -> Overheads:
    """Measure on a machine with two idle cores at least."""
    run, tracking, scheduling = _shares(ground)
    return Overheads(run, tracking, scheduling, _gain(ground), _machine(ground))


def _shares(ground: Ground) -> tuple[float, float, float]:
    """Seconds of a run, and the shares of tracking and scheduling, of a grid in this process."""
    plan = Plan(
        str(ground.folder / "disturbed.toml"),
        ground.folder / "world",
        ground.folder / "shares",
        ground.folder / "stores",
        PRESETS["tiny"],
        "cpu",
    )
    session = Session(plan)
    control, *jobs = session.bench.jobs(list(METHODS), [0, 1])
    store, runs = Tally(), Tally()

    def work(some: list[Job]) -> None:
        session.run(some, 1, lambda job, share: None, lambda end: None)

    work([control])  # what a process loads for its first run belongs to no run
    with (
        store.of((Tracker, "start"), *((Run, name) for name in ("log", "flush", "tag", "artifact", "finish"))),
        runs.of((Runner, "run")),
    ):
        started = time.perf_counter()
        work(jobs)
        grid = time.perf_counter() - started
    return runs.seconds / len(jobs), store.seconds / runs.seconds, 1 - runs.seconds / grid


def _gain(ground: Ground) -> tuple[float, float]:
    """How much sooner the command ends with two workers: all of it, and without what a second call of it takes.

    One and two workers take turns, because a machine gets slower and faster meanwhile.
    """
    whole: dict[int, list[float]] = {1: [], 2: []}
    without: dict[int, list[float]] = {1: [], 2: []}
    for number, workers in enumerate((2, 1, 2, 1, 2)):
        results = ground.folder / f"gain-{number}"
        more = ("--preset", "tiny", *RECIPE, "--seeds", "0,1,2,3")  # sixteen runs
        command = ground.command(results, *more, methods=METHODS, workers=workers)
        first, second = (_seconds(ground, command, results) for call in ("first", "second"))
        whole[workers].append(first)
        without[workers].append(first - second)
    return mean(whole[1]) / mean(whole[2]), mean(without[1]) / mean(without[2])


def _seconds(ground: Ground, command: list[str], results: Path) -> float:
    started = time.perf_counter()
    if ground.run(command, results.with_suffix(".txt")):
        raise RuntimeError(f"the command failed: {results.with_suffix('.txt')}")
    return time.perf_counter() - started


def _machine(ground: Ground) -> float:
    """How many times as long two commands take one after the other as side by side."""
    spent = []
    for kind in ("after", "beside"):
        started, at_work = time.perf_counter(), []
        for seed in ("0", "1"):
            results = ground.folder / f"{kind}-{seed}"
            command = ground.command(results, "--preset", "tiny", *RECIPE, "--seeds", seed, methods=METHODS, workers=1)
            process = ground.start(command, results.with_suffix(".txt"))
            if kind == "after":
                process.wait()
            at_work.append(process)
        if any(process.wait() for process in at_work):
            raise RuntimeError(f"a command failed: see {ground.folder}")
        spent.append(time.perf_counter() - started)
    return spent[0] / spent[1]
