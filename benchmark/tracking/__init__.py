"""MLflow, where results are published: nothing else in the project knows MLflow.

Importing this package does not import MLflow (2 to 8 seconds); the first call of a `Client` does.
"""

from benchmark.tracking.client import Client
from benchmark.tracking.limits import Fact, checked_facts, checked_key, checked_metrics, checked_text
from benchmark.tracking.publish import LiveRun, publish_summary
from benchmark.tracking.records import KIND, Curve, DatasetFact, RunInfo, Summary
from benchmark.tracking.runs import close_run, delete_run, fetch_file, runs_of, tag_run
from benchmark.tracking.server import serve
from benchmark.tracking.settings import Settings, read_settings, sqlite_address

__all__ = [
    "KIND", "Client", "Curve", "DatasetFact", "Fact", "LiveRun", "RunInfo", "Settings", "Summary", "checked_facts",
    "checked_key", "checked_metrics", "checked_text", "close_run", "delete_run", "fetch_file", "publish_summary",
    "read_settings", "runs_of", "serve", "sqlite_address", "tag_run",
]  # fmt: skip
