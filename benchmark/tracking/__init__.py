"""MLflow, where results are published: nothing else in the project knows MLflow.

Importing this package does not import MLflow (2 to 8 seconds); the first call of a `Client` does.
"""

from benchmark.tracking.artifacts import fetch_file, fetch_run
from benchmark.tracking.client import Client
from benchmark.tracking.limits import Fact, checked_facts, checked_key, checked_metrics, checked_text
from benchmark.tracking.publish import (
    KIND,
    Curve,
    DatasetFact,
    LiveRun,
    RunInfo,
    close_run,
    delete_run,
    one_line,
    publish_run,
    publish_summary,
    runs_of,
    tag_run,
    trace,
)
from benchmark.tracking.server import serve
from benchmark.tracking.settings import Settings, read_settings
from benchmark.tracking.summaries import Summary

__all__ = [
    "KIND",
    "Client",
    "Curve",
    "DatasetFact",
    "Fact",
    "LiveRun",
    "RunInfo",
    "Settings",
    "Summary",
    "checked_facts",
    "checked_key",
    "checked_metrics",
    "checked_text",
    "close_run",
    "delete_run",
    "fetch_file",
    "fetch_run",
    "one_line",
    "publish_run",
    "publish_summary",
    "read_settings",
    "runs_of",
    "serve",
    "tag_run",
    "trace",
]
