"""Following jobs in a queue that does what the test says; what is true of them is in a real store."""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.errors import SettingsError, TrainingError
from benchmark.grid.cluster import follow as following
from benchmark.grid.cluster.follow import Following
from benchmark.grid.cluster.profile import Profile
from benchmark.grid.cluster.slurm import Status, log_of
from benchmark.grid.cluster.task import Task
from benchmark.grid.jobs import Job
from benchmark.grid.pool import Ended
from benchmark.grid.session import Session

pytestmark = pytest.mark.usefixtures("stores_copied")


class Queue:
    """Tasks in memory. What `plays` says of a job is done to its task one look after it was submitted."""

    def __init__(self, session: Session, folder: Path, plays=None) -> None:
        self.session, self.folder, self.plays = session, folder, plays or {}
        self.tasks: dict[str, Task] = {}
        self.statuses: dict[str, Status] = {}
        self.after: list[tuple[str, ...]] = []
        self.answers = True

    def submit(self, tasks: Sequence[Task], after: Collection[str]) -> list[str]:
        array = len(self.after) + 1
        self.after.append(tuple(after))
        names = [f"{array}_{index}" for index in range(len(tasks))]
        self.tasks |= dict(zip(names, tasks, strict=True))
        self.statuses |= {name: Status("PENDING", "Resources") for name in names}
        return names

    def look(self) -> dict[str, Status] | None:
        found = dict(self.statuses)
        for name, status in found.items():
            if status.alive:
                for job in self.tasks[name].jobs:
                    self.statuses[name] = Status(self._play(name, job))
        return found if self.answers else None

    def _play(self, name: str, job: Job) -> str:
        plays = self.plays.get((job.label, job.seed), ["finish"])
        play = plays.pop(0) if len(plays) > 1 else plays[0]
        if play == "finish":
            with self.run(job, name) as run:
                run.log({"target/miou": 0.5})
            return "COMPLETED"
        if play == "fail":
            with pytest.raises(TrainingError), self.run(job, name):
                raise TrainingError("no idea")
            return "COMPLETED"
        if play == "killed while running":
            self.run(job, name).__enter__()
            return "OUT_OF_MEMORY"
        log_of(self.folder, name).write_text("No module named 'x'\nsubmitit INFO bye\nsrun: error\n")
        return play

    def run(self, job: Job, task: str):
        session = self.session
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_JOB_ID", task)
            return session.tracker.start(session.experiment, "n", session.bench.facts(job), job.identity)

    def ending(self, task: str) -> str:
        return ""

    def log(self, task: str) -> Path:
        return log_of(self.folder, task)


@pytest.fixture
def fresh(plan, bench, tmp_path, monkeypatch) -> Session:
    monkeypatch.setattr(following, "LOOK_STORE", 0.0)
    monkeypatch.setattr(following, "LOOK_QUEUE", 0.0)
    return Session(replace(plan, results=tmp_path), bench=bench)


def _go(session: Session, queue: Queue, jobs, profile=Profile(), told=None) -> dict[tuple[str, int], Ended]:  # noqa: B008
    ends: list[Ended] = []
    one = Following(session, queue, profile, queue.folder, (told if told is not None else []).append)
    one.begin(jobs, ends.append)
    one.follow(lambda job, share: None, ends.append)
    assert len({end.job.identity for end in ends}) == len(ends) == len(jobs)
    return {(end.job.label, end.job.seed): end for end in ends}


def _errors(session: Session, job: Job) -> list[tuple[str, str | None]]:
    return [(r.status, r.error) for r in session.tracker.cells(session.experiment) if r.identity == job.identity]


def test_every_job_ends_as_the_store_says(fresh, tmp_path):
    jobs = fresh.bench.jobs(["source-only"], [0, 1, 2], ["2020"])
    queue = Queue(fresh, tmp_path, {("source-only", 1): ["fail"]})
    told: list[str] = []
    ends = _go(fresh, queue, jobs, told=told)
    assert [ends["source-only", seed].error for seed in range(3)] == ["", "no idea", ""]
    assert ends["source-only", 0].miou == 0.5
    assert queue.after == [()] and len(queue.tasks) == 3  # a job that fails is not submitted again
    assert told == ["3 tasks wait; Slurm says: Resources"]


