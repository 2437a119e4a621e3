"""The MLflow experiments that show a job, and its run in each."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sql

from benchmark.experiments.database import DOCUMENTS, JOBS, PUBLICATIONS, Database


class Publications:
    """The table of publications.

    Args:
        lease: seconds that one process has for publishing a job.
    """

    def __init__(self, database: Database, lease: float) -> None:
        self._database, self._lease = database, lease

    def add(self, keys: Iterable[str], experiment: str, tags: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Have an MLflow experiment show jobs.

        Args:
            tags: tags, by key, of the run there.
        """
        every = list(dict.fromkeys(keys))
        if every:
            self._database.do(lambda connection: show(connection, self._database, every, experiment, tags or {}))

    def claim(self, key: str, experiment: str, run: str, attempt: int) -> bool:
        """Claim the right to publish a job in an experiment for the length of a lease.

        Args:
            run: id of the MLflow run that the caller knows, and will replace.
            attempt: attempt of the job that is to be published.

        Returns:
            False if another process publishes the job, or did.
        """
        same = sql.and_(PUBLICATIONS.c.run == run, PUBLICATIONS.c.attempt != attempt)
        free = PUBLICATIONS.c.lease_until < self._database.now
        return self._change(key, experiment, same, free, lease_until=self._database.now + self._lease)

    def hold(self, key: str, experiment: str) -> None:
        """Have no other process publish a job for the length of a lease: its worker does."""
        self._change(key, experiment, lease_until=self._database.now + self._lease)

    def free(self, key: str, experiment: str) -> None:
        """End a claim."""
        self._change(key, experiment, lease_until=0.0)

    def note(self, key: str, experiment: str, run: str, attempt: int) -> None:
        """Note the MLflow run of a job.

        Args:
            attempt: attempt of the job that the run shows whole; -1 for a run that is not whole.
        """
        self._change(key, experiment, run=run, attempt=attempt)

    def _change(self, key: str, experiment: str, *where: Any, **values: Any) -> bool:
        is_publication = sql.and_(PUBLICATIONS.c.key == key, PUBLICATIONS.c.experiment == experiment, *where)
        change = sql.update(PUBLICATIONS).where(is_publication).values(**values)
        return bool(self._database.do(lambda connection: connection.execute(change).rowcount))

    def tag(self, experiment: str, name: str, values: Mapping[str, str | None]) -> None:
        """Note a tag of the runs of jobs in an experiment.

        Args:
            name: name of the tag.
            values: values by the job's key; None where it has none.
        """

        def change(connection: sql.Connection) -> None:
            query = sql.select(PUBLICATIONS.c.key, PUBLICATIONS.c.tags).where(PUBLICATIONS.c.experiment == experiment)
            rows = []
            for row in connection.execute(query):
                if row.key in values:
                    tags = {**json.loads(row.tags), name: values[row.key]}
                    kept = {of: value for of, value in tags.items() if value is not None}
                    rows.append({"job": row.key, "new_tags": json.dumps(kept)})
            at = sql.and_(PUBLICATIONS.c.experiment == experiment, PUBLICATIONS.c.key == sql.bindparam("job"))
            update = sql.update(PUBLICATIONS).where(at).values(tags=sql.bindparam("new_tags"))
            if rows:
                connection.execute(update, rows)

        if values:
            self._database.do(change)

    def runs(self, keys: Iterable[str], experiment: str = "") -> list[str]:
        """Return the MLflow runs of jobs, those that are whole first.

        Args:
            experiment: name of the experiment; "" for all.
        """
        every, wanted = set(keys), sql.select(PUBLICATIONS).order_by(PUBLICATIONS.c.attempt.desc())
        if experiment:
            wanted = wanted.where(PUBLICATIONS.c.experiment == experiment)
        rows = self._database.do(lambda connection: connection.execute(wanted).all(), writes=False)
        return [row.run for row in rows if row.run and row.key in every]

    def whole(self, key: str) -> tuple[str, bool]:
        """Return an MLflow run that shows a job whole, and whether a process publishes the job now.

        The run may be of any experiment; "" if there is none.
        """
        busy = (PUBLICATIONS.c.lease_until > self._database.now).label("busy")
        whole = (PUBLICATIONS.c.attempt == JOBS.c.attempts).label("whole")
        wanted = sql.select(PUBLICATIONS.c.run, whole, busy).join(JOBS, JOBS.c.key == PUBLICATIONS.c.key)
        wanted = wanted.where(PUBLICATIONS.c.key == key)
        rows = self._database.do(lambda connection: connection.execute(wanted).all(), writes=False)
        return next((row.run for row in rows if row.whole and row.run), ""), any(row.busy for row in rows)

    def remove(self, keys: Iterable[str], experiment: str) -> None:
        """Have an experiment no longer show jobs."""
        every = list(dict.fromkeys(keys))

        def change(connection: sql.Connection) -> None:
            for key in every:
                is_publication = sql.and_(PUBLICATIONS.c.key == key, PUBLICATIONS.c.experiment == experiment)
                connection.execute(sql.delete(PUBLICATIONS).where(is_publication))

        self._database.do(change)

    def find(self, prefix: str) -> list[tuple[str, str]]:
        """Return key and experiment of the jobs whose key, or id of the MLflow run, begins so."""
        begins = sql.or_(
            PUBLICATIONS.c.key.startswith(prefix, autoescape=True),
            PUBLICATIONS.c.run.startswith(prefix, autoescape=True),
        )
        query = sql.select(PUBLICATIONS.c.key, PUBLICATIONS.c.experiment).where(begins)
        return self._database.do(
            lambda connection: [(row.key, row.experiment) for row in connection.execute(query)], writes=False
        )

    def experiments(self) -> list[str]:
        """Return the names of the MLflow experiments that show jobs or have documents."""

        def read(connection: sql.Connection) -> list[str]:
            first = sql.func.min(DOCUMENTS.c.changed).label("first")
            query = sql.select(DOCUMENTS.c.experiment, first).group_by(DOCUMENTS.c.experiment).order_by(first)
            documents = [row.experiment for row in connection.execute(query)]
            shown = connection.execute(sql.select(PUBLICATIONS.c.experiment).distinct()).scalars()
            return list(dict.fromkeys([*documents, *sorted(shown, key=str)]))

        return self._database.do(read, writes=False)


def show(
    connection: sql.Connection,
    database: Database,
    keys: Sequence[str],
    experiment: str,
    tags: Mapping[str, Mapping[str, str]],
) -> None:
    """Add publications within a transaction; those that exist stay as they are."""
    rows = [{"experiment": experiment, "key": key, "tags": json.dumps(tags.get(key, {}))} for key in keys]
    connection.execute(database.insert(PUBLICATIONS).on_conflict_do_nothing(), rows)
