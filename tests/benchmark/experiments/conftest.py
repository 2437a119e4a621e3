"""Databases for the queue: a SQLite file, and a database of a PostgreSQL server that is started here."""

import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sql

from tests.server.ground import Postgres, missing


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server; it starts in two seconds."""
    if why := missing():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="landshift-postgres-") as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder) / "server")
        yield server
        server.stop()


@pytest.fixture(scope="session")
def postgres_database(postgres):
    """One for all tests: PostgreSQL takes seconds to write many down when it is stopped."""
    return postgres.database("queue").replace("postgresql://landshift@", "postgresql+psycopg2://landshift:secret@")


@pytest.fixture
def postgres_url(postgres_database):
    """An empty database, with a password in its URL that the server does not ask for."""
    engine = sql.create_engine(postgres_database, poolclass=sql.NullPool)
    with engine.begin() as connection:
        connection.execute(sql.text("DROP SCHEMA public CASCADE"))
        connection.execute(sql.text("CREATE SCHEMA public"))
    return postgres_database.replace("+psycopg2", "")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return request.getfixturevalue("postgres_url")