def test_a_killed_task_is_submitted_again_and_its_run_says_why(fresh, tmp_path):
    jobs = fresh.bench.jobs(["source-only"], [0, 1], ["2020"])
    queue = Queue(fresh, tmp_path, {("source-only", 1): ["killed while running", "NODE_FAIL", "finish"]})
    told: list[str] = []
    ends = _go(fresh, queue, jobs, told=told)
    assert not any(end.error for end in ends.values())
    (killed, error), done = _errors(fresh, jobs[1])
    assert killed == "KILLED" and done[0] == "FINISHED"
    assert error == f"its Slurm task 1_1 ended before it did (out of memory) (log: {tmp_path / '1_1_0_log.out'})"
    again = [line for line in told if line.endswith("it is submitted again")]
    assert len(again) == 2 and "out of memory" in again[0] and "node fail" in again[1]


def test_a_job_is_given_up_after_so_many_attempts_and_the_cell_says_why(fresh, tmp_path):
    (job,) = fresh.bench.jobs(["source-only"], [0], ["2020"])
    queue = Queue(fresh, tmp_path, {("source-only", 0): ["FAILED"]})
    ends = _go(fresh, queue, [job], Profile(attempts=2))
    why = "its Slurm task 2_0 ended before it did (failed) (log: "
    assert ends["source-only", 0].error.startswith(why)
    ((status, error),) = _errors(fresh, job)
    assert status == "FAILED" and error == ends["source-only", 0].error
    assert "last line: \"No module named 'x'\"" in error and error.endswith("submitted 2 times")
    assert len(queue.tasks) == 2


def test_what_a_person_cancelled_is_not_submitted_again(fresh, tmp_path):
    (job,) = fresh.bench.jobs(["source-only"], [0], ["2020"])
    ends = _go(fresh, Queue(fresh, tmp_path, {("source-only", 0): ["CANCELLED"]}), [job])
    assert "(cancelled)" in ends["source-only", 0].error


def test_what_starts_from_another_waits_and_follows_it_when_it_is_killed(fresh, tmp_path):
    jobs = fresh.bench.jobs(["tent"], [0, 1], ["2020"])
    plays = {
        ("source-only", 0): ["NODE_FAIL", "finish"],
        ("tent", 0): ["COMPLETED", "finish"],  # it found no source-only run
        ("source-only", 1): ["fail"],
        ("tent", 1): ["COMPLETED"],
    }
    queue = Queue(fresh, tmp_path, plays)
    ends = _go(fresh, queue, jobs)
    assert queue.after == [(), ("1",), (), ("3",)]
    assert [len(task.jobs) for task in queue.tasks.values()] == [1] * 6
    assert not ends["source-only", 0].error and not ends["tent", 0].error
    assert "source-only run of this fold and seed, from which it starts, has no result" in ends["tent", 1].error


def test_a_second_call_attaches_and_submits_nothing_twice(fresh, tmp_path):
    jobs = fresh.bench.jobs(["source-only"], [0, 1, 2, 3], ["2020"])
    queue = Queue(fresh, tmp_path)
    first = Following(fresh, queue, Profile(), tmp_path).begin(jobs[:2], print)
    assert (first.attached, first.submitted, first.tasks) == (0, 2, ("1_0", "1_1"))
    queue.statuses["1_1"] = Status("FAILED")
    (just,) = fresh.bench.jobs(["source-only"], [4], ["2020"])
    with queue.run(just, "") as run:
        run.log({"target/miou": 0.5})
    running = queue.run(jobs[1], "1_1")  # left open by the task that failed
    other = queue.run(jobs[3], "")
    ends: list[Ended] = []
    second = Following(fresh, queue, Profile(), tmp_path)
    begun = second.begin([*jobs, just], ends.append)
    assert (begun.attached, begun.submitted) == (1, 2)
    assert [job.identity for task in list(queue.tasks.values())[2:] for job in task.jobs] == [
        job.identity for job in jobs[1:3]
    ]
    assert sorted((end.job.seed, end.taken, end.miou == 0.5) for end in ends) == [(3, True, False), (4, False, True)]
    assert [status for status, _ in _errors(fresh, jobs[1])] == ["KILLED"] and running.id != other.id
    noted = json.loads((tmp_path / "2_jobs.json").read_text())
    assert noted == {"2_0": {jobs[1].identity: 1}, "2_1": {jobs[2].identity: 1}}


