"""The database of a results folder, which any number of processes and machines share: tables, transactions, clock."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from benchmark.common.errors import DataError, TrackingError
from benchmark.common.files import parse_json
from benchmark.common.texts import without_passwords

PATIENCE = 3600.0  # seconds to wait for a database that does not answer
PAUSE, SAY_EVERY = 1.0, 30.0
# Primary result codes of SQLite for what may end by itself: busy, locked, disk I/O, disk full, cannot open, protocol.
_SQLITE_AWAY = {5, 6, 10, 13, 14, 15}
T = TypeVar("T")
logger = logging.getLogger(__name__)

_tables = sql.MetaData()
JOBS = sql.Table(
    "landshift_jobs",
    _tables,
    sql.Column("key", sql.String(64), primary_key=True),
    sql.Column("parent", sql.String(64), nullable=False),
    sql.Column("state", sql.String(16), nullable=False, index=True),
    sql.Column("position", sql.BigInteger, nullable=False),
    sql.Column("payload", sql.Text, nullable=False),
    sql.Column("facts", sql.Text, nullable=False),
    *(sql.Column(name, sql.Text, nullable=False, default="") for name in ("worker", "error")),
    *(sql.Column(name, sql.Text, nullable=False, default="{}") for name in ("tags", "metrics")),
    *(sql.Column(name, sql.Integer, nullable=False, default=0) for name in ("attempts", "kills")),
    *(sql.Column(name, sql.Float, nullable=False, default=0.0) for name in ("progress", "lease_until")),
    *(sql.Column(name, sql.Float, nullable=False, default=0.0) for name in ("started", "ended")),
)
# Which MLflow experiments show a job, and as which run.
PUBLICATIONS = sql.Table(
    "landshift_publications",
    _tables,
    sql.Column("key", sql.String(64), primary_key=True),
    sql.Column("experiment", sql.String(300), primary_key=True),
    sql.Column("tags", sql.Text, nullable=False),
    sql.Column("run", sql.String(64), nullable=False, default=""),
    sql.Column("attempt", sql.Integer, nullable=False, default=-1),  # of the job that the run shows whole; -1 for none
    sql.Column("lease_until", sql.Float, nullable=False, default=0.0),
)
# What is known of an experiment besides its jobs: requested comparisons, tunings, baselines.
DOCUMENTS = sql.Table(
    "landshift_documents",
    _tables,
    sql.Column("experiment", sql.String(300), primary_key=True),
    sql.Column("name", sql.String(300), primary_key=True),
    sql.Column("content", sql.Text, nullable=False),
    sql.Column("changed", sql.Float, nullable=False),
)


class Values(dict[str, T]):
    """The JSON text of a column, as a dictionary."""

    @classmethod
    def of(cls, text: str, kind: Callable[[Any], T]) -> "Values[T]":
        """Read a text.

        Args:
            kind: makes a value of what is there.

        Raises:
            ValueError, TypeError, AttributeError, RecursionError: the text is damaged.
        """
        return cls({name: kind(value) for name, value in json.loads(text).items()})

    def __missing__(self, name: str) -> T:
        raise DataError(f"{name!r} is missing in a job of the database")


class Database:
    """Transactions on the tables, which are made if they are missing.

    Args:
        url: SQLAlchemy's, for example ``sqlite:////folder/jobs.db`` or ``postgresql://user@host/name``.

    Raises:
        TrackingError: the database cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.url, self.patience = url, 0.0
        try:
            # No pool: a connection must not cross a fork.
            wait = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
            address = sql.make_url(url)
            if address.drivername == "postgresql":  # whose default driver differs between versions of SQLAlchemy
                address = address.set(drivername="postgresql+psycopg2")
            self._engine = sql.create_engine(address, poolclass=NullPool, **wait)
        except (sql.exc.ArgumentError, ImportError, ValueError) as error:
            raise self._error(error) from error
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        if self._is_sqlite:  # transactions as SQLAlchemy's documentation of pysqlite begins them
            sql.event.listen(self._engine, "connect", _leave_transactions_to_us)
            sql.event.listen(self._engine, "begin", _begin)
        clock = (
            "(julianday('now') - 2440587.5) * 86400.0" if self._is_sqlite else "extract(epoch from clock_timestamp())"
        )
        self.now: Any = sql.cast(sql.literal_column(clock), sql.Float(53))
        """The database's time as an expression of SQL, in seconds since the epoch."""
        self.do(self._create, tries=5)
        self.patience = PATIENCE
        """Seconds to wait for a database that does not answer; less where a process has to end."""

    def insert(self, table: sql.Table) -> Any:
        """Return an INSERT of this database's dialect, which has ``on_conflict_do_nothing``."""
        return (sqlite if self._is_sqlite else postgresql).insert(table)

    def time(self) -> float:
        """Return the database's time, in seconds since the epoch."""
        return float(self.do(lambda connection: connection.execute(sql.select(self.now)).scalar_one(), writes=False))

    def _create(self, connection: sql.Connection) -> None:
        for table in _tables.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))

    def do(self, action: Callable[[sql.Connection], T], tries: int = 1, *, writes: bool = True) -> T:
        """Run statements in one transaction; wait for a database that does not answer.

        Raises:
            TrackingError: it does not answer for an hour, or the statements fail for another reason.
        """
        begun, said = time.monotonic(), time.monotonic()
        while True:
            try:
                # A transaction of SQLite that first reads and then writes fails where another one writes.
                options = {"sqlite_begin": "BEGIN IMMEDIATE" if writes else "BEGIN"}
                with self._engine.connect().execution_options(**options) as connection, connection.begin():
                    return action(connection)
            except sql.exc.SQLAlchemyError as error:
                tries -= 1
                away = _is_away(error)
                if (tries <= 0 and (not away or time.monotonic() > begun + self.patience)) or _is_final(error):
                    raise self._error(error) from error
                if time.monotonic() - said >= SAY_EVERY:
                    shown, why = without_passwords(self.url), _first_line(error)
                    logger.warning("the database %s does not answer (%s); trying again", shown, why)
                    said = time.monotonic()
                time.sleep(PAUSE)

    def _error(self, error: Exception) -> TrackingError:
        has_scheme = "://" in self.url  # without it, what of it is a password is unknown
        shown = (
            f" {without_passwords(self.url)}" if has_scheme else ", whose URL is not like postgresql://user@host/name,"
        )
        return TrackingError(f"the database{shown} cannot be used: {_first_line(error)}")

    def documents(self, experiment: str, prefix: str = "") -> dict[str, Any]:
        """Return the documents of an experiment by name, the one changed last at the end."""
        query = (
            sql.select(DOCUMENTS.c.name, DOCUMENTS.c.content)
            .where(DOCUMENTS.c.experiment == experiment, DOCUMENTS.c.name.startswith(prefix, autoescape=True))
            .order_by(DOCUMENTS.c.changed, DOCUMENTS.c.name)
        )
        rows = self.do(lambda connection: connection.execute(query).all(), writes=False)
        return {row.name: parse_json(row.content, f"{row.name} of {experiment}, in the database") for row in rows}

    def edit(self, experiment: str, name: str, change: Callable[[Any], Any]) -> Any:
        """Change a document, so that no other change between reading and writing is lost; return it.

        Args:
            change: takes the content, None where there is none, and returns the new one, None to delete it.
        """
        is_document = sql.and_(DOCUMENTS.c.experiment == experiment, DOCUMENTS.c.name == name)
        empty = self.insert(DOCUMENTS).values(experiment=experiment, name=name, content="null", changed=self.now)

        def write(connection: sql.Connection) -> Any:
            connection.execute(empty.on_conflict_do_nothing())  # a row that is there can be locked
            content = change(
                json.loads(
                    connection.execute(
                        sql.select(DOCUMENTS.c.content).where(is_document).with_for_update()
                    ).scalar_one()
                )
            )
            if content is None:
                connection.execute(sql.delete(DOCUMENTS).where(is_document))
            else:
                new = {"content": json.dumps(content), "changed": self.now}
                connection.execute(sql.update(DOCUMENTS).where(is_document).values(**new))
            return content

        return self.do(write)


def _leave_transactions_to_us(connection: Any, record: Any) -> None:
    connection.isolation_level = None


def _begin(connection: sql.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options()["sqlite_begin"])


def _is_away(error: sql.exc.SQLAlchemyError) -> bool:
    """Return whether a database does not answer now, but may later."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_AWAY
    lost = bool(getattr(error, "connection_invalidated", False))
    return lost or isinstance(error, sql.exc.OperationalError | sql.exc.InterfaceError)


def _is_final(error: sql.exc.SQLAlchemyError) -> bool:
    """Return whether it is of no use to try again: of SQLite, all but what may end by itself."""
    return hasattr(getattr(error, "orig", None), "sqlite_errorcode") and not _is_away(error)


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return without_passwords((str(cause).strip().splitlines() or [type(cause).__name__])[0])
