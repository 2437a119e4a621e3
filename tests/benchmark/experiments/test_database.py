"""One database, many processes: no change is lost, and one that is away for a while is waited for."""

import contextlib
import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql

from benchmark.common.errors import TrackingError
from benchmark.experiments import database as module
from benchmark.experiments.database import JOBS, Database


@pytest.fixture
def impatient(monkeypatch):
    """Tries again at once, and says so at once."""
    monkeypatch.setattr(module, "PAUSE", 0.02)
    monkeypatch.setattr(module, "SAY_EVERY", 0.0)


@contextlib.contextmanager
def later(action, seconds):
    """Does something in a thread meanwhile."""
    thread = threading.Timer(seconds, action)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _jobs(connection):
    return connection.execute(sql.select(sql.func.count()).select_from(JOBS)).scalar()


def test_eight_at_once_make_the_tables_once(url):
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(Database, [url] * 8))
    assert [database.do(_jobs) for database in opened] == [0] * 8


def test_the_time_is_the_database_s(url, monkeypatch):
    before = time.time()
    database = Database(url)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    first = database.time()
    time.sleep(0.01)
    assert abs(first - before) < 60 and first < database.time()


def test_an_error_leaves_nothing(url):
    database = Database(url)

    def half(connection):
        connection.execute(sql.delete(JOBS))
        connection.execute(database.insert(module.DOCUMENTS).values(**document))
        raise ValueError("half")

    document = {"experiment": "e", "name": "n", "content": "1", "changed": 0.0}
    with pytest.raises(ValueError, match="half"):
        database.do(half)
    assert database.documents("e") == {}


def test_a_document_is_made_changed_and_deleted(url):
    database = Database(url)
    assert database.edit("e", "n", lambda old: old) is None and database.documents("e") == {}
    assert database.edit("e", "n", lambda old: [old]) == [None]
    assert database.edit("e", "n", lambda old: [*old, "é"]) == [None, "é"]
    assert database.documents("e") == {"n": [None, "é"]} and database.documents("other") == {}
    assert database.edit("e", "n", lambda old: None) is None
    assert database.documents("e") == {}


def test_documents_are_found_by_prefix_and_the_one_changed_last_is_last(url):
    database = Database(url)
    for name in ("a/2", "a/1", "a%", "b", "a/2"):
        database.edit("e", name, lambda old: (old or 0) + 1)
        time.sleep(0.002)  # the clock of SQLite has milliseconds
    assert list(database.documents("e").items()) == [("a/1", 1), ("a%", 1), ("b", 1), ("a/2", 2)]
    assert list(database.documents("e", "a/")) == ["a/1", "a/2"]
    assert list(database.documents("e", "a%")) == ["a%"]