def test_of_two_calls_that_miss_a_task_one_submits_it_again(fresh, tmp_path):
    jobs = fresh.bench.jobs(["source-only"], [0], ["2020"])
    queue = Queue(fresh, tmp_path, {("source-only", 0): ["NODE_FAIL", "PENDING", "PENDING", "PENDING", "finish"]})
    calls = [Following(fresh, queue, Profile(), tmp_path) for _ in range(2)]
    ends: list[Ended] = []
    for call in calls:
        call.begin(jobs, ends.append)
    queue.statuses["1_0"] = Status("NODE_FAIL")
    for call in calls:
        for _ in range(2):
            call._take_care({}, {}, ends.append)
    assert list(queue.tasks) == ["1_0", "2_0"]
    assert [call._flights[jobs[0].identity].task for call in calls] == ["2_0", "2_0"] and not ends


def test_nothing_is_submitted_or_concluded_without_an_answer(fresh, tmp_path):
    jobs = fresh.bench.jobs(["source-only"], [0], ["2020"])
    queue = Queue(fresh, tmp_path)
    queue.answers = False
    with pytest.raises(SettingsError, match="does not answer"):
        Following(fresh, queue, Profile(), tmp_path).begin(jobs, print)
    assert not queue.tasks
    queue.answers = True
    one = Following(fresh, queue, Profile(), tmp_path)
    one.begin(jobs, print)
    looks = iter([None, {}, {}, {}])  # missing twice, and still when the lock is held
    queue.look = lambda: next(looks)  # type: ignore[method-assign]
    ends: list[Ended] = []

    with _submitted_again(queue) as submitted:
        with pytest.raises(StopIteration):
            one.follow(lambda job, share: None, ends.append)
        assert submitted == [1] and not ends and not list(looks)


@contextmanager
def _submitted_again(queue: Queue) -> Iterator[list[int]]:
    """Stops at the next submission."""
    submitted: list[int] = []

    def submit(tasks, after):
        submitted.append(len(tasks))
        raise StopIteration

    queue.submit = submit  # type: ignore[method-assign]
    yield submitted


def test_several_runs_share_a_task(fresh, tmp_path):
    jobs = fresh.bench.jobs(["source-only"], [0, 1, 2], ["2020"])
    queue = Queue(fresh, tmp_path)
    ends = _go(fresh, queue, jobs, Profile(runs_per_device=2))
    assert [len(task.jobs) for task in queue.tasks.values()] == [2, 1]
    assert not any(end.error for end in ends.values())


def test_progress_is_the_last_step_of_a_running_run(fresh, tmp_path):
    (job,) = fresh.bench.jobs(["source-only"], [0], ["2020"])
    queue = Queue(fresh, tmp_path, {("source-only", 0): ["RUNNING"]})
    one = Following(fresh, queue, Profile(), tmp_path)
    one.begin([job], print)
    run = queue.run(job, "1_0")
    run.log({"train/loss/a": 1.0, "target/miou": 0.5}, 2)
    run.flush()
    shares: list[float] = []

    def seen(job: Job, share: float) -> None:
        shares.append(share)
        run.finish()

    one.follow(seen, lambda ended: None)
    assert shares == [2 / 4]
