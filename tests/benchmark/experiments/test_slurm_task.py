"""A task on a node, without a cluster: what it leaves in the queue when it ends, is signalled, or begins again."""

import os
import pickle
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark.experiments import slurm_task
from benchmark.experiments.queue import Queue
from benchmark.experiments.session import Session
from benchmark.experiments.slurm_task import SlurmTask
from methods.base import Method

pytest.importorskip("submitit")
pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
NOTICE = signal.SIGUSR2


class Signalled(Method):
    """Is signalled on seeds 1 and 2, and breaks on seed 3."""

    def losses(self, source, target, progress):
        if self.seed == 3:
            raise RuntimeError("no idea")
        if self.seed:
            os.kill(os.getpid(), NOTICE if self.seed == 2 else signal.SIGTERM)
        return {"segmentation": self.segmentation_loss(source)}


@pytest.fixture
def node(plan, bench, tmp_path, monkeypatch) -> Iterator[Session]:
    """The session of a task 17_3, in a process that submitit has prepared."""
    monkeypatch.setitem(sys.modules, "tests_signalled", sys.modules[__name__])
    for name, value in {"ARRAY_JOB_ID": "17", "ARRAY_TASK_ID": "3", "NTASKS": "4"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr(slurm_task, "DECISION", 0)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, NOTICE)}
    yield Session(replace(plan, results=tmp_path / "results"), bench=bench)
    for number, handler in before.items():
        signal.signal(number, handler)


def _task(session: Session, *seeds: int, label: str = "tests_signalled:Signalled", count: int = 1) -> SlurmTask:
    """A task for new jobs, as submitit gives it to the node."""
    jobs = session.bench.jobs([label], seeds, ["2020"])
    session.add(jobs, again=True)
    task = SlurmTask(session.results.folder, [job.identity for job in jobs], count, Path.cwd())
    copy = pickle.loads(pickle.dumps(task))
    assert isinstance(copy, SlurmTask)
    return copy


def _states(session: Session) -> list[tuple[str, str]]:
    return [(row.state, row.error) for row in session.results.queue.rows()]


def test_a_task_trains_one_job_after_another_and_goes_on_after_one_that_fails(node):
    _task(node, 3, 0)()
    (failed, why), done = _states(node)
    assert failed == "failed" and "RuntimeError: no idea" in why and done == ("done", "")
    assert {row.worker for row in node.results.queue.rows()} == {"slurm:17_3/0"}


def test_what_an_earlier_beginning_of_the_task_left_is_put_back_first(node):
    task = _task(node, 0, 4)
    queue = node.results.queue
    for worker in ("slurm:17_3/0", "slurm:17_4/0"):
        assert queue.claim(worker, task.keys)
    released: list[tuple[str, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        release = Queue.release_worker
        patch.setattr(Queue, "release_worker", lambda *these: released.append(these[1:]) or release(*these))
        task()  # it does not wait for the other task either
    assert released == [("slurm:17_3/0", "its Slurm task 17_3 was ended and went back into the queue")]
    assert [state for state, _ in _states(node)] == ["done", "running"]


def test_sigterm_puts_the_job_back_and_leaves_the_rest_to_slurm(node):
    with pytest.raises(SystemExit, match="Slurm did not end it"):
        _task(node, 1)()
    why = "its Slurm task 17_3 was stopped by SIGTERM: preempted, requeued or cancelled"
    assert _states(node) == [("queued", why)]
    (run,) = node.results.runs(node.experiment)
    assert (run.status, run.error) == ("KILLED", why)


def test_a_stopped_task_that_waits_for_its_end_is_requeued_by_the_notice(node, monkeypatch):
    signal.signal(NOTICE, lambda number, frame: sys.exit("requeued"))
    monkeypatch.setattr(slurm_task, "time", SimpleNamespace(sleep=lambda seconds: os.kill(os.getpid(), NOTICE)))
    with pytest.raises(SystemExit, match="requeued"):
        _task(node, 1)()


def test_the_notice_puts_the_job_back_first_and_then_requeues_the_task(node, monkeypatch):
    requeued: list[list[tuple[str, str]]] = []

    def submitits(number, frame):
        requeued.append(_states(node))
        sys.exit(-1)

    release = Queue.release

    def interrupted(queue, claim, error):
        os.kill(os.getpid(), signal.SIGTERM)  # Slurm does not wait until the job is put back
        release(queue, claim, error)

    monkeypatch.setattr(Queue, "release", interrupted)
    signal.signal(NOTICE, submitits)
    with pytest.raises(SystemExit):
        _task(node, 2)()
    why = "its Slurm task 17_3 was stopped by SIGUSR2: its time is nearly over"
    assert requeued == [[("queued", why)]]


def test_a_job_whose_parent_another_task_trains_is_left_to_that(node):
    task = _task(node, 0, label="tent")
    assert node.results.queue.claim("slurm:17_4/0", task.keys)
    task()  # ends
    assert [state for state, _ in _states(node)] == ["running", "queued"]


def test_a_node_that_does_not_see_the_results_says_so(node, tmp_path: Path):
    task = _task(node, 0)
    task.results = tmp_path / "elsewhere"
    with pytest.raises(Exception, match=r"does not see the results folder .*elsewhere; it must be shared"):
        task()
    assert not (tmp_path / "elsewhere").exists()


def test_what_submitit_puts_back_into_the_queue_is_the_same_task(node):
    task = _task(node, 0)
    assert task.checkpoint().function is task


def test_a_task_without_an_array_has_the_id_that_squeue_prints(node, monkeypatch):
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID")
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    _task(node, 3)()
    assert node.results.queue.rows()[0].worker == "slurm:18/0"


class Shared:
    """Worker processes that only note how they are made; the notice comes at the second look."""

    made: list[dict] = []  # noqa: RUF012
    stopped = False

    def __init__(self, folder, keys, count, **options):
        Shared.made.append({"folder": folder, "keys": keys, "count": count, **options})
        self.looks = 0

    def look(self) -> bool:
        self.looks += 1
        if self.looks > 1:
            os.kill(os.getpid(), NOTICE)
        return True

    def stop(self) -> None:
        Shared.stopped = True


def test_several_runs_side_by_side_are_stopped_before_the_task_goes_back(node, monkeypatch):
    blocked = []
    started = lambda: blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))  # noqa: E731
    monkeypatch.setattr(slurm_task, "start_server", started)
    monkeypatch.setattr(slurm_task, "LocalWorkers", Shared)
    signal.signal(NOTICE, lambda number, frame: sys.exit(f"requeued, workers stopped: {Shared.stopped}"))
    task = _task(node, 0, 4, count=2)
    with pytest.raises(SystemExit, match="requeued, workers stopped: True"):
        task()
    made = {"folder": task.results, "keys": task.keys, "count": 2, "wait": False, "family": "slurm:17_3"}
    assert Shared.made == [made]
    assert NOTICE in blocked[0] and NOTICE not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
