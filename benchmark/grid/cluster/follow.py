"""Following jobs in a queue: what is submitted, what ended, and what is submitted again because its task was killed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path

from filelock import BaseFileLock, FileLock

from benchmark.errors import SettingsError
from benchmark.grid.cluster.ledger import Flight, Ledger
from benchmark.grid.cluster.profile import Profile
from benchmark.grid.cluster.slurm import Queue, Status
from benchmark.grid.cluster.task import Task, has_ended, is_finished, newest, write_failure
from benchmark.grid.jobs import Job
from benchmark.grid.pool import Ended
from benchmark.grid.session import Session
from benchmark.tracking import RunRecord

LOOK_STORE = 5.0  # seconds between two looks at the store
LOOK_QUEUE = 20.0  # and at the queue, whose controller serves others, too
MISSING = 2  # looks at the queue without a task, after which it has ended: a file system may show its last words late


@dataclass(frozen=True)
class Begun:
    """What a call found and did.

    Attributes:
        attached: jobs that an earlier call had submitted.
        submitted: jobs that this call has submitted.
        tasks: in which all of these are.
    """

    attached: int
    submitted: int
    tasks: tuple[str, ...]


class Following:
    """The jobs of a session that are in a queue.

    Args:
        session: whose store says what is true of a job.
        queue: where tasks run.
        profile: jobs of a task, and how often a job is tried.
        folder: of logs and of the notes on what was submitted.
        tell: takes a line for the person who waits.
    """

    def __init__(
        self,
        session: Session,
        queue: Queue,
        profile: Profile,
        folder: Path,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._session, self._queue, self._profile, self._folder, self._tell = session, queue, profile, folder, tell
        self._ledger = Ledger(folder)
        self._jobs: dict[str, Job] = {}
        self._flights: dict[str, Flight] = {}
        self._missing: dict[str, int] = {}
        self._told = ""
        # Tasks may begin in another folder, and on another machine.
        plan = session.plan
        data = plan.data.resolve() if plan.data else None
        self._plan = changed(plan, data=data, results=plan.results.resolve(), stores=plan.stores.resolve())

    def begin(self, jobs: Sequence[Job], on_end: Callable[[Ended], None]) -> Begun:
        """Take up what is in the queue, and submit the rest.

        Args:
            jobs: that are not finished.
            on_end: takes those that have just finished, and those that a process in no task of ours is at.

        Raises:
            SettingsError: the queue does not answer, or refuses the jobs.
        """
        self._jobs = {job.identity: job for job in jobs}
        with self._locked():
            flights = self._alive()
            if flights is None:
                raise SettingsError("Slurm does not answer (squeue); nothing was submitted")
            self._flights = {identity: flights[identity] for identity in self._jobs if identity in flights}
            attached = len(self._flights)
            for identity, record in newest(self._session.tracker, self._session.experiment).items():
                if identity not in self._jobs or identity in self._flights:
                    continue
                if is_finished(record):  # since it was looked up what is left
                    on_end(self._outcome(record))
                    del self._jobs[identity]
                elif record.status == "RUNNING":
                    if identity in self._ledger.flights([record.task]):
                        self._lose(Flight(record.task, 0), None)
                    else:
                        on_end(Ended(self._jobs.pop(identity), 0.0, taken=True))
            self._submit({identity: 1 for identity in self._jobs if identity not in self._flights})
        tasks = dict.fromkeys(flight.task for flight in self._flights.values())
        return Begun(attached, len(self._flights) - attached, tuple(tasks))

    def follow(self, on_progress: Callable[[Job, float], None], on_end: Callable[[Ended], None]) -> None:
        """Wait until every job has ended, and submit those again whose task was killed."""
        asked = float("-inf")
        while self._flights:
            statuses = None
            if time.monotonic() - asked >= LOOK_QUEUE:
                # Before the store is read: what has ended by now has written its last words.
                asked, statuses = time.monotonic(), self._queue.look()
                self._tell_waiting(statuses or {})
            last = newest(self._session.tracker, self._session.experiment)
            for identity, flight in list(self._flights.items()):
                record = last.get(identity)
                if record and has_ended(record, flight.task):
                    self._end(self._outcome(record), on_end)
                elif record and record.status == "RUNNING":
                    on_progress(self._jobs[identity], record.step / max(self._plan.recipe.steps, 1))
            if statuses is not None:
                self._take_care(statuses, last, on_end)
            if self._flights:
                time.sleep(LOOK_STORE)

    def _outcome(self, record: RunRecord) -> Ended:
        job, seconds = self._jobs[record.identity], time.time() - record.started
        if is_finished(record):
            return Ended(job, seconds, record.metrics["target/miou"])
        return Ended(job, seconds, error=record.error or "nobody knows why")

    def _end(self, ended: Ended, on_end: Callable[[Ended], None]) -> None:
        self._flights.pop(ended.job.identity, None)
        on_end(ended)

    def _take_care(
        self, statuses: Mapping[str, Status], last: Mapping[str, RunRecord], on_end: Callable[[Ended], None]
    ) -> None:
        """Look after the jobs whose task is no more."""
        for task in {flight.task for flight in self._flights.values()}:
            alive = task in statuses and statuses[task].alive
            self._missing[task] = 0 if alive else self._missing.get(task, 0) + 1
        lost = [identity for identity, flight in self._flights.items() if self._missing[flight.task] >= MISSING]
        again: dict[str, int] = {}
        for identity in sorted(lost, key=lambda lost: self._jobs[lost].parent != ""):  # first what others start from
            job, flight, record = self._jobs[identity], self._flights[identity], last.get(identity)
            parent = last.get(job.parent)
            if job.parent and not is_finished(parent):
                if job.parent in self._flights:
                    again[identity] = flight.attempt
                else:
                    why = "the source-only run of this fold and seed, from which it starts, has no result"
                    taken = parent is not None and parent.status == "RUNNING"
                    self._end(Ended(job, 0.0, error="" if taken else why, taken=taken), on_end)
            elif record and record.status == "RUNNING" and record.task != flight.task:
                self._end(Ended(job, 0.0, taken=True), on_end)
            else:
                state, reason = self._lose(flight, statuses.get(flight.task))
                if state != "CANCELLED" and flight.attempt < self._profile.attempts:
                    again[identity] = flight.attempt + 1
                    self._tell(f"{_name(job)}: {reason}; it is submitted again")
                else:
                    tried = f"; submitted {flight.attempt} times" if flight.attempt > 1 else ""
                    self._give_up(job, flight, reason + tried, on_end)
        if again:
            with self._locked():
                flights = self._alive()
                if flights is not None:  # else at the next look
                    self._flights |= {identity: flights[identity] for identity in again if identity in flights}
                    self._submit({identity: n for identity, n in again.items() if identity not in flights})

    def _locked(self) -> BaseFileLock:
        """Two calls at once must not submit the same; this holds the other off until it can be seen in the queue."""
        return FileLock(self._folder / "submit.lock")

    def _alive(self) -> dict[str, Flight] | None:
        """What is in living tasks, whoever submitted them; None where the queue does not answer."""
        statuses = self._queue.look()
        if statuses is None:
            return None
        return self._ledger.flights([task for task, status in statuses.items() if status.alive])

    def _lose(self, flight: Flight, status: Status | None) -> tuple[str, str]:
        """Close the runs that a task left open; in which state it ended, and the reason that the runs tell."""
        state = status.state if status else self._queue.ending(flight.task)
        how = f" ({state.lower().replace('_', ' ')})" if state else ""
        log = self._queue.log(flight.task)
        words = f", last line: {line!r}" if (line := _last_line(log)) else ""
        reason = f"its Slurm task {flight.task} ended before it did{how} (log: {log}{words})"
        self._session.tracker.close_task(self._session.experiment, flight.task, reason)
        return state, reason

    def _give_up(self, job: Job, flight: Flight, reason: str, on_end: Callable[[Ended], None]) -> None:
        """See to it that the store says why there will be no result."""
        session = self._session
        record = newest(session.tracker, session.experiment).get(job.identity)
        if record and record.task == flight.task:
            session.tracker.tag_run(record.id, "error", reason)
        else:
            write_failure(session.bench, session.tracker, session.experiment, job, reason)
        self._end(Ended(job, 0.0, error=reason), on_end)

    def _submit(self, attempts: Mapping[str, int]) -> None:
        """Submit jobs; those that start from another in the queue as an array that waits for its array.

        Args:
            attempts: the how manieth it is, by the identities of the jobs.
        """
        jobs = [self._jobs[identity] for identity in attempts]
        inside = {*attempts, *self._flights}
        side_by_side = self._profile.runs_per_device
        for wave in ([j for j in jobs if j.parent not in inside], [j for j in jobs if j.parent in inside]):
            after = {_array(self._flights[job.parent].task) for job in wave if job.parent in self._flights}
            groups = [wave[first : first + side_by_side] for first in range(0, len(wave), side_by_side)]
            tasks = [Task(self._plan, self._session.experiment, group, self._folder) for group in groups]
            names = self._queue.submit(tasks, after) if tasks else []
            members = {name: [job.identity for job in group] for name, group in zip(names, groups, strict=True)}
            for array in dict.fromkeys(map(_array, names)):
                self._ledger.write({name: of for name, of in members.items() if _array(name) == array}, attempts)
            for name, identities in members.items():
                self._flights |= {identity: Flight(name, attempts[identity]) for identity in identities}

    def _tell_waiting(self, statuses: Mapping[str, Status]) -> None:
        """Say why nothing runs, once for each reason."""
        mine = [statuses[task] for task in {flight.task for flight in self._flights.values()} if task in statuses]
        waiting = [status.reason for status in mine if status.state == "PENDING"]
        told = ", ".join(sorted({*waiting} - {"None"})) if len(waiting) == len(mine) else ""
        if told and told != self._told:
            self._tell(f"{len(waiting)} tasks wait; Slurm says: {told}")
        self._told = told


def _name(job: Job) -> str:
    return f"{job.label}, {job.fold}, seed {job.seed}"


def _array(task: str) -> str:
    return task.partition("_")[0]


def _last_line(log: Path) -> str:
    """The last line of a log that is neither srun's nor submitit's own, shortened."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    own = [line.strip() for line in lines if line.strip() and not line.startswith(("srun:", "submitit INFO"))]
    return own[-1][:200] if own else ""
