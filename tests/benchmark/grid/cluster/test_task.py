"""A task on a node, without a cluster: what it leaves in the store when it ends, is told to stop, or begins again."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.grid.cluster import task as tasks
from benchmark.grid.cluster.task import Task
from benchmark.grid.session import Session
from benchmark.tracking import Run
from methods.base import Method

pytest.importorskip("submitit")
pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
NOTICE = signal.SIGUSR2


class Signalled(Method):
    """Is told to stop on seeds 1 and 2, and breaks on seed 3."""

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
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setattr(tasks, "DECISION", 0)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, NOTICE)}
    yield Session(replace(plan, results=tmp_path), bench=bench)
    for number, handler in before.items():
        signal.signal(number, handler)


def _task(session: Session, seed: int, label: str = "tests_signalled:Signalled") -> Task:
    jobs = session.bench.jobs([label], [seed], ["2020"])
    return Task(session.plan, session.experiment, jobs[-1:], session.plan.results / "slurm")


def _told(session: Session) -> list[tuple[str, str | None]]:
    return [(record.status, record.error) for record in session.tracker.cells(session.experiment)]


def test_a_job_ends_and_what_an_earlier_beginning_left_open_is_closed(node):
    task = _task(node, 0)
    node.tracker.start(node.experiment, "n", node.bench.facts(task.jobs[0]), task.jobs[0].identity)
    task()
    again = "its Slurm task 17_3 was ended and went back into the queue"
    assert _told(node) == [("KILLED", again), ("FINISHED", None)]
    task()
    assert len(_told(node)) == 2  # what has ended is not run again


def test_a_job_that_fails_names_the_log(node):
    _task(node, 3)()
    ((status, error),) = _told(node)
    assert status == "FAILED" and "RuntimeError: no idea" in error
    assert error.endswith(f"(log: {node.plan.results / 'slurm' / '17_3_0_log.out'})")
    _task(node, 3)()  # the task was requeued after the job had failed
    assert len(_told(node)) == 1


def test_sigterm_closes_the_run_and_leaves_the_rest_to_slurm(node):
    with pytest.raises(SystemExit, match="Slurm did not end it"):
        _task(node, 1)()
    ((status, error),) = _told(node)
    assert status == "KILLED"
    assert error == "its Slurm task 17_3 was told to stop by SIGTERM: preempted, requeued or cancelled"


def test_the_notice_closes_the_run_first_and_then_requeues(node, monkeypatch):
    requeued: list[list[tuple[str, str | None]]] = []

    def submitits(number, frame):
        requeued.append(_told(node))
        sys.exit(-1)

    fail = Run._fail

    def interrupted(run, error):
        os.kill(os.getpid(), signal.SIGTERM)  # Slurm does not wait until the run is closed
        fail(run, error)

    monkeypatch.setattr(Run, "_fail", interrupted)
    signal.signal(NOTICE, submitits)
    with pytest.raises(SystemExit):
        _task(node, 2)()
    told = "its Slurm task 17_3 was told to stop by SIGUSR2: its time is nearly over"
    assert requeued == [[("KILLED", told)]]


def test_a_node_that_does_not_see_the_results_says_so(node, tmp_path: Path):
    task = _task(node, 0)
    task.plan = replace(task.plan, results=tmp_path / "elsewhere")
    with pytest.raises(Exception, match=r"does not see the results folder .*elsewhere; it must be shared"):
        task()
    assert not (tmp_path / "elsewhere").exists()


def test_a_job_that_fails_before_its_run_has_one_that_says_why(node, monkeypatch):
    def broken(self, name):
        raise OSError("no such tile")

    monkeypatch.setattr("benchmark.grid.jobs.Bench.fold_data", broken)
    _task(node, 0, "source-only")()
    ((status, error),) = _told(node)
    assert status == "FAILED" and "no such tile" in error and "17_3_0_log.out" in error


def test_what_misses_its_source_run_writes_nothing(node):
    _task(node, 0, "tent")()
    assert _told(node) == []
