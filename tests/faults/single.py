"""One fault at a time: what the user is told, and what is lost."""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.tracking.connections import connect
from tests.faults.ground import Ground, differences, kill_group, left
from tests.server.ground import missing, serving

SMALL = ("source-only", "entropy-minimization")  # eight runs
PATIENCE = 300.0


@dataclass(frozen=True)
class Outcome:
    """Of one fault.

    Attributes:
        fault: what was done.
        told: what the user saw, its own words.
        lost: what was lost of what was finished, and what the same command needs afterwards; "" for nothing.
        wrong: what must not be; empty if all is well.
    """

    fault: str
    told: str
    lost: str
    wrong: tuple[str, ...] = ()


class Skipped(Exception):  # noqa: N818 - no error, but a reason
    """A fault that cannot be made here."""


FAULTS: dict[str, Callable[[Ground], Outcome]] = {}


def fault(make: Callable[[Ground], Outcome]) -> Callable[[Ground], Outcome]:
    """Enter a fault under the name of its function."""
    FAULTS[make.__name__] = make
    return make


@fault
def terminated(ground: Ground) -> Outcome:
    """SIGTERM to the command."""
    return _stopped(ground, "SIGTERM to the command", lambda process: os.kill(process.pid, signal.SIGTERM))


@fault
def interrupted(ground: Ground) -> Outcome:
    """Ctrl-C reaches every process of the terminal."""
    return _stopped(ground, "Ctrl-C", lambda process: os.killpg(process.pid, signal.SIGINT))


def _stopped(ground: Ground, name: str, stop: Callable[["subprocess.Popen[bytes]"], None]) -> Outcome:
    results, output, process = _started(ground)
    _when(lambda: left(results).states["FINISHED"] >= 2, "two runs are finished")
    stop(process)
    status = process.wait(PATIENCE)
    before = left(results)
    wrong = [f"exit status {status}, not 130"] if status != 130 else []
    wrong += ["a run is left RUNNING"] if before.states["RUNNING"] else []
    said = _last(output)
    return _again(ground, results, output, name, said, before.states["FINISHED"], wrong)


@fault
def killed_while_it_reports(ground: Ground) -> Outcome:
    """SIGKILL to all processes when the runs are done and the table is made."""
    results, output, process = _started(ground)
    _when(lambda: "[8/8]" in output.read_text(), "the runs are done")
    time.sleep(1)
    wrong = ["it had ended before"] if process.poll() is not None else []
    kill_group(process)
    return _again(ground, results, output, "SIGKILL while it reports", "nothing", 8, wrong)


@fault
def locked(ground: Ground) -> Outcome:
    """Another program holds the database."""
    results, output, process = _started(ground)
    _when(lambda: left(results).states["FINISHED"] >= 1, "a run is finished")
    with sqlite3.connect(results / "mlflow.db", timeout=60) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(30)
        other.rollback()
    status = process.wait(PATIENCE)
    wrong = [f"exit status {status}"] if status else []
    told = "it waits, and says so" if "is locked by another process" in output.read_text() else "nothing; it waits"
    return _again(ground, results, output, "the database is locked for 30 seconds", told, 8, wrong)


@fault
def server_killed(ground: Ground) -> Outcome:
    """The tracking server, on PostgreSQL, is killed in the middle and started again ten seconds later."""
    if why := missing():
        raise Skipped(why)
    with serving() as server:
        results = _fresh(ground)
        connect(results, server.address)
        output = results.with_suffix(".txt")
        process = ground.start(ground.command(results, methods=SMALL, workers=2), output)
        _when(lambda: server.states()["FINISHED"] >= 2 and server.states()["RUNNING"] >= 1, "two runs are finished")
        server.kill()
        time.sleep(10)
        server.start()
        status = process.wait(4 * PATIENCE)
        wrong = [f"exit status {status}"] if status else []
        told = _line(output, ("is away",))
        found = _again(ground, results, output, "the tracking server is killed and restarted", told, 8, wrong)
        twice = [f"{len(server.twice())} points of curves are there twice"] if server.twice() else []
        return replace(found, lost="nothing of 8 finished runs, no metric twice", wrong=(*found.wrong, *twice))


@fault
def full(ground: Ground) -> Outcome:
    """The disk of the results is full; then there is room again."""
    results = _fresh(ground)
    with _disk(results, "size=6m"):
        output = results.with_suffix(".txt")
        status = ground.run(ground.command(results, methods=SMALL, workers=2), output)
        finished = left(results).states["FINISHED"] if (results / "mlflow.db").exists() else 0
        wrong = [] if status == 1 else [f"exit status {status}, not 1"]
        told = _line(output, ("No space left", "full"))
        subprocess.run(["mount", "-o", "remount,size=1g", str(results)], check=True)
        return _again(ground, results, output, "the disk is full", told, finished, wrong)


@fault
def filled(ground: Ground) -> Outcome:
    """The disk of the results becomes full in the middle of a grid."""
    results = _fresh(ground)
    with _disk(results, "size=1g"):
        output = results.with_suffix(".txt")
        process = ground.start(ground.command(results, methods=SMALL, workers=2), output)
        _when(lambda: left(results).states["FINISHED"] >= 2, "two runs are finished")
        used = shutil.disk_usage(results).used
        subprocess.run(["mount", "-o", f"remount,size={used + 4096}", str(results)], check=True)
        status = process.wait(PATIENCE)
        wrong = [] if status == 1 else [f"exit status {status}, not 1"]
        wrong += ["a traceback"] if "Traceback" in output.read_text() else []
        told = _line(output, ("No space left", "full"))
        subprocess.run(["mount", "-o", "remount,size=1g", str(results)], check=True)
        finished = left(results).states["FINISHED"]
        return _again(ground, results, output, "the disk becomes full in a grid", told, finished, wrong)


