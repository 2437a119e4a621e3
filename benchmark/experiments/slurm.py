"""Slurm: what its tasks request, how many of them are alive, and what they leave behind when one is killed."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from benchmark.common.errors import SettingsError, TrainingError
from benchmark.common.toml_files import Positive, Text, TomlModel, Whole
from benchmark.experiments.queue import RUNNING, JobRow, Queue
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.session import is_open
from benchmark.experiments.slurm_task import SlurmTask, task_of

# After these a task is not run again; in all other states, of which every version of Slurm has some more, it is alive.
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
}  # fmt: skip
# Options of sbatch that submitit or landshift writes itself.
RESERVED = "array|dependency|error|job-name|nodes|ntasks-per-node|open-mode|output|signal|time"
Option = Annotated[str, Field(pattern=f"^(?!({RESERVED.replace('-', '[-_]')})$)")]
Devices = Annotated[int, Field(ge=0, le=1)] | Annotated[str, Field(pattern="^(.+:)?[01]$")]
Time = Annotated[str, Field(pattern="^(?=.*[1-9])([0-9]+-)?[0-9]+(:[0-9]+){0,2}$")]
REQUEUES = 100  # times that a task which comes to its time limit goes on
NOTICE = 90  # seconds before the time limit at which Slurm signals a task, which then writes a savepoint
LOOK_EVERY = 15.0  # seconds between two questions to Slurm's controller, which serves others, too


class Profile(TomlModel):
    """The resources that one task requests; where one is empty or 0, the cluster's own default holds."""

    hint = ". Further options of sbatch go below [slurm]"

    partition: Text = ""  # or several with commas between
    account: Text = ""  # that is charged
    gpus: Annotated[Devices, Field(description='0, 1 or, with a kind, "a100:1"; a run trains on one')] = 0
    cpus: Whole = 0
    memory: Text = ""  # as Slurm writes it: "16G"
    time: Annotated[Time, Field(description='a time like "90" (minutes), "8:00:00" or "2-12:00:00"')] = "4:00:00"
    # Tasks of a command that run at the same time, at most; Slurm's default MaxArraySize is 1001.
    at_once: Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1000")] = 1000
    runs_per_device: Positive = 1  # side by side in a task, which share its GPU, CPUs and memory
    attempts: Positive = 3  # killed tasks after which a run fails, and submissions in a row of which none begins a run
    setup: Annotated[tuple[str, ...], Field(strict=False, description="a list of texts")] = ()  # lines of shell
    # Further options of sbatch, by their long names; true for one without a value.
    slurm: Annotated[Mapping[Option, str | int | bool], Field(description=f"a flat table without {RESERVED}")] = {}

    @property
    def minutes(self) -> int:
        """The time in whole minutes, rounded up."""
        days, dash, rest = self.time.rpartition("-")
        numbers = [int(part) for part in rest.split(":")]
        if not dash and len(numbers) < 3:
            numbers.insert(0, 0)  # minutes, or minutes:seconds
        hours, minutes, seconds = [*numbers, 0, 0][:3]
        return int(days or 0) * 1440 + hours * 60 + minutes + -(-seconds // 60)


class SlurmWorkers:
    """Workers as tasks of Slurm: submits as many as there are jobs to begin, and replaces those that are killed.

    A task trains one job after another, and ends when it can begin none. Those of an earlier call of the command count.

    Args:
        results: results folder whose queue holds the jobs already; all nodes see it.
        keys: keys of all jobs of the command, finished ones included, in the order they are to be trained.
        profile: what a task requests.
        tell: takes a line for the user.

    Raises:
        SettingsError: Slurm does not answer, or it refuses the tasks.
    """

    def __init__(
        self, results: ResultsFolder, keys: Sequence[str], profile: Profile, tell: Callable[[str], None]
    ) -> None:
        self._results, self._keys, self._profile, self._tell = results, list(keys), profile, tell
        # Tasks are found by their name, since ids start again from 1 when a controller loses its state.
        digest = hashlib.sha256(" ".join([str(results.folder), *sorted(keys)]).encode()).hexdigest()
        self.name = f"landshift-{digest[:8]}"
        self._queue = Queue(results.database, results.queue.lease, kills=profile.attempts)  # then a job fails
        self._folder = results.folder / "slurm"
        self._alive: dict[str, str] = {}  # tasks, and their states at the last look
        self._barren = 0  # tasks that ended before a run began; they are replaced only when none is alive
        self._claims = self._fruitless = 0  # claims of all jobs, and submissions since the last of them
        self._cancelled = False
        self._said = self._last_end = ""
        tasks = ask(self.name)
        if tasks is None:
            raise SettingsError("Slurm does not answer (squeue); nothing was submitted")
        self._put_back(tasks)
        before = len(self._alive)
        self._submit()
        tell(f"Slurm: {len(self._alive) - before} tasks submitted, {before} there before; logs in {self._folder}")

    def look(self) -> bool:
        """Put back the jobs of killed tasks and submit others; return False if the tasks were cancelled.

        Raises:
            SettingsError: Slurm refuses tasks, and none is alive.
            TrainingError: tasks end again and again before they begin a run.
        """
        tasks = ask(self.name)  # before the jobs are read, so that those hold what a task wrote before its end
        if tasks is None:
            self._alive = dict.fromkeys(self._alive, "")  # before the next answer they may end and be forgotten
            return True
        self._put_back(tasks)
        if set(self._alive.values()) == {"PENDING"}:
            reasons = ", ".join(sorted({tasks[task][1] for task in self._alive} - {"None"}))
            self._say(f"{len(self._alive)} tasks wait; Slurm says: {reasons}" if reasons else "")
        try:
            return self._submit()
        except SettingsError as error:
            if not self._alive:
                raise
            self._say(str(error))
            return True

    def _put_back(self, tasks: Mapping[str, tuple[str, str]]) -> None:
        """Put back the jobs of ended tasks, and note how those ended that were alive at the last look."""
        alive = {task: state for task, (state, _) in tasks.items() if state not in ENDED}
        running = [row for row in self._queue.rows(keys=self._keys) if row.state == RUNNING]
        expected = self._alive.keys() | (tasks.keys() & {task_of(row.worker) for row in running})
        for task in sorted(expected - alive.keys()):
            # Slurm does not list single tasks that were cancelled while they waited.
            state, _ = tasks.get(task, ("CANCELLED" if self._alive.get(task) == "PENDING" else "", ""))
            end = f"({_describe(state, self._folder / f'{task}_0_log.out')})"
            reason = f"its Slurm task {task} ended before it did {end}"
            dead = {row.worker for row in running if task_of(row.worker) == task}
            lost = [key for worker in dead for key in self._queue.release_worker(worker, reason)]
            if lost:
                self._tell(f"{len(lost)} run{'s' * (len(lost) > 1)} put back into the queue: {reason}")
            if task in self._alive and state not in ("COMPLETED", ""):
                self._cancelled |= state == "CANCELLED"
                self._barren += not lost
                self._last_end = f": the last was {task} {end}"
        self._alive = alive

    def _submit(self) -> bool:
        """Submit the tasks that are missing; return False if none is alive and none may be submitted."""
        rows = self._queue.rows(keys=self._keys)
        if (claims := sum(row.attempts for row in rows)) > self._claims:
            self._claims, self._fruitless = claims, 0
        if not self._alive:
            self._barren = 0
        missing = self._needed(rows) - len(self._alive) - self._barren
        if missing <= 0 or (self._cancelled and self._alive):
            return True
        if self._cancelled:
            self._tell("the tasks were cancelled, and no other is submitted; the same command submits some again")
            return False
        if self._fruitless >= self._profile.attempts and not self._alive:
            raise TrainingError(f"{self._fruitless} submissions to Slurm ended before a run began{self._last_end}")
        task = SlurmTask(self._results.folder, self._keys, self._profile.runs_per_device, Path.cwd())
        self._alive.update(dict.fromkeys(submit(task, missing, self._profile, self.name), "PENDING"))
        self._fruitless += 1
        return True

    def _needed(self, rows: Sequence[JobRow]) -> int:
        """Return the number of tasks for the jobs that tasks are training, and for those that can be begun now."""
        states = self._queue.states()
        count = sum(
            task_of(row.worker) in self._alive
            if row.state == RUNNING and not row.expired
            else is_open(row.state) and not is_open(states.get(row.parent, ("", 0.0))[0])  # it waits for its parent
            for row in rows
        )
        return min(-(-count // self._profile.runs_per_device), self._profile.at_once)

    def _say(self, line: str) -> None:
        """Print a line unless it was the last one."""
        if line and line != self._said:
            self._tell(line)
            self._said = line


def check_installed() -> None:
    """Raise a SettingsError if submitit or Slurm is missing on this machine."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise SettingsError("--engine slurm needs submitit: pip install 'landshift[cluster]'") from error
    if missing := [name for name in ("sbatch", "squeue", "srun", "scontrol") if not shutil.which(name)]:
        raise SettingsError(f"--engine slurm needs Slurm's commands, and this machine has no {', '.join(missing)}")


def submit(task: SlurmTask, count: int, profile: Profile, name: str) -> list[str]:
    """Submit a task several times, with a name by which `ask` finds them; return the ids.

    Raises:
        SettingsError: Slurm refuses; the message is its own.
    """
    import submitit

    executor = submitit.SlurmExecutor(folder=task.results / "slurm", max_num_timeout=REQUEUES)
    executor.update_parameters(
        job_name=name,
        partition=profile.partition or None,
        account=profile.account or None,
        gpus_per_node=profile.gpus or None,
        cpus_per_task=profile.cpus or None,
        mem=profile.memory or None,
        time=profile.minutes,
        setup=list(profile.setup),
        signal_delay_s=min(NOTICE, profile.minutes * 60 // 2),
        array_parallelism=count,  # `at_once` limits the tasks of all arrays together
        stderr_to_stdout=True,
        # Since Slurm 22.05 srun does not take this over from the batch file.
        srun_args=[f"--cpus-per-task={profile.cpus}"] if profile.cpus else None,
        additional_parameters={"requeue": True}
        | {key: value for key, value in profile.slurm.items() if value is not False},
    )
    try:
        with executor.batch():
            submitted = [executor.submit(task) for _ in range(count)]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise SettingsError(f"Slurm refuses the tasks: {' '.join(str(error).split())}") from error
    return [job.job_id for job in submitted]


def ask(name: str) -> dict[str, tuple[str, str]] | None:
    """Return state and reason of one's tasks with a name, also of those ended lately; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r", "--me", f"--name={name}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line.strip().split("|", 2) for line in answer.splitlines() if line.count("|") >= 2]
    return {task: (state, reason) for task, state, reason in lines}


def _describe(state: str, log: Path) -> str:
    """Return how a task ended: its state, its log, and the last line of that which is neither srun's nor submitit's."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    own = [line.strip() for line in lines if line.strip() and not line.startswith(("srun:", "submitit INFO"))]
    parts = [state.lower().replace("_", " "), f"log: {log}", *(f"last line: {line[:200]!r}" for line in own[-1:])]
    return "; ".join(part for part in parts if part)
