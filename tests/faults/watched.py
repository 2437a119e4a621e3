"""``landshift`` with workers that note each job they train to its end: ``python -m tests.faults.watched run ...``.

Worker processes import the main module of the command that starts them, and so change `RunFolder`, too.
"""

import os
import sys
from pathlib import Path

from benchmark.__main__ import program
from benchmark.experiments.run_folder import RunFolder

_commit = RunFolder.commit


def log_of(results: Path) -> Path:
    """Return the file beside a results folder with a line for each training: job, process, how it ended."""
    return results.with_name(f"{results.name}.ended")


def _noted(self: RunFolder, status: str) -> Path:
    folder = _commit(self, status)
    with log_of(folder.parents[1]).open("a", encoding="utf-8") as file:
        file.write(f"{folder.name} {os.getpid()} {status}\n")
    return folder


RunFolder.commit = _noted  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(program())
