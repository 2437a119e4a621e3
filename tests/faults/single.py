"""One fault at a time: what the user is told, and whether the same command completes the table."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.ground import SMALL, Ground, kill, left, problems
from tests.server.ground import missing, serving

PATIENCE = 600.0
CROWD = 16
DEADLY = "tests.faults.methods:Deadly"


@dataclass(frozen=True)
class Outcome:
    """Of one fault.

    Attributes:
        fault: what was done.
        told: what the user saw, its own words.
        wrong: what must not be; empty if all is well.
    """

    fault: str
    told: str
    wrong: tuple[str, ...] = ()


class Skipped(Exception):  # noqa: N818 - no error, but a reason
    """A fault that cannot be made here."""


FAULTS: dict[str, Callable[[Ground], Outcome]] = {}


def fault(make: Callable[[Ground], Outcome]) -> Callable[[Ground], Outcome]:
    """Enter a fault under the name of its function."""
    FAULTS[make.__name__] = make
    return make


@fault
def interrupted(ground: Ground) -> Outcome:
    """Ctrl-C reaches every process of the terminal."""
    return _stopped(ground, "Ctrl-C", lambda process: os.killpg(process.pid, signal.SIGINT))


@fault
def terminated(ground: Ground) -> Outcome:
    """SIGTERM to the command."""
    return _stopped(ground, "SIGTERM to the command", lambda process: os.kill(process.pid, signal.SIGTERM))


def _stopped(ground: Ground, name: str, stop: Callable[["subprocess.Popen[bytes]"], None]) -> Outcome:
    results, output, process = _begun(ground, 2)
    stop(process)
    wrong = _status(process.wait(PATIENCE), 130)
    wrong += ["a job is left running"] if left(results).states["running"] else []
    return _completed(ground, results, output, name, _last(output), wrong)


@fault
def killed_while_it_reports(ground: Ground) -> Outcome:
    """SIGKILL to all processes when the runs are done and the table is made."""
    results, output, process = _begun(ground, 8)
    time.sleep(1)
    wrong = ["it had ended before"] if process.poll() is not None else []
    kill(process)
    return _completed(ground, results, output, "SIGKILL while it reports", "nothing", wrong)


@fault
def locked(ground: Ground) -> Outcome:
    """Another program holds the database for longer than SQLite waits by itself."""
    results, output, process = _begun(ground, 1)
    with contextlib.closing(sqlite3.connect(results / "jobs.db", timeout=60)) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(100)
        other.rollback()
    wrong = _status(process.wait(PATIENCE), 0)
    told = _line(output, "does not answer")
    return _completed(ground, results, output, "another program locks jobs.db for 100 s", told, wrong)


@fault
def crowd(ground: Ground) -> Outcome:
    """Many commands start at once on a results folder without a database."""
    results = _fresh(ground)
    outputs = [results.with_name(f"{results.name}-{number}.txt") for number in range(CROWD)]
    command = ground.command(results, methods=SMALL, workers=1)
    processes = [ground.start(command, output) for output in outputs]
    wrong = [line for process in processes for line in _status(process.wait(3 * PATIENCE), 0)]
    wrong += [f"no table in {output}" for output in outputs if "written into" not in _text(output)]
    told = f"{CROWD} tables; {_line(outputs[0], 'by other commands') or _line(outputs[0], 'by another command')}"
    wrong += problems(results, ground.undisturbed(SMALL))
    return Outcome(f"{CROWD} commands at once on one folder", told, tuple(wrong))


@fault
def database_away(ground: Ground) -> Outcome:
    """PostgreSQL, which holds the queue, is stopped for a minute."""
    with _servers() as (postgres, _):
        results, output, process = _begun(ground, 2, _fresh(ground, f'database = "{postgres.database("jobs")}"'))
        postgres.stop()
        time.sleep(60)
        postgres.start()
        wrong = _status(process.wait(PATIENCE), 0)
        told = _line(output, "does not answer")
        return _completed(ground, results, output, "PostgreSQL is stopped for a minute", told, wrong)


@fault
def interrupted_without_database(ground: Ground) -> Outcome:
    """Ctrl-C while PostgreSQL does not answer."""
    with _servers() as (postgres, _):
        results, output, process = _begun(ground, 2, _fresh(ground, f'database = "{postgres.database("jobs")}"'))
        postgres.stop()
        time.sleep(5)
        os.killpg(process.pid, signal.SIGINT)
        begun = time.monotonic()
        wrong = _status(process.wait(PATIENCE), 130)
        told = f"{_last(output)} (after {time.monotonic() - begun:.0f} s)"
        postgres.start()
        return _completed(ground, results, output, "Ctrl-C while PostgreSQL is stopped", told, wrong)


@fault
def mlflow_away(ground: Ground) -> Outcome:
    """MLflow's server cannot be reached while the grid is trained; the next command finds it."""
    with _servers() as (_, server):
        results = _fresh(ground, f'mlflow = "{server.address}"')
        output = results.with_name(f"{results.name}.txt")
        wrong = _status(ground.run(ground.command(results, methods=SMALL), output), 0)
        told = _line(output, "not in MLflow yet")
        server.start()
        return _completed(ground, results, output, "MLflow's server is away during all of the grid", told, wrong)


