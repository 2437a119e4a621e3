"""The server that worker processes are forked from. Nothing heavy is imported here, so that it can be started first."""

import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker

from benchmark.locations import hidden_working_folder


def warm_up() -> None:
    """Start the server; it imports what workers need while the caller goes on. A second call does nothing."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmark.grid.preload"])
    # Ctrl-C reaches every process of a terminal. The server would die of it amid its imports, with a traceback, and so
    # would a worker that has just begun; the caller tells workers to stop.
    resource_tracker.ensure_running()  # the server would start it, and that lifts the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with hidden_working_folder():  # a folder called methods must not be what it imports
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
