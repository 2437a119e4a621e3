"""One store for the whole session: MLflow takes seconds to create a fresh one."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from benchmark.tracking import Tracker

_numbers = count()


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, fresh_store: Path) -> Path:
    # Spaces and signs in the path, as on a user's disk.
    folder = tmp_path_factory.mktemp("results é #1")
    shutil.copy(fresh_store, folder)
    return folder


@pytest.fixture(scope="session")
def tracker(results: Path) -> Tracker:
    return Tracker(results)


@pytest.fixture
def experiment(tracker: Tracker) -> Iterator[str]:
    yield tracker.experiment(f"protocol {next(_numbers)} v1")
