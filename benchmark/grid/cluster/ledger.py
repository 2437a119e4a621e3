"""Which job is in which task of Slurm: a file for each array that was submitted, beside its logs."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Flight:
    """A job that was submitted.

    Attributes:
        task: of Slurm.
        attempt: from 1; how often the job was submitted because its tasks had been killed.
    """

    task: str
    attempt: int


class Ledger:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, tasks: Mapping[str, Sequence[str]], attempts: Mapping[str, int]) -> None:
        """Note what was submitted together.

        Args:
            tasks: of one array; of each task the identities of its jobs.
            attempts: of each identity.
        """
        jobs = {task: {identity: attempts[identity] for identity in identities} for task, identities in tasks.items()}
        file = self._file(next(iter(tasks)))
        half = file.with_suffix(".half")
        half.write_text(json.dumps(jobs, indent=1), encoding="utf-8")
        half.replace(file)

    def flights(self, tasks: Collection[str]) -> dict[str, Flight]:
        """What is in some tasks, by the identities of the jobs; tasks that were never noted are left out."""
        found: dict[str, Flight] = {}
        for file in sorted({self._file(task) for task in tasks}):
            if file.is_file():
                for task, jobs in json.loads(file.read_text(encoding="utf-8")).items():
                    if task in tasks:
                        found |= {identity: Flight(task, attempt) for identity, attempt in jobs.items()}
        return found

    def _file(self, task: str) -> Path:
        return self._folder / f"{task.partition('_')[0]}_jobs.json"
