"""Does a run's memory grow with patches, folds or runs in the store? Does a loop of thousands of runs lose any?

Memory is what a process has for itself (anonymous pages): those of the decoded store, which the kernel takes back when
it needs them, and of libraries are not counted.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.ground import Ground

EVERY = 0.05  # seconds between two looks
MIB = 2**20
TINY = "--steps 2 --batch-size 2 --crop 16 --checkpoints 1".split()  # noqa: SIM905 - later options count


@dataclass(frozen=True)
class Look:
    """A process at a moment.

    Attributes:
        runs: that it has ended.
        memory: bytes that are its own.
        files: open file descriptors.
        seconds: since it was started.
    """

    runs: int
    memory: int
    files: int
    seconds: float


@dataclass(frozen=True)
class Peak:
    """Of the command of one run.

    Attributes:
        what: was varied.
        memory: bytes at most.
    """

    what: str
    memory: int


def looks(ground: Ground, command: list[str], output: Path) -> Iterator[Look]:
    """Start a command with one worker, which then works in the command's own process, and look at it to its end.

    Raises:
        RuntimeError: it failed.
    """
    started = time.monotonic()
    process = ground.start(command, output)
    runs, said = 0, output.open(encoding="utf-8", errors="replace")
    with said:
        while process.poll() is None:
            runs += sum("target mIoU" in line and line.startswith("[") for line in said)
            try:
                yield Look(runs, _own_memory(process.pid), _files(process.pid), time.monotonic() - started)
            except (FileNotFoundError, ProcessLookupError, StopIteration):
                break  # it has just ended
            time.sleep(EVERY)
    if process.wait():
        raise RuntimeError(f"the command failed: {output}")


def _own_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def _files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def many_runs(ground: Ground, runs: int, results: Path) -> list[Look]:
    """One process does many tiny runs; a look at it after each but the last, after which it reports."""
    seeds = ",".join(map(str, range(runs // 2)))  # of two folds
    command = [*ground.command(results, *TINY, methods=("source-only",), workers=1), "--seeds", seeds]
    after: dict[int, Look] = {}
    for look in looks(ground, command, results.with_suffix(".txt")):
        if look.runs in after or look.runs == 2 * (runs // 2):
            continue
        after[look.runs] = look
        if look.runs % 100 == 0:
            print(
                f"{look.runs} runs: {look.memory / MIB:.0f} MiB, {look.files} files, {look.seconds:.0f} s", flush=True
            )
    return list(after.values())


def growth(seen: list[Look], first: int) -> tuple[float, int]:
    """MiB a thousand runs, by the line through all looks after the first runs; and files, the last look's over then."""
    rest = [look for look in seen if look.runs >= first]
    slope = statistics.linear_regression([look.runs for look in rest], [look.memory / MIB for look in rest]).slope
    return 1000 * slope, rest[-1].files - rest[0].files


def peaks(folder: Path, many: Path | None = None) -> list[Peak]:
    """The peak of runs in one process, until it reports: of more patches, of more folds, and beside many runs.

    Args:
        folder: an empty one.
        many: results of a ground with many runs.
    """
    found = []
    for side, times in ((2, 2), (4, 2), (8, 2), (16, 2), (2, 8)):
        ground = Ground.made(folder / f"world-{side}-{times}", zone_side=side, times=times)
        what = f"{2 * times * 4 * side**2:,} patches, {times} folds, {times} runs"
        found.append(Peak(what, _peak(ground, ground.folder / "results", times)))
        print(f"{found[-1].what}: {found[-1].memory / MIB:.0f} MiB", flush=True)
    if many:
        runs = Peak("64 patches, 2 folds, 2 runs beside many", _peak(Ground(many.parent), many, 2, seed="1000000"))
        print(f"{runs.what}: {runs.memory / MIB:.0f} MiB", flush=True)
        found.append(runs)
    return found


def _peak(ground: Ground, results: Path, runs: int, seed: str = "0") -> int:
    command = [*ground.command(results, *TINY, methods=("source-only",), workers=1), "--seeds", seed]
    output = results.with_suffix(f".{seed}.txt")
    return max(look.memory for look in looks(ground, command, output) if look.runs < runs)
