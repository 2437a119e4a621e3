"""``landshift worker``: train what other commands have queued."""

import argparse
import math
from pathlib import Path
from typing import Any

from benchmark.cli import options as shared
from benchmark.cli.options import folder, positive

KEEP_EVERY = 5.0  # seconds between two looks at a queue that has nothing to begin

EPILOG = """\
A worker claims jobs from the queue of a results folder, one after another, until none is left that can be begun. Any
number of them may run, on any machine that reaches the folder or, where settings.toml of a results folder names it, the
same database:

  database = "postgresql://user@host/landshift"     # the queue; by default jobs.db in the folder
  mlflow = "http://host:5000"                       # where runs are published; by default mlflow.db in the folder

examples:
  landshift run flair1-official --seeds 0,1,2              the command that queues the jobs, and trains them, too
  landshift worker --results /shared/results --workers 2   on a second machine: two of these jobs at a time
  landshift worker --data /local/flair --keep              data that are elsewhere; wait for jobs that are queued later
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--keep", action="store_true", help="wait for new jobs instead of ending; Ctrl-C ends it")
    parser.add_argument("--data", type=Path, metavar="PATH", help="where the data are on this machine")
    parser.add_argument("--stores", type=folder, metavar="DIR", help="decoded patches on this machine")
    parser.add_argument("--accelerator", default="", help="cpu, cuda, mps or auto (default: as requested)")
    shared.add_results(parser)
    parser.set_defaults(resumes=True)


def worker(options: argparse.Namespace) -> int:
    """Train queued jobs until there is none left; 1 if any of them failed or cannot be begun on this machine.

    Raises:
        SettingsError: there is no queue.
    """
    import time

    from benchmark.common.errors import SettingsError
    from benchmark.experiments.fork_server import start_server
    from benchmark.experiments.results import has_results

    if not has_results(options.results):
        raise SettingsError(f"there is no job queue in {options.results}; landshift run makes one (see --results)")
    start_server()  # it imports while this process does
    from benchmark.common.console import print_line
    from benchmark.experiments.launchers import LOOK_EVERY, LocalWorkers
    from benchmark.experiments.queue import QUEUED
    from benchmark.experiments.results import ResultsFolder
    from benchmark.experiments.worker import UNABLE, MachinePaths

    results = ResultsFolder(options.results)
    place = MachinePaths(options.data, options.stores, options.accelerator)
    print_line(f"training jobs of {results.folder}, {options.workers} at a time")
    ends = _Ends(results)

    def queued() -> set[tuple[str, int, str]]:
        rows = results.queue.rows()
        return {(row.key, row.attempts, row.error) for row in rows if row.state == QUEUED or row.expired}

    while True:
        workers = LocalWorkers(results.folder, None, options.workers, place=place, wait=False)
        try:
            while workers.look():
                ends.look(workers.family)
                time.sleep(LOOK_EVERY)
            ends.look(workers.family)
        finally:
            workers.stop()
        left = queued()
        if not options.keep:
            return 1 if ends.failed or any(error.startswith(UNABLE) for *_, error in left) else 0
        while queued() <= left:
            time.sleep(KEEP_EVERY)


class _Ends:
    """A line for each job that this command's workers end."""

    def __init__(self, results: Any) -> None:
        self._results, self.failed = results, 0
        self._seen = {(row.key, row.attempts) for row in results.queue.rows() if row.ended}

    def look(self, family: str) -> None:
        """Print the jobs that have ended since the last look.

        Args:
            family: family of the workers (`Worker.name` before the last ``/``).
        """
        from benchmark.common.console import print_line
        from benchmark.experiments.queue import FAILED
        from benchmark.experiments.run_record import run_name
        from benchmark.experiments.session import is_open

        for row in self._results.queue.rows():
            if is_open(row.state) or (row.key, row.attempts) in self._seen:
                continue
            self._seen.add((row.key, row.attempts))
            if row.worker.rpartition("/")[0] == family:
                failed = row.state == FAILED
                self.failed += failed
                result = "FAILED: " * failed + row.error
                result = result or f"target mIoU {100 * row.metrics.get('target/miou', math.nan):.1f}"
                print_line(f"{run_name(row.facts)}: {result}")
