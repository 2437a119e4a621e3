"""A server that can be away, and refuse."""

import threading
from collections import defaultdict
from pathlib import Path
from typing import Any


class FakeClient:
    """What an outbox needs of an `MlflowClient`; metrics are kept as the server keeps them, each once."""

    def __init__(self) -> None:
        self.away = False
        self.refuses = ""
        self.calls: list[str] = []
        self.metrics: set[tuple[str, float, int, int]] = set()
        self.tags: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.status = "RUNNING"
        self.threads: defaultdict[str, set[int]] = defaultdict(set)

    def _answer(self, call: str) -> None:
        from mlflow.exceptions import MlflowException

        self.threads[call].add(threading.get_ident())
        if self.away:
            raise MlflowException("API request to http://s failed with exception [Errno 111] Connection refused")
        if call == self.refuses:
            raise MlflowException("too large", error_code=1000)  # INVALID_PARAMETER_VALUE
        self.calls.append(call)

    def log_batch(self, run: str, metrics: Any) -> None:
        self._answer("log_batch")
        self.metrics |= {(one.key, one.value, one.timestamp, one.step) for one in metrics}

    def set_tag(self, run: str, key: str, value: str) -> None:
        self._answer("set_tag")
        self.tags[key] = value

    def log_artifact(self, run: str, path: str, folder: str | None) -> None:
        self._answer("log_artifact")
        self.files[f"{folder}/{Path(path).name}" if folder else Path(path).name] = Path(path).read_bytes()

    def set_terminated(self, run: str, status: str, at: int) -> None:
        self._answer("set_terminated")
        self.status = status