@fault
def mlflow_killed(ground: Ground) -> Outcome:
    """MLflow's server is killed in the middle and started again ten seconds later."""
    with _servers() as (_, server):
        server.start()
        results, output, process = _begun(ground, 2, _fresh(ground, f'mlflow = "{server.address}"'))
        server.kill()
        time.sleep(10)
        server.start()
        wrong = _status(process.wait(PATIENCE), 0)
        told = _line(output, "not in MLflow yet") or "nothing; the command publishes what is missing at its end"
        return _completed(ground, results, output, "MLflow's server is killed and started again", told, wrong)


@fault
def full(ground: Ground) -> Outcome:
    """The disk of the results becomes full in the middle of a grid, and has room again a minute later."""
    results = _fresh(ground)
    with _disk(results, "size=1g"):
        results, output, process = _begun(ground, 2, results)
        used = shutil.disk_usage(results).used
        _mount("remount", f"size={used + 4096}", results)
        time.sleep(60)
        _mount("remount", "size=1g", results)
        status = process.wait(PATIENCE)
        wrong = [] if status in (0, 1) else [f"exit status {status}"]
        told = _line(output, "No space left") or _line(output, "full")
        return _completed(ground, results, output, "the disk is full for a minute", told, wrong)


@fault
def full_from_the_start(ground: Ground) -> Outcome:
    """There is no room for a database."""
    results = _fresh(ground)
    with _disk(results, "size=16k"):
        output = results.with_name(f"{results.name}.txt")
        wrong = _status(ground.run(ground.command(results, methods=SMALL), output), 1)
        told = _last(output)
        _mount("remount", "size=1g", results)
        return _completed(ground, results, output, "the disk is full before the first run", told, wrong)


@fault
def unwritable(ground: Ground) -> Outcome:
    """More runs are asked for where nothing can be written."""
    results, output, process = _begun(ground, 8)
    process.wait(PATIENCE)
    with _disk(results, "bind"):
        wrong = _status(ground.run(ground.command(results, methods=("max-square",)), output), 1)
        told = _last(output)
    return _completed(ground, results, output, "the results folder is read-only", told, wrong)


@fault
def deadly(ground: Ground) -> Outcome:
    """Four jobs kill each of their workers, as the kernel does for want of memory."""
    results = _fresh(ground, kills=3)
    output = results.with_name(f"{results.name}.txt")
    wrong = _status(ground.run(ground.command(results, methods=(*SMALL, DEADLY)), output), 1)
    states = left(results).states
    wrong += [] if states == {"done": 8, "failed": 4} else [f"jobs are {dict(states)}"]
    told = _line(output, "SIGKILL")
    wrong += [] if told else ["the reason does not say SIGKILL"]
    return Outcome("a training kills each of its workers", told, tuple(wrong))


# ---------------------------------------------------------------- what they share


def _fresh(ground: Ground, settings: str = "", kills: int = 100) -> Path:
    number = 1 + len(list(ground.folder.glob("fault-*/settings.toml")))
    return ground.results(f"fault-{number}", settings, kills)


def _begun(ground: Ground, finished: int, results: Path | None = None) -> tuple[Path, Path, "subprocess.Popen[bytes]"]:
    """Start a command of eight runs and wait until some are finished."""
    results = results or _fresh(ground)
    output = results.with_name(f"{results.name}.txt")
    process = ground.start(ground.command(results, methods=SMALL), output)
    end = time.monotonic() + PATIENCE
    while f"[{finished}/8]" not in _text(output):
        if time.monotonic() > end or process.poll() is not None:
            kill(process)
            raise RuntimeError(f"the command did not finish {finished} runs: {output}")
        time.sleep(0.2)
    return results, output, process


def _completed(ground: Ground, results: Path, output: Path, name: str, told: str, wrong: list[str]) -> Outcome:
    """Run the same command after the fault; its table must be that of the undisturbed grid."""
    wrong += ["a traceback was printed"] if "Traceback" in _text(output) else []
    wrong += _status(ground.run(ground.command(results, methods=SMALL), output), 0)
    wrong += problems(results, ground.undisturbed(SMALL))
    return Outcome(name, told, tuple(wrong))


def _status(found: int, expected: int) -> list[str]:
    return [] if found == expected else [f"exit status {found}, not {expected}"]


def _text(output: Path) -> str:
    return output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""


def _last(output: Path) -> str:
    return [line.strip() for line in _text(output).splitlines() if line.strip()][-1]


def _line(output: Path, words: str) -> str:
    """Return the last line with these words."""
    return next((line.strip() for line in reversed(_text(output).splitlines()) if words in line), "")


@contextlib.contextmanager
def _servers() -> Iterator[tuple[object, object]]:
    if why := missing():
        raise Skipped(why)
    with serving() as both:
        yield both


@contextlib.contextmanager
def _disk(folder: Path, options: str) -> Iterator[None]:
    """Mount a small file system in memory on a folder, with what the folder holds, or the folder itself read-only."""
    if os.geteuid() != 0:
        raise Skipped("mounting takes root")
    settings = (folder / "settings.toml").read_text(encoding="utf-8")
    if options == "bind":
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    else:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
        (folder / "settings.toml").write_text(settings, encoding="utf-8")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(how: str, options: str, folder: Path) -> None:
    subprocess.run(["mount", "-o", f"{how},{options}", folder], check=True)
