"""Slurm as landshift needs it: submit an array, ask which tasks are alive, and how a task ended."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmark.errors import SettingsError
from benchmark.grid.cluster.profile import Profile

# States after which a task is not run again; in all others, of which every version of Slurm has some more, it is alive.
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip
LONGEST_ARRAY = 1000  # Slurm's default MaxArraySize is 1001
REQUEUES = 100  # how often a task that came to its time limit goes on
NOTICE = 90  # seconds before the time limit at which a task is told, so that it can write down where it is
WAIT = 60  # seconds for an answer of Slurm's


@dataclass(frozen=True)
class Status:
    """What Slurm says of a task: its state, and why it waits."""

    state: str
    reason: str = ""

    @property
    def alive(self) -> bool:
        return self.state not in ENDED


class Queue(Protocol):
    """What runs tasks."""

    def submit(self, tasks: Sequence[Any], after: Collection[str]) -> list[str]:
        """Submit tasks, which begin when others have ended; returns their names."""

    def look(self) -> dict[str, Status] | None:
        """The tasks that there are, with some that ended lately; None where no answer came."""

    def ending(self, task: str) -> str:
        """In which state a task ended; "" where nobody knows."""

    def log(self, task: str) -> Path:
        """What a task printed."""


class Slurm:
    """Slurm through submitit, for the jobs of one experiment.

    Args:
        results: the results folder, which all nodes see; logs and the rest lie below it.
        experiment: id of the MLflow experiment.
        profile: what a task asks for.

    Raises:
        SettingsError: there is no submitit, or no Slurm.
    """

    def __init__(self, results: Path, experiment: str, profile: Profile) -> None:
        check_installed()
        self.folder = folder_of(results)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._profile = profile
        # Of all tasks of a user these are found by their name; ids alone begin anew when a controller does.
        digest = hashlib.sha256(f"{results.resolve()} {experiment}".encode()).hexdigest()[:8]
        self._name = f"landshift-{digest}"

    def submit(self, tasks: Sequence[Any], after: Collection[str]) -> list[str]:
        """Submit tasks as arrays.

        Args:
            tasks: callables.
            after: tasks or arrays that must have ended before.

        Raises:
            SettingsError: Slurm refuses; the message is its own.
        """
        import submitit

        executor = submitit.SlurmExecutor(folder=self.folder, max_num_timeout=REQUEUES)
        executor.update_parameters(**self._parameters(after))
        ids: list[str] = []
        for first in range(0, len(tasks), LONGEST_ARRAY):
            try:
                with executor.batch():
                    jobs = [executor.submit(task) for task in tasks[first : first + LONGEST_ARRAY]]
            except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
                told = [line for line in str(error).splitlines() if "sbatch:" in line] or str(error).splitlines()[-1:]
                raise SettingsError(f"Slurm takes no task: {' '.join(told)}") from error
            ids += [job.job_id for job in jobs]
        return ids

    def _parameters(self, after: Collection[str]) -> dict[str, Any]:
        profile = self._profile
        asked = {
            "partition": profile.partition,
            "account": profile.account,
            "gpus-per-node": profile.gpus,
            "cpus-per-task": profile.cpus,
            "mem": profile.memory,
            "dependency": f"afterany:{':'.join(sorted(after))}" if after else "",
        }
        further = {key.replace("_", "-"): value for key, value in profile.slurm.items() if value is not False}
        return {
            "job_name": self._name,
            "time": profile.minutes,
            "signal_delay_s": min(NOTICE, profile.minutes * 60 // 2),
            "array_parallelism": profile.at_once or LONGEST_ARRAY,
            "setup": list(profile.setup) or None,
            "stderr_to_stdout": True,
            # Since Slurm 22.05 srun does not take this over from the batch file.
            "srun_args": [f"--cpus-per-task={profile.cpus}"] if profile.cpus else None,
            "additional_parameters": {key: value for key, value in asked.items() if value}
            | {"requeue": True}
            | further,
        }

    def look(self) -> dict[str, Status] | None:
        """Ask the controller, which knows tasks for some minutes after their end."""
        told = _answer(
            *("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--name={self._name}"),
            "--format=%i|%T|%r",
        )
        if told is None:
            return None
        lines = [line.strip().split("|", 2) for line in told.splitlines() if line.count("|") >= 2]
        return {task: Status(state, reason) for task, state, reason in lines}

    def ending(self, task: str) -> str:
        """Ask the accounting, where there is one; a task that the controller still knows needs no such question."""
        told = _answer("sacct", "--noheader", "--parsable2", "--allocations", "--format=State", f"--jobs={task}")
        # CANCELLED has the user behind it, and a task that began several times has a line for each.
        return told.split("\n")[-2].split(" ")[0] if told and "\n" in told else ""

    def log(self, task: str) -> Path:
        return log_of(self.folder, task)


def folder_of(results: Path) -> Path:
    """Where the files of tasks lie."""
    return results.resolve() / "slurm"


def log_of(folder: Path, task: str) -> Path:
    """The log that submitit has a task write."""
    return folder / f"{task}_0_log.out"


def check_installed() -> None:
    """Raises:
    SettingsError: there is no submitit, or no Slurm.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise SettingsError("--engine slurm needs submitit: pip install 'landshift[cluster]'") from error
    if missing := [name for name in ("sbatch", "squeue", "srun", "scontrol") if not shutil.which(name)]:
        raise SettingsError(f"--engine slurm needs Slurm's commands, and this machine has no {', '.join(missing)}")


def _answer(*command: str) -> str | None:
    """What a command prints; None if it fails or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
