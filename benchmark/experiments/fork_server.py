"""The process that worker processes are forked from.

This module imports nothing heavy, so that the process can be started before a command's own imports.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

from benchmark.common.locations import ROOT


def start_server() -> None:
    """Start the process that workers are forked from, which imports once what each of them needs.

    The imports take half a minute on a slow core, while the caller goes on; a second call does nothing.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmark.experiments.preload"])
    # Ctrl-C reaches every process of a terminal; the command stops its workers.
    resource_tracker.ensure_running()  # the server would start it, and that lifts the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _hidden_working_folder():  # a folder called methods must not be what it imports
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _hidden_working_folder() -> Iterator[None]:
    """Start processes without the working folder in their `sys.path` for the length of a block.

    `python -c` has it there as the first, before anything of landshift is imported. In landshift's own folder all stays
    as it is, since it need not be installed there.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    if before is not None or Path.cwd() == Path(ROOT):
        yield
        return
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