@fault
def unwritable(ground: Ground) -> Outcome:
    """The results lie where nothing can be written."""
    results, output, process = _started(ground)
    process.wait(PATIENCE)
    with _disk(results, "bind", read_only=True):
        status = ground.run(ground.command(results, methods=("max-square",)), output)
        wrong = [] if status == 1 else [f"exit status {status}, not 1"]
        told = _line(output, ("Read-only", "readonly", "read-only"))
    return _again(ground, results, output, "a store on a read-only folder", told, 8, wrong)


@fault
def not_a_number(ground: Ground) -> Outcome:
    """A loss is no number."""
    return _broken(ground, "NotANumber", "a NaN at step 5", "at step 5")


@fault
def out_of_memory(ground: Ground) -> Outcome:
    """More memory is asked for than there is."""
    return _broken(ground, "Greedy", "a worker asks for more memory than there is", "memory")


@fault
def killed_by_the_kernel(ground: Ground) -> Outcome:
    """As for want of memory."""
    return _broken(ground, "Vanishing", "a worker is killed for want of memory", "SIGKILL")


def _broken(ground: Ground, method: str, name: str, expected: str) -> Outcome:
    """Only the broken method's runs fail, and they say why."""
    results = _fresh(ground)
    output, label = results.with_suffix(".txt"), f"tests.faults.methods:{method}"
    status = ground.run(ground.command(results, methods=(*SMALL, label), workers=2), output)
    states = left(results).states
    wrong = [] if status == 1 else [f"exit status {status}, not 1"]
    wrong += [] if states["FINISHED"] == 8 else [f"{states['FINISHED']} runs of the others are finished, not 8"]
    wrong += ["a run is left RUNNING"] if states["RUNNING"] else []
    told = _line(output, (expected,))
    wrong += [] if told else [f"the reason does not say {expected!r}"]
    return Outcome(name, told, "its runs alone; the others of the grid end", tuple(wrong))


@fault
def a_crowd(ground: Ground) -> Outcome:
    """Sixteen processes start on a store that does not exist."""
    results = _fresh(ground)
    outputs = [ground.folder / f"crowd-{number}.txt" for number in range(16)]
    command = ground.command(results, methods=SMALL, workers=1)
    crowd = [ground.start(command, output) for output in outputs]
    states = [process.wait(4 * PATIENCE) for process in crowd]
    wrong = [f"exit statuses {sorted(set(states))}"] if any(states) else []
    found = left(results)
    wrong += [f"{found.twice} runs are there twice"] if found.twice else []
    wrong += [f"{found.states} of 8 runs"] if found.states != {"FINISHED": 8} else []
    return Outcome(
        "16 commands at once on no store", "sixteen tables; each run was done by one of them", "", tuple(wrong)
    )


# ---------------------------------------------------------------- what they share


def _fresh(ground: Ground) -> Path:
    number = 1 + len(list(ground.folder.glob("fault-*")))
    results = ground.folder / f"fault-{number:02d}"
    results.mkdir()
    return results


def _started(ground: Ground) -> tuple[Path, Path, "subprocess.Popen[bytes]"]:
    results = _fresh(ground)
    output = results.with_suffix(".txt")
    return results, output, ground.start(ground.command(results, methods=SMALL, workers=2), output)


def _when(true: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if true():
                return
        except Exception:
            pass
        time.sleep(0.3)
    raise TimeoutError(f"{what}: not in {PATIENCE:.0f} s")


def _again(
    ground: Ground, results: Path, output: Path, name: str, told: str, finished: int, wrong: list[str]
) -> Outcome:
    """The same command after the fault: its table must be that of an undisturbed grid, and nothing is done twice."""
    status = ground.run(ground.command(results, methods=SMALL, workers=2), output)
    wrong += [f"afterwards exit status {status}"] if status else []
    found, whole = left(results), ground.folder / "small"
    if not whole.exists():
        ground.run(ground.command(whole, methods=SMALL, workers=2), ground.folder / "small.txt")
    wrong += differences(found, left(whole))
    wrong += ["a run is left RUNNING"] if found.states["RUNNING"] else []
    wrong += [f"{found.twice} runs are there twice"] if found.twice else []
    return Outcome(name, told, f"nothing of {finished} finished runs; the same command did the rest", tuple(wrong))


def _last(output: Path) -> str:
    lines = [line.strip() for line in output.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1]


def _line(output: Path, words: tuple[str, ...]) -> str:
    """The last line that has one of the words."""
    lines = [line.strip() for line in output.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if any(word in line for word in words)), "")


@contextmanager
def _disk(folder: Path, options: str, read_only: bool = False) -> Iterator[None]:
    """A small file system in memory on a folder, or the folder itself without the right to write."""
    if os.geteuid() != 0:
        raise Skipped("mounting takes root")
    here = str(folder)
    if read_only:
        subprocess.run(["mount", "--bind", here, here], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", here], check=True)
    else:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", here], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", here], check=True)
