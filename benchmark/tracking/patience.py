"""Calls of the store that wait while it cannot be had for now.

SQLite lets one process write at a time, and MLflow gives up after twenty seconds; a server may be started anew. A
training of hours must not end for that: a call that was refused is made again, for minutes.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

WAIT = 600.0  # seconds until even this gives up
PAUSE = 0.5
SAY_EVERY = 60.0  # seconds between two lines that say what is waited for
logger = logging.getLogger(__name__)


def locked(error: Exception) -> str:
    """What is said of an error that means that another process is writing; "" of any other."""
    return "the MLflow store is locked by another process; waiting for it" if "database is locked" in str(error) else ""


class Patient:
    """An `MlflowClient` whose calls are made again while they are refused for a reason that passes.

    Args:
        client: whose methods this one has.
        excuse: what is said while a call is made again after this error; "" where it is not.
        wait: seconds until even this gives up; None for ten minutes.
    """

    def __init__(self, client: Any, excuse: Callable[[Exception], str] = locked, wait: float | None = None) -> None:
        self._client, self._excuse, self._wait = client, excuse, wait

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        return self._again(call) if callable(call) else call

    def _again(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def patient(*args: Any, **kwargs: Any) -> Any:
            begun, said = time.monotonic(), float("-inf")
            while True:
                try:
                    return call(*args, **kwargs)
                except Exception as error:
                    excuse, now = self._excuse(error), time.monotonic()
                    if not excuse or now > begun + (WAIT if self._wait is None else self._wait):
                        raise
                    if now - said >= SAY_EVERY:
                        logger.warning(excuse)
                        said = now
                    time.sleep(PAUSE)

        return patient
