"""Launchers of workers on this machine, and the command's view of the queue while they train."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from benchmark.common.errors import Stopped, TrackingError, TrainingError
from benchmark.experiments.fork_server import start_server
from benchmark.experiments.jobs import Job
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.session import Ended, ends, is_open
from benchmark.experiments.worker import STOP_PATIENCE, MachinePaths, Worker, new_name, parent_is_alive

LOOK_EVERY = 0.5  # seconds
STOP_SECONDS = 30.0  # to put a job back after SIGTERM
STOPPED = 75  # exit status of a worker that was ordered to stop
LOST = 255  # exit status that multiprocessing gives to processes whose fork server was killed
EARLY_DEATHS = 3  # of workers that never claimed a job, in a row, after which none is started again


class Launcher(Protocol):
    """A launcher: it runs workers while a command watches the queue."""

    def look(self) -> bool:
        """Look after the workers; return whether any is alive or will be."""


class LocalWorkers:
    """Worker processes of this machine; one that dies is replaced, and its job goes back to the queue at once.

    Args:
        folder: the results folder.
        keys: the jobs to train; None for all.
        count: number of processes.
        gpus: over which they are spread, by the names that CUDA_VISIBLE_DEVICES takes; none: each sees all.
        place: places of this machine's data.
        wait: see `Worker.run`.
        family: beginning of the workers' names; made up if "".
    """

    def __init__(
        self,
        folder: Path,
        keys: Sequence[str] | None,
        count: int,
        gpus: Sequence[str] = (),
        place: MachinePaths = MachinePaths(),  # noqa: B008 - it is frozen
        *,
        wait: bool = True,
        family: str = "",
    ) -> None:
        self._results = ResultsFolder(folder)
        self._arguments = (folder, list(keys) if keys is not None else None, place, wait)
        self._gpus = gpus
        self.family = family or new_name().rpartition("/")[0]
        self._started = self._early_deaths = 0
        self._processes: dict[str, tuple[BaseProcess, str]] = {}
        for index in range(count):
            self._start(gpus[index % len(gpus)] if gpus else "")

    def _start(self, gpu: str) -> None:
        name = f"{self.family}/{self._started}"
        self._started += 1
        start_server()
        process = multiprocessing.get_context("forkserver").Process(target=_work, args=(name, gpu, *self._arguments))
        with _hidden_script():
            process.start()
        self._processes[name] = process, gpu

    def look(self) -> bool:
        """Replace workers that died.

        Raises:
            TrainingError: they die before they begin a job.
        """
        vacant = []
        for name, (process, gpu) in list(self._processes.items()):
            if process.is_alive():
                continue
            process.join()
            del self._processes[name]
            code = process.exitcode or 0
            if code == 0:
                continue
            if code == LOST and process.pid:
                with suppress(ProcessLookupError):  # it may live on
                    os.kill(process.pid, signal.SIGKILL)
            lost = self._release(name, code)
            has_worked = lost or any(row.worker == name for row in self._results.queue.rows())
            self._early_deaths = 0 if has_worked or code == STOPPED else self._early_deaths + 1
            if self._early_deaths > EARLY_DEATHS:
                raise TrainingError(f"worker processes end before they begin a job: the last {_how(code)}")
            vacant.append(gpu)
        for gpu in vacant:
            self._start(gpu)
        return bool(self._processes)

    def wait(self) -> None:
        """Wait until the workers, which have nothing left to train, have published their runs and ended."""
        while self.look():
            time.sleep(LOOK_EVERY)

    def stop(self) -> None:
        """Have the workers put their jobs back, and wait for that."""
        self._results.database.patience = STOP_PATIENCE
        for process, _ in self._processes.values():
            process.terminate()
        end, answers = time.monotonic() + STOP_SECONDS, True
        for name, (process, _) in self._processes.items():
            process.join(max(end - time.monotonic(), 0.1))
            if process.is_alive():
                process.kill()
                process.join()
            if process.exitcode and answers:
                try:
                    self._release(name, process.exitcode)
                except TrackingError:  # then the jobs go back when their leases are over
                    answers = False

    def _release(self, name: str, code: int) -> list[str]:
        """Put back what a worker has not put back itself; return the jobs' keys."""
        return self._results.queue.release_worker(name, f"its worker {_how(code)}")


def follow(
    results: ResultsFolder,
    jobs: Sequence[Job],
    launcher: Launcher,
    on_progress: Callable[[Job, float], None],
    on_end: Callable[[Ended], None],
    family: str = "",
    every: float = LOOK_EVERY,
) -> None:
    """Watch the queue until every job has ended, or no worker is left that would train them.

    Args:
        jobs: jobs to be watched.
        family: family of this command's workers; "" where all are its own.
        every: seconds between two looks.
    """
    waiting = {job.identity: job for job in jobs}
    while waiting:
        alive = launcher.look()
        states = results.queue.states()
        ended = [job for key, job in waiting.items() if not is_open(states.get(key, ("", 0.0))[0])]
        for one in ends(results, ended, family) if ended else ():
            on_end(one)
        for job in ended:
            del waiting[job.identity]
        for key, job in waiting.items():
            if states[key][0] == "running":
                on_progress(job, states[key][1])
        if not alive:
            return
        if waiting:
            time.sleep(every)


@contextmanager
def _hidden_script() -> Iterator[None]:
    """Keep processes that are started meanwhile from running the user's script again, as multiprocessing does.

    A module that runs by ``python -m`` is imported by them; its work is behind ``if __name__ == "__main__"``.
    """
    main = vars(sys.modules["__main__"])
    file = main.pop("__file__", None) if main.get("__spec__") is None else None
    try:
        yield
    finally:
        if file is not None:
            main["__file__"] = file


def _work(name: str, gpu: str, folder: Path, keys: Sequence[str] | None, place: MachinePaths, wait: bool) -> None:
    """Run a worker process."""
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA is first used, which is below
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command decides
    signal.signal(signal.SIGTERM, _stop)
    try:
        Worker(ResultsFolder(folder), keys, place=place, name=name, is_wanted=parent_is_alive).run(wait=wait)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"


def _stop(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb what puts the job back
    raise Stopped(f"stopped with its command, or alone by {signal.Signals(number).name}")
