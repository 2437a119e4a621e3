"""Calls of the store that wait while another process holds it.

SQLite lets one process write at a time, and MLflow gives up after twenty seconds. A training of hours must not end for
that: a call that was refused is made again, for minutes.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

WAIT = 600.0  # seconds until even this gives up
PAUSE = 0.5
logger = logging.getLogger(__name__)


class Patient:
    """An `MlflowClient` whose calls are made again while the database is locked: what was refused has changed nothing.

    Args:
        client: whose methods this one has.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        return _again(call) if callable(call) else call


def _again(call: Callable[..., Any]) -> Callable[..., Any]:
    def patient(*args: Any, **kwargs: Any) -> Any:
        end = time.monotonic() + WAIT
        while True:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if "database is locked" not in str(error) or time.monotonic() > end:
                    raise
                logger.warning("the MLflow store is locked by another process; waiting for it")
                time.sleep(PAUSE)

    return patient
