"""PostgreSQL with a tracking server on it, and results folders that share both."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server.ground import Postgres, Server, serving

Machine = Callable[[Path], Path]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Postgres, Server]]:
    """Both run."""
    with serving() as (postgres, server):
        server.start()
        yield postgres, server


@pytest.fixture
def machine(servers: tuple[Postgres, Server], request: pytest.FixtureRequest) -> Machine:
    """Make a results folder of a machine; all of a test share a queue."""
    postgres, server = servers
    database = postgres.database(request.node.name[:63])

    def make(folder: Path) -> Path:
        folder.mkdir()
        settings = f'lease = 8.0\ndatabase = "{database}"\nmlflow = "{server.address}"\n'
        (folder / "settings.toml").write_text(settings, encoding="utf-8")
        return folder

    return make