def test_edits_at_once_lose_nothing(url):
    def work(number):
        database = Database(url)
        for _ in range(5):
            database.edit("e", "n", lambda old: {**(old or {}), str(number): (old or {}).get(str(number), 0) + 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert Database(url).documents("e") == {"n": {str(number): 5 for number in range(8)}}


def test_a_document_that_is_deleted_and_made_again_meanwhile_is_not_overwritten(url):
    database, other = Database(url), Database(url)
    database.edit("e", "n", lambda old: ["old"])

    def replaced():
        other.edit("e", "n", lambda old: None)
        other.edit("e", "n", lambda old: [*(old or []), "new"])

    def slow(old):
        if not thread.is_alive():
            thread.start()
            time.sleep(0.3)
        return [*(old or []), "mine"]

    thread = threading.Thread(target=replaced)
    database.edit("e", "n", slow)
    thread.join()
    assert "new" in database.documents("e")["n"]


def test_a_locked_file_is_waited_for_also_to_open_it(tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    Database(url).edit("e", "n", lambda old: 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db", check_same_thread=False)) as other:
        for action in (lambda: Database(url).edit("e", "n", lambda old: old + 1), lambda: Database(url)):
            other.execute("BEGIN EXCLUSIVE")
            started = time.monotonic()
            with later(other.rollback, 1.0):
                action()
            assert time.monotonic() - started >= 0.9
    assert Database(url).documents("e") == {"n": 2}


@pytest.mark.usefixtures("impatient")
def test_a_file_that_is_away_is_waited_for(tmp_path, caplog):
    folder, away = tmp_path / "folder", tmp_path / "away"
    folder.mkdir()
    database = Database(f"sqlite:///{folder / 'jobs.db'}")
    database.edit("e", "n", lambda old: 1)
    folder.rename(away)
    with later(lambda: away.rename(folder), 0.3):
        assert database.documents("e") == {"n": 1}
    assert "jobs.db does not answer (unable to open database file); trying again" in caplog.text


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_is_waited_for_without_its_password(postgres, postgres_url, caplog):
    database = Database(postgres_url)
    database.edit("e", "n", lambda old: 1)
    postgres.stop()
    with later(postgres.start, 0.5):
        assert database.edit("e", "n", lambda old: old + 1) == 2
    assert "does not answer" in caplog.text and ":***@" in caplog.text and "secret" not in caplog.text
    assert all(record.levelno == logging.WARNING for record in caplog.records)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_stops_within_a_transaction_has_it_done_again(postgres, postgres_url):
    database = Database(postgres_url)
    seen = []

    def action(connection):
        seen.append(connection.execute(sql.select(sql.func.count()).select_from(module.DOCUMENTS)).scalar())
        connection.execute(database.insert(module.DOCUMENTS).values(**document))
        if len(seen) == 1:
            postgres.stop()
            postgres.start()
        return "done"

    document = {"experiment": "e", "name": "n", "content": "1", "changed": 0.0}
    assert database.do(action) == "done" and seen == [0, 0]
    assert database.documents("e") == {"n": 1}


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_is_lost_is_made_again_whatever_the_driver_calls_it(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    errors = [sql.exc.DatabaseError("SELECT", None, Exception("SSL SYSCALL"), connection_invalidated=True)]

    def action(connection):
        if errors:
            raise errors.pop()
        return "done"

    assert database.do(action) == "done"


@pytest.mark.usefixtures("impatient")
def test_what_does_not_answer_for_too_long_is_an_error(tmp_path, monkeypatch):
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    database.patience = 0.2
    (tmp_path / "jobs.db").unlink()
    (tmp_path / "jobs.db").mkdir()
    with pytest.raises(TrackingError, match=r"jobs\.db cannot be used: unable to open database file$"):
        database.documents("e")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_statement_that_is_wrong_is_an_error_at_once(kind, request, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'jobs.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(url)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it is not waited for"))
    with pytest.raises(TrackingError, match="nothing") as error:
        database.do(lambda connection: connection.execute(sql.text("SELECT * FROM nothing")))
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://landshift:secret@127.0.0.1:1/q", "Connection refused"),
        ("postgresql://landshift:secret@/q?host=/nowhere", "No such file or directory"),
        ("postgresql://landshift@/q?host=/nowhere&password=secret", "No such file or directory"),
        ("postgresql://landshift:secret@host:port/q", "invalid literal"),
        ("nosuch://landshift:secret@host/q", "nosuch"),
        ("landshift:secret@host/q", "postgresql://user@host/name"),
        ("sqlite:////proc/secretless/jobs.db", "unable to open database file"),
    ],
)
def test_what_cannot_be_opened_is_an_error_in_one_line(url, words):
    with pytest.raises(TrackingError, match=words) as error:
        Database(url)
    text = str(error.value)
    assert "cannot be used" in text and "\n" not in text and "secret" not in text.replace("secretless", "")


def test_a_file_that_is_no_database_is_an_error_at_once(tmp_path, monkeypatch):
    (tmp_path / "jobs.db").write_bytes(b"no database" * 1000)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it is not waited for"))
    with pytest.raises(TrackingError, match=r"jobs\.db cannot be used: file is not a database$"):
        Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    assert (tmp_path / "jobs.db").read_bytes() == b"no database" * 1000
