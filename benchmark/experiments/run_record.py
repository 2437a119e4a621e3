"""The record of a run."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.experiments.run_folder import Files


@dataclass(frozen=True)
class RunRecord:
    """The record of a job that was begun.

    Attributes:
        id: the job's key.
        name: method, fold and seed, for messages.
        status: RUNNING, FINISHED, FAILED or KILLED (interrupted, or given up early).
        facts: the params.
        metrics: the last value of each.
        tags: further labels.
        error: one line, of a run that failed or was interrupted.
        artifacts: its files, of which there may be none.
        started, ended: seconds since the epoch; None while it runs.
        progress: share of the training that is done.
        run: id in MLflow; "" while it is not published.
    """

    id: str
    name: str
    status: str
    facts: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    error: str | None
    artifacts: Files
    started: float
    ended: float | None = None
    progress: float = 0.0
    run: str = ""

    @property
    def identity(self) -> str:
        """The job's key."""
        return self.id


def run_name(facts: Mapping[str, str]) -> str:
    """Return the name of a run in messages."""
    return f"{facts.get('method')} · {facts.get('fold')} · seed {facts.get('seed')}"
