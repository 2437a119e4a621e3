"""Slurm: workers as its tasks, how many of them are alive, and what they leave behind when one is killed."""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmark.errors import SettingsError, TrainingError
from benchmark.experiments.queue import RUNNING, Queue, Row
from benchmark.experiments.results import Results
from benchmark.experiments.session import is_open
from benchmark.experiments.slurm_profile import Profile
from benchmark.experiments.slurm_task import Task, log_of, task_of

# States after which a task is not run again; in all others, of which every version of Slurm has some more, it is alive.
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip
LONGEST_ARRAY = 1000  # Slurm's default MaxArraySize is 1001
REQUEUES = 100  # times that a task which comes to its time limit goes on
NOTICE = 90  # seconds before the time limit at which Slurm signals a task, which then writes a savepoint
WAIT = 60  # seconds for an answer of Slurm's
LOOK_EVERY = 20.0  # seconds between two questions to Slurm's controller, which serves others, too
LOOK_RESULTS = 5.0  # seconds between two looks at the jobs, for `follow`


@dataclass(frozen=True)
class Status:
    """What Slurm says of a task.

    Attributes:
        state: one word, for example PENDING.
        reason: why it is pending.
    """

    state: str
    reason: str = ""

    @property
    def alive(self) -> bool:
        """Whether the task runs or will run."""
        return self.state not in ENDED


class Cluster(Protocol):
    """What runs tasks."""

    @property
    def folder(self) -> Path:
        """The folder of the logs."""

    def submit(self, task: Any, count: int) -> list[str]:
        """Submit a callable several times; returns the ids of the tasks."""

    def look(self) -> dict[str, Status] | None:
        """Return the tasks that are alive or ended lately, by id; None if no answer came."""

    def ending(self, task: str) -> str:
        """Return the state in which a task ended; "" if it is unknown."""


