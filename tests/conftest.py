"""Fixtures for all tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Before torch and NumPy are imported, also by child processes: on data so small, threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """The folder of a real dataset below $LANDSHIFT_TEST_DATA or ../shared/data; without it the test is skipped."""
    root = Path(os.environ.get("LANDSHIFT_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

    def folder(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"no real data at {root / name}; set LANDSHIFT_TEST_DATA to the folder that holds {name}")
        return root / name

    return folder
