"""A plan on the tiny world, and a session that trains in this process."""

import shutil
from pathlib import Path

import pytest

from benchmark.grid.jobs import Bench, Plan
from benchmark.grid.session import Session


@pytest.fixture(scope="session")
def plan(world, protocol_file, stores, recipe, fresh_store, tmp_path_factory) -> Plan:
    results: Path = tmp_path_factory.mktemp("results")
    shutil.copy(fresh_store, results)
    return Plan(str(protocol_file), world, results, stores, recipe, accelerator="cpu")


@pytest.fixture(scope="session")
def bench(plan) -> Bench:
    return Bench(plan)


@pytest.fixture(scope="session")
def session(plan) -> Session:
    return Session(plan)