class Slurm:
    """Slurm through submitit, for the jobs of one command.

    Args:
        results: the results folder, which all nodes see.
        keys: of all jobs of the command, finished ones included: the same command finds its tasks by them.
        profile: what a task requests.

    Raises:
        SettingsError: submitit or Slurm is missing.
    """

    def __init__(self, results: Path, keys: Collection[str], profile: Profile) -> None:
        check_installed()
        self.folder = folder_of(results)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._profile = profile
        # Tasks are found by their name, since ids start again from 1 when a controller loses its state.
        digest = hashlib.sha256(" ".join([str(results.resolve()), *sorted(keys)]).encode()).hexdigest()[:8]
        self.name = f"landshift-{digest}"

    def submit(self, task: Any, count: int) -> list[str]:
        """Submit a callable as an array.

        Args:
            count: of tasks, at most `LONGEST_ARRAY`.

        Raises:
            SettingsError: Slurm refuses; the message is its own.
        """
        import submitit

        executor = submitit.SlurmExecutor(folder=self.folder, max_num_timeout=REQUEUES)
        executor.update_parameters(**self._parameters())
        try:
            with executor.batch():
                submitted = [executor.submit(task) for _ in range(count)]
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            lines = str(error).splitlines()
            answer = [line for line in lines if "sbatch:" in line] or lines[-1:]
            raise SettingsError(f"Slurm refuses the tasks: {' '.join(answer)}") from error
        return [job.job_id for job in submitted]

    def _parameters(self) -> dict[str, Any]:
        profile = self._profile
        requested = {
            "partition": profile.partition,
            "account": profile.account,
            "gpus-per-node": profile.gpus,
            "cpus-per-task": profile.cpus,
            "mem": profile.memory,
        }
        further = {key.replace("_", "-"): value for key, value in profile.slurm.items() if value is not False}
        return {
            "job_name": self.name,
            "time": profile.minutes,
            "signal_delay_s": min(NOTICE, profile.minutes * 60 // 2),
            "array_parallelism": LONGEST_ARRAY,  # `at_once` limits the tasks of all arrays together
            "setup": list(profile.setup) or None,
            "stderr_to_stdout": True,
            # Since Slurm 22.05 srun does not take this over from the batch file.
            "srun_args": [f"--cpus-per-task={profile.cpus}"] if profile.cpus else None,
            "additional_parameters": {key: value for key, value in requested.items() if value}
            | {"requeue": True}
            | further,
        }

    def look(self) -> dict[str, Status] | None:
        """Ask the controller, which lists tasks for some minutes after their end."""
        answer = _answer(
            *("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--name={self.name}"),
            "--format=%i|%T|%r",
        )
        if answer is None:
            return None
        lines = [line.strip().split("|", 2) for line in answer.splitlines() if line.count("|") >= 2]
        return {task: Status(state, reason) for task, state, reason in lines}

    def ending(self, task: str) -> str:
        """Ask the accounting, where there is one, for the state in which a task ended."""
        answer = _answer("sacct", "--noheader", "--parsable2", "--allocations", "--format=State", f"--jobs={task}")
        # CANCELLED has the user behind it, and a task that began several times has a line for each.
        return answer.split("\n")[-2].split(" ")[0] if answer and "\n" in answer else ""


class SlurmWorkers:
    """Workers as tasks of Slurm: submits as many as there are jobs to begin, and replaces those that are killed.

    A task trains one job after another, and ends when it can begin none. Tasks that an earlier call of the same command
    submitted count, too.

    Args:
        results: with the queue, to which the jobs are added already.
        keys: of all jobs of the command, finished ones included, in the order they are to be trained.
        profile: what a task requests.
        tell: takes a line for the person who waits.
        cluster: where tasks run; Slurm by default.

    Attributes:
        attached: number of tasks of an earlier call.
        submitted: number of tasks that were submitted on creation.

    Raises:
        SettingsError: submitit or Slurm is missing, Slurm does not answer, or it refuses the tasks.
    """

    def __init__(
        self,
        results: Results,
        keys: Sequence[str],
        profile: Profile,
        tell: Callable[[str], None] = lambda line: None,
        cluster: Cluster | None = None,
    ) -> None:
        self._results, self._keys, self._profile, self._tell = results, list(keys), profile, tell
        self._cluster = cluster or Slurm(results.folder, keys, profile)
        # A job whose task is killed `attempts` times fails.
        self._queue = Queue(results.database, results.queue.lease, kills=profile.attempts)
        self._next_look = 0.0
        self._said = ""
        self._claims = 0  # of all jobs
        self._fruitless = 0  # submissions since the last claim
        self._unreplaced = 0  # tasks that ended without a job to put back, and are replaced only when none is alive
        self._cancelled = self._given_up = False
        self._last_end = ""
        statuses = self._cluster.look()
        if statuses is None:
            raise SettingsError("Slurm does not answer (squeue); nothing was submitted")
        self._alive = {task for task, status in statuses.items() if status.alive}
        left = self._workers()
        for task in left.keys() & statuses.keys() - self._alive:  # killed while no command was waiting
            self._release(left[task], _reason(task, self._details(task, statuses[task].state)))
        self.attached = len(self._alive)
        self.submitted = self._submit()

    @property
    def arrays(self) -> list[str]:
        """Ids of the arrays whose tasks are alive, for ``scancel``."""
        return sorted({task.partition("_")[0] for task in self._alive}, key=lambda array: (len(array), array))

    def look(self) -> bool:
        """Put back the jobs of killed tasks and submit others; returns False if the tasks were cancelled.

        Raises:
            SettingsError: Slurm refuses tasks, and none is alive.
            TrainingError: tasks end again and again before they begin a job.
        """
        if time.monotonic() < self._next_look:
            return True
        self._next_look = time.monotonic() + LOOK_EVERY
        statuses = self._cluster.look()  # before the jobs are read, so that those hold what a task wrote before its end
        if statuses is None:
            return True
        self._tell_waiting(statuses)
        alive = {task for task, status in statuses.items() if status.alive}
        ended, self._alive = self._alive - alive, alive
        left = self._workers() if ended else {}
        for task in sorted(ended):
            state = statuses[task].state if task in statuses else self._cluster.ending(task)
            self._end(task, state, left.get(task, set()))
        try:
            self._submit()
        except SettingsError as error:
            if not self._alive:
                raise
            self._say(str(error))
        return not self._given_up

    def _end(self, task: str, state: str, workers: Collection[str]) -> None:
        """Put back what an ended task has left, and note how it ended.

        Args:
            workers: of the task, that have not ended their jobs.
        """
        details = self._details(task, state)
        reason = _reason(task, details)
        lost = self._release(workers, reason)
        if lost:
            self._tell(f"{len(lost)} run{'s' * (len(lost) > 1)} put back into the queue: {reason}")
        if state == "CANCELLED":
            self._cancelled = True
        if state not in ("COMPLETED", ""):
            self._last_end = f": the last was {task} {details}"
            self._unreplaced += state == "CANCELLED" or not lost

    def _workers(self) -> dict[str, set[str]]:
        """Return the names of the workers that have jobs, by their tasks."""
        found: dict[str, set[str]] = {}
        for row in self._queue.rows(keys=self._keys):
            if row.state == RUNNING and (task := task_of(row.worker)):
                found.setdefault(task, set()).add(row.worker)
        return found

    def _release(self, workers: Collection[str], why: str) -> list[str]:
        """Put back what workers had claimed that are dead; returns the keys."""
        return [key for worker in sorted(workers) for key in self._queue.release_worker(worker, why)]

    def _details(self, task: str, state: str) -> str:
        """Return how a task ended, in brackets: its state, its log, and the last line of that."""
        log = log_of(self._cluster.folder, task)
        line = _last_line(log)
        parts = [state.lower().replace("_", " "), f"log: {log}", f"last line: {line!r}" if line else ""]
        return f"({'; '.join(part for part in parts if part)})"

    def _submit(self) -> int:
        """Submit the tasks that are missing; returns their number."""
        rows = self._queue.rows(keys=self._keys)
        claims = sum(row.attempts for row in rows)
        if claims > self._claims:
            self._claims, self._fruitless = claims, 0
        missing = self._needed(rows) - len(self._alive)
        if self._alive:
            missing -= self._unreplaced
        elif missing > 0:
            if self._cancelled:
                self._say("the tasks were cancelled, and no other is submitted; the same command submits some again")
                self._given_up = True
                return 0
            if self._fruitless >= self._profile.attempts:
                raise TrainingError(f"{self._fruitless} submissions to Slurm ended before a run began{self._last_end}")
            self._unreplaced = 0
        if missing <= 0:
            return 0
        left = {row.key for row in rows if is_open(row.state)}
        keys = [key for key in self._keys if key in left]
        task = Task(self._results.folder, keys, self._profile.runs_per_device, Path.cwd())
        self._alive.update(self._cluster.submit(task, missing))
        self._fruitless += 1
        return missing

    def _needed(self, rows: Sequence[Row]) -> int:
        """Return the number of tasks for the jobs that can be begun now, and for those that tasks are training.

        A job waits for the one it starts from, if that is still open.
        """
        states = self._queue.states()
        count = 0
        for row in rows:
            if row.state == RUNNING and not row.expired:
                count += task_of(row.worker) in self._alive
            elif is_open(row.state):
                count += not is_open(states.get(row.parent, ("", 0.0))[0])
        tasks = -(-count // self._profile.runs_per_device)
        return min(tasks, self._profile.at_once or LONGEST_ARRAY, LONGEST_ARRAY)

    def _tell_waiting(self, statuses: dict[str, Status]) -> None:
        """Say why no task runs, once for each reason."""
        alive = [status for status in statuses.values() if status.alive]
        if alive and all(status.state == "PENDING" for status in alive):
            reasons = sorted({status.reason for status in alive} - {"None"})
            if reasons:
                self._say(f"{len(alive)} tasks wait; Slurm says: {', '.join(reasons)}")

    def _say(self, line: str) -> None:
        """Tell a line unless it was the last one."""
        if line != self._said:
            self._tell(line)
        self._said = line


def folder_of(results: Path) -> Path:
    """Return the folder of what submitit writes: batch files, pickled tasks, logs."""
    return results.resolve() / "slurm"


def check_installed() -> None:
    """Check that tasks can be submitted from this machine.

    Raises:
        SettingsError: submitit or Slurm is missing.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise SettingsError("--engine slurm needs submitit: pip install 'landshift[cluster]'") from error
    if missing := [name for name in ("sbatch", "squeue", "srun", "scontrol") if not shutil.which(name)]:
        raise SettingsError(f"--engine slurm needs Slurm's commands, and this machine has no {', '.join(missing)}")


def _answer(*command: str) -> str | None:
    """Return what a command prints; None if it fails or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def _reason(task: str, details: str) -> str:
    return f"its Slurm task {task} ended before it did {details}"


def _last_line(log: Path) -> str:
    """Return the last line of a log that is neither srun's nor submitit's own, shortened."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    own = [line.strip() for line in lines if line.strip() and not line.startswith(("srun:", "submitit INFO"))]
    return own[-1][:200] if own else ""
