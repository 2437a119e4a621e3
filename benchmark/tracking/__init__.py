"""The MLflow room: nothing else in the project knows MLflow.

Importing this package does not import MLflow (2 to 8 seconds); the first `Tracker` does.
"""

from benchmark.tracking.database import locked, told
from benchmark.tracking.limits import Fact
from benchmark.tracking.owner import is_gone, this_process, this_task
from benchmark.tracking.reader import Reader
from benchmark.tracking.runs import OWNER, DatasetFact, Files, Run, RunRecord
from benchmark.tracking.server import serve
from benchmark.tracking.store import Tracker
from benchmark.tracking.stores import is_store, sizes_of
from benchmark.tracking.summaries import Summary
from benchmark.tracking.view import cells_link, comparison_link

__all__ = [
    "OWNER",
    "DatasetFact",
    "Fact",
    "Files",
    "Reader",
    "Run",
    "RunRecord",
    "Summary",
    "Tracker",
    "cells_link",
    "comparison_link",
    "is_gone",
    "is_store",
    "locked",
    "serve",
    "sizes_of",
    "this_process",
    "this_task",
    "told",
]
