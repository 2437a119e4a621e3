"""Where unfinished trainings lie, and the end of those that nobody will go on with."""

import shutil
from collections.abc import Collection
from pathlib import Path

UNFINISHED = "unfinished"


def savepoints_of(results: Path, identity: str) -> Path:
    """The folder with the savepoints of a job."""
    return results / UNFINISHED / identity[:16]


def sweep(results: Path, finished: Collection[str]) -> None:
    """Remove the savepoints of jobs that are finished, which a process leaves that is killed between the two."""
    ended = {savepoints_of(results, identity).name for identity in finished}
    for folder in (results / UNFINISHED).glob("*"):
        if folder.name in ended:
            shutil.rmtree(folder, ignore_errors=True)
