"""The job queue: one SQL table of jobs with leases, which any number of processes and machines share.

A job's primary key is the digest of everything its result depends on, so that no job exists twice. A worker claims a
row by a compare-and-set update of `attempts`, renews its lease while it trains, and ends the row. A row whose lease has
expired can be claimed again. Only the clock of the database is used.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sql

from benchmark.common.errors import TrackingError
from benchmark.experiments.database import JOBS, PUBLICATIONS, Database, Values
from benchmark.experiments.publications import show
from benchmark.tracking.settings import KILLS, LEASE

QUEUED, RUNNING, DONE, FAILED, PRUNED = "queued", "running", "done", "failed", "pruned"
BLOCK = 500  # keys in one statement
EXPIRED = "its worker stopped renewing its lease, most likely killed"


@dataclass(frozen=True)
class Entry:
    """A job to be added.

    Attributes:
        key: digest of everything its result depends on.
        parent: key of the job whose weights it starts from; "" if none.
        payload: what a worker needs to run it, as JSON.
        facts: what its run is labelled with.
    """

    key: str
    parent: str
    payload: Mapping[str, Any]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Claim:
    """A job that a worker has claimed.

    Attributes:
        attempt: number of the claim, from 1.
        experiment: an MLflow experiment that shows the job, the first by name.
    """

    key: str
    attempt: int
    parent: str
    payload: Mapping[str, Any]
    facts: Mapping[str, str]
    experiment: str


@dataclass(frozen=True)
class JobRow:
    """A job as the table holds it; times in seconds since the epoch, by the database's clock.

    Attributes:
        expired: whether it is running and its lease is over.
        progress: share of the training that is done, from 0 to 1.
        run, published: id of the MLflow run in one experiment, and whether it shows the job whole.
        shown: tags of the run in that experiment.
    """

    key: str
    parent: str
    state: str
    worker: str
    attempts: int
    progress: float
    error: str
    started: float
    ended: float
    expired: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    run: str = ""
    published: bool = False
    shown: Mapping[str, str] = field(default_factory=dict)


class LeaseLost(Exception):  # noqa: N818 - no error: another worker has the job
    """Another worker has claimed the job."""


class Queue:
    """The jobs of one database.

    Args:
        database: database with the table.
        lease: seconds a claim holds without renewal.
        kills: deaths of a job's worker after which the job fails.
    """

    def __init__(self, database: Database, lease: float = LEASE, kills: int = KILLS) -> None:
        self._database, self.lease, self.kills = database, lease, kills

    def add(
        self, entries: Sequence[Entry], experiment: str, tags: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Request jobs: new ones are queued, failed and pruned ones queued again, all others stay as they are.

        Args:
            experiment: name of the MLflow experiment that shows them.
            tags: tags, by key, of the run in that experiment.
        """
        # In one order everywhere, or PostgreSQL sees deadlocks.
        places = sorted({entry.key: place for place, entry in enumerate(entries)}.items())

        def insert(connection: sql.Connection) -> None:
            last = connection.execute(sql.select(sql.func.max(JOBS.c.position))).scalar() or 0
            rows = [
                {
                    **{"key": key, "parent": entries[place].parent, "state": QUEUED, "position": last + 1 + place},
                    "payload": json.dumps(entries[place].payload),
                    "facts": json.dumps(entries[place].facts),
                }
                for key, place in places
            ]
            connection.execute(self._database.insert(JOBS).on_conflict_do_nothing(), rows)
            # Of those that are there, the paths and the device become those of the newest request.
            again = sql.update(JOBS).where(JOBS.c.key == sql.bindparam("job"))
            again = again.where(JOBS.c.state != RUNNING, JOBS.c.state != DONE)
            new: dict[str, Any] = {name: sql.bindparam(f"new_{name}") for name in ("payload", "facts")}
            again = again.values(state=QUEUED, error="", progress=0.0, kills=0, **new)
            texts = [{"job": row["key"], "new_payload": row["payload"], "new_facts": row["facts"]} for row in rows]
            connection.execute(again, texts)
            show(connection, self._database, [key for key, _ in places], experiment, tags or {})

        if places:
            self._database.do(insert)

    def add_done(self, entry: Entry, row: "JobRow", experiment: str) -> None:
        """Add a job of another queue that is finished there; one that is here and not finished becomes so."""
        self.add([entry], experiment, {entry.key: row.shown})
        done = {"state": DONE, "error": "", "progress": 1.0, "started": row.started, "ended": row.ended}
        texts = {name: json.dumps(getattr(row, name)) for name in ("facts", "tags", "metrics")}
        change = sql.update(JOBS).where(JOBS.c.key == entry.key, JOBS.c.state != DONE)
        change = change.values(**done, **texts, attempts=JOBS.c.attempts + 1, worker=row.worker)
        self._database.do(lambda connection: connection.execute(change))

    def claim(
        self, worker: str, keys: Sequence[str] | None = None, without: Collection[str] = frozenset()
    ) -> Claim | None:
        """Claim the next job that can be begun: a queued one, or one whose lease has expired, with a finished parent.

        A job whose parent has failed fails with it.

        Args:
            worker: a name of the calling worker, unique among all.
            keys: claim only these, in their order; None for all, in the order they were added.
            without: claim none of these.
        """
        order = {key: index for index, key in enumerate(keys)} if keys is not None else None

        def attempt(connection: sql.Connection) -> Claim | None:
            parent = JOBS.alias()
            claimable = connection.execute(
                sql.select(
                    JOBS.c.key,
                    JOBS.c.state,
                    JOBS.c.parent,
                    JOBS.c.attempts,
                    JOBS.c.kills,
                    parent.c.state.label("parent_state"),
                    parent.c.error.label("parent_error"),
                )
                .join_from(JOBS, parent, parent.c.key == JOBS.c.parent, isouter=True)
                .where(self._claimable())
                .order_by(JOBS.c.position)
            ).all()
            if order is not None:
                claimable = sorted((row for row in claimable if row.key in order), key=lambda row: order[row.key])
            for row in (row for row in claimable if row.key not in without):
                if row.parent and row.parent_state in (FAILED, PRUNED, None):
                    why = f"failed: {row.parent_error}" if row.parent_state else "was removed; run the command again"
                    error = f"the source-only run of this fold and seed, from which it starts, {why}"
                    times = dict.fromkeys(("started", "ended"), self._database.now)
                    self._set(connection, row.key, row.attempts, state=FAILED, error=error, **times)
                elif row.state == RUNNING and row.kills + 1 >= self.kills:
                    self._put_back(connection, row, EXPIRED)
                elif (not row.parent or row.parent_state == DONE) and self._take(connection, row, worker):
                    return self._claimed(connection, row.key)
            return None

        return self._database.do(attempt)

    def _claimable(self) -> Any:
        return sql.or_(
            JOBS.c.state == QUEUED, sql.and_(JOBS.c.state == RUNNING, JOBS.c.lease_until < self._database.now)
        )

    def _take(self, connection: sql.Connection, row: Any, worker: str) -> bool:
        change = sql.update(JOBS).where(JOBS.c.key == row.key, JOBS.c.attempts == row.attempts, self._claimable())
        return bool(
            connection.execute(
                change.values(
                    state=RUNNING,
                    worker=worker,
                    attempts=row.attempts + 1,
                    kills=row.kills + (row.state == RUNNING),
                    progress=0.0,
                    lease_until=self._database.now + self.lease,
                    started=self._database.now,
                    ended=0.0,
                    error="",
                )
            ).rowcount
        )

    def _claimed(self, connection: sql.Connection, key: str) -> Claim:
        row = connection.execute(sql.select(JOBS).where(JOBS.c.key == key)).one()
        shown = sql.select(sql.func.min(PUBLICATIONS.c.experiment)).where(PUBLICATIONS.c.key == key)
        experiment = connection.execute(shown).scalar() or ""
        payload, facts = json.loads(row.payload), json.loads(row.facts)
        return Claim(key, row.attempts, row.parent, payload, facts, experiment)

    def renew(self, claim: Claim, progress: float) -> None:
        """Extend a claim's lease, and write how far the training is.

        Raises:
            LeaseLost: another worker has claimed the job.
        """
        self._change(claim, lease_until=self._database.now + self.lease, progress=progress)

    def finish(
        self, claim: Claim, facts: Mapping[str, str], tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> None:
        """End a claimed job with its results.

        Raises:
            LeaseLost: another worker has claimed the job.
        """
        values = {"facts": json.dumps(facts), "tags": json.dumps(tags), "metrics": json.dumps(metrics)}
        self._change(
            claim, state=DONE, error="", progress=1.0, lease_until=0.0, ended=self._database.now, kills=0, **values
        )

    def fail(self, claim: Claim, error: str, state: str = FAILED, tags: Mapping[str, str] | None = None) -> None:
        """End a claimed job without results.

        Raises:
            LeaseLost: another worker has claimed the job.
        """
        values = {"tags": json.dumps(tags or {}), "metrics": "{}"}
        self._change(claim, state=state, error=error, lease_until=0.0, ended=self._database.now, **values)

    def release(self, claim: Claim, error: str) -> None:
        """Put a claimed job back into the queue: its worker must stop.

        Raises:
            LeaseLost: another worker has claimed the job.
        """
        self._change(claim, state=QUEUED, error=error, lease_until=0.0, ended=self._database.now)

    def release_worker(self, worker: str, error: str) -> list[str]:
        """Put back the jobs of a worker that is known to be dead; return their keys.

        A job that killed its worker too often fails.
        """
        return self._put_all_back(JOBS.c.worker == worker, error)

    def requeue_expired(self) -> list[str]:
        """Put back the running jobs whose lease is over; return their keys.

        A job that killed its worker too often fails.
        """
        return self._put_all_back(JOBS.c.lease_until < self._database.now, EXPIRED)

    def _put_all_back(self, where: Any, error: str) -> list[str]:
        def change(connection: sql.Connection) -> list[str]:
            wanted = sql.select(JOBS.c.key, JOBS.c.attempts, JOBS.c.kills).where(JOBS.c.state == RUNNING, where)
            return [row.key for row in connection.execute(wanted).all() if self._put_back(connection, row, error)]

        return self._database.do(change)

    def _put_back(self, connection: sql.Connection, row: Any, error: str) -> bool:
        """Put back a running job whose worker is dead, or end it if it killed its worker too often."""
        over = row.kills + 1 >= self.kills
        why = f"{error}, {row.kills + 1} times" if over else error
        values = {"state": FAILED if over else QUEUED, "kills": row.kills + 1, "error": why, "lease_until": 0.0}
        return self._set(connection, row.key, row.attempts, ended=self._database.now, **values)

    def remove_unpublished(self, keys: Iterable[str]) -> list[str]:
        """Delete those jobs that no experiment shows, whatever their state; return their keys."""
        shown = sql.exists().where(PUBLICATIONS.c.key == JOBS.c.key)

        def delete(connection: sql.Connection) -> list[str]:
            gone = [sql.delete(JOBS).where(JOBS.c.key.in_(block), ~shown) for block in blocks(keys)]
            return [key for one in gone for key in connection.execute(one.returning(JOBS.c.key)).scalars()]

        return self._database.do(delete)

    def states(self) -> dict[str, tuple[str, float]]:
        """Return state and progress of every job; a running one whose lease is over is ``expired``."""

        def read(connection: sql.Connection) -> dict[str, tuple[str, float]]:
            over = (JOBS.c.lease_until < self._database.now).label("over")
            rows = connection.execute(sql.select(JOBS.c.key, JOBS.c.state, JOBS.c.progress, over))
            return {
                row.key: ("expired" if row.state == RUNNING and row.over else row.state, row.progress) for row in rows
            }

        return self._database.do(read, writes=False)

    def rows(self, experiment: str = "", keys: Collection[str] | None = None) -> list[JobRow]:
        """Return jobs in the order they were added.

        Args:
            experiment: MLflow experiment that shows the jobs; "" for all jobs.
            keys: keys of the jobs; None for all.
        """
        parts: Sequence[Sequence[str] | None] = [None] if keys is None else blocks(keys)

        def read(connection: sql.Connection) -> list[Any]:
            over = (JOBS.c.lease_until < self._database.now).label("over")
            columns = [column for column in JOBS.c if column.name != "payload"]
            wanted = sql.select(*columns, over).order_by(JOBS.c.position)
            if experiment:
                shown = (PUBLICATIONS.c.run, PUBLICATIONS.c.attempt, PUBLICATIONS.c.tags.label("shown"))
                joined = wanted.add_columns(*shown).join(PUBLICATIONS, PUBLICATIONS.c.key == JOBS.c.key)
                wanted = joined.where(PUBLICATIONS.c.experiment == experiment)
            selected: list[Any] = []
            for block in parts:
                selected += connection.execute(wanted if block is None else wanted.where(JOBS.c.key.in_(block))).all()
            return sorted(selected, key=lambda row: row.position) if len(parts) > 1 else selected

        return [_row(selected) for selected in self._database.do(read, writes=False)]

    def _set(self, connection: sql.Connection, key: str, attempts: int, **values: Any) -> bool:
        """Change a job if no other worker has claimed it since `attempts` was read."""
        change = sql.update(JOBS).where(JOBS.c.key == key, JOBS.c.attempts == attempts)
        change = change.where(JOBS.c.state.in_([QUEUED, RUNNING]))
        return bool(connection.execute(change.values(**values)).rowcount)

    def _change(self, claim: Claim, **values: Any) -> None:
        change = sql.update(JOBS).where(
            JOBS.c.key == claim.key, JOBS.c.attempts == claim.attempt, JOBS.c.state == RUNNING
        )
        if not self._database.do(lambda connection: connection.execute(change.values(**values)).rowcount):
            raise LeaseLost(claim.key)


def _row(row: Any) -> JobRow:
    shown: dict[str, Any] = {}
    try:
        if "run" in row._fields:
            published = row.attempt == row.attempts
            shown = {"run": row.run, "published": published, "shown": Values.of(row.shown, str)}
        return JobRow(
            key=row.key,
            parent=row.parent,
            state=row.state,
            worker=row.worker,
            attempts=int(row.attempts),
            progress=float(row.progress),
            error=row.error,
            started=float(row.started),
            ended=float(row.ended),
            expired=bool(row.state == RUNNING and row.over),
            facts=Values.of(row.facts, str),
            tags=Values.of(row.tags, str),
            metrics=Values.of(row.metrics, float),
            **shown,
        )
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise TrackingError(f"the job {row.key!r} is damaged in the database: {error}") from error


def blocks(keys: Iterable[str]) -> list[list[str]]:
    """Return keys, each once, in lists that fit into one statement."""
    every = list(dict.fromkeys(keys))
    return [every[first : first + BLOCK] for first in range(0, len(every), BLOCK)]
