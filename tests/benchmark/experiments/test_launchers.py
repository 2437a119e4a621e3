"""Worker processes: those that die are replaced, those that are told to stop put their jobs back, and none is left."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmark.common.errors import TrainingError
from benchmark.experiments import launchers
from benchmark.experiments.jobs import Bench
from benchmark.experiments.launchers import LocalWorkers, follow
from benchmark.experiments.queue import Entry
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_folder import folder_of
from benchmark.experiments.session import Session

A = "tiny v1"


def until(condition, seconds=120.0):
    """Waits for something that other processes do."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return found


# Processes that train nothing


@pytest.fixture
def forked(monkeypatch):
    """Sets what the worker processes do; they are forked from this one, which takes no time."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(launchers, "multiprocessing", SimpleNamespace(get_context=lambda kind: context))
    monkeypatch.setattr(launchers, "start_server", lambda: None)

    def work_with(work):
        monkeypatch.setattr(launchers, "_work", lambda name, gpu, folder, *rest: work(ResultsFolder(folder), name, gpu))

    return work_with


@pytest.fixture
def started():
    """Starts workers, and ends them after the test."""
    every = []

    def start(*arguments, **options):
        every.append(LocalWorkers(*arguments, **options))
        return every[-1]

    yield start
    for workers in every:
        for process, _ in workers._processes.values():
            if process.is_alive():
                process.kill()
                process.join()


def add(results, *keys):
    results.queue.add([Entry(key, "", {}, {}) for key in keys], A)


def row_of(results, key):
    (row,) = results.queue.rows(keys=[key])
    return row


def stuck(results, forked, started):
    """A worker that never ends the first attempt of the job "k", which it has begun."""

    def work(results, name, gpu):
        while claim := results.queue.claim(name):
            if claim.attempt == 1:
                time.sleep(600)
            results.queue.finish(claim, {}, {}, {})

    forked(work)
    add(results, "k")
    workers = started(results.folder, None, 1)
    until(lambda: row_of(results, "k").state == "running")
    return workers


def test_a_worker_that_is_killed_is_replaced_and_its_job_put_back_at_once(results, forked, started):
    workers = stuck(results, forked, started)
    (process, _), first = next(iter(workers._processes.values())), row_of(results, "k").worker
    assert workers.look() and row_of(results, "k").worker == first
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    replaced = workers.look()
    assert replaced
    until(lambda: not workers.look(), 30)
    row = row_of(results, "k")
    assert (row.state, row.attempts) == ("done", 2)
    assert row.worker != first and row.worker.rpartition("/")[0] == workers.family


def test_a_worker_that_outlives_its_fork_server_is_killed_before_its_job_is_put_back(results, forked, started):
    workers = stuck(results, forked, started)
    ((name, (process, _)),) = workers._processes.items()
    seen = SimpleNamespace(is_alive=lambda: False, join=lambda: None, exitcode=launchers.LOST, pid=process.pid)
    workers._processes[name] = seen, ""
    assert workers.look()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
    until(lambda: not workers.look(), 30)
    assert (row_of(results, "k").state, row_of(results, "k").attempts) == ("done", 2)


def test_idle_workers_that_are_killed_are_replaced_however_many(results, forked, started):
    def work(results, name, gpu):
        if claim := results.queue.claim(name):
            results.queue.finish(claim, {}, {}, {})
            os.kill(os.getpid(), signal.SIGKILL)

    forked(work)
    add(results, *"abcdefgh")
    workers = started(results.folder, None, 1)
    until(lambda: not workers.look(), 60)
    assert {row.state for row in results.queue.rows()} == {"done"}


def test_a_job_that_kills_every_worker_fails_and_the_next_is_trained(results, forked, started):
    def work(results, name, gpu):
        while claim := results.queue.claim(name):
            if claim.key == "deadly":
                os.kill(os.getpid(), signal.SIGKILL)
            results.queue.finish(claim, {}, {}, {})

    forked(work)
    add(results, "deadly", "k")
    workers = started(results.folder, None, 1)
    until(lambda: not workers.look(), 60)
    assert row_of(results, "deadly").error == "its worker was killed by SIGKILL, 5 times"
    assert row_of(results, "deadly").state == "failed" and row_of(results, "k").state == "done"


@pytest.mark.parametrize(
    ("how", "words"),
    [(lambda: os._exit(3), "exited with status 3"), (lambda: os.kill(os.getpid(), signal.SIGKILL), "by SIGKILL")],
)
def test_workers_that_die_before_they_begin_a_job_are_an_error(results, forked, started, how, words):
    forked(lambda results, name, gpu: how())
    add(results, "k")
    workers = started(results.folder, None, 2)
    with pytest.raises(TrainingError, match=f"end before they begin a job: the last .*{words}"):
        until(lambda: not workers.look(), 60)
    assert 2 < workers._started <= 2 + launchers.EARLY_DEATHS
    assert row_of(results, "k").attempts == 0


def test_a_worker_that_is_stopped_alone_is_started_again(results, forked, started):
    def work(results, name, gpu):
        if not name.endswith("/5"):
            sys.exit(launchers.STOPPED)

    forked(work)
    workers = started(results.folder, None, 1)
    until(lambda: not workers.look(), 60)
    assert workers._started == 6


def test_workers_are_spread_over_the_gpus_also_those_that_are_replaced(results, forked, started):
    def work(results, name, gpu):
        add(results, f"{gpu} {name.rpartition('/')[2]}")
        if name.endswith("/1"):
            os._exit(1)

    forked(work)
    workers = started(results.folder, ["k"], 3, ["g0", "g1"], family="slurm:7_1")
    until(lambda: not workers.look(), 60)
    assert sorted(row.key for row in results.queue.rows()) == ["g0 0", "g0 2", "g1 1", "g1 3"]
    assert workers.family == "slurm:7_1"


def test_a_worker_that_cannot_stop_is_killed_and_its_job_put_back(results, forked, started, monkeypatch):
    monkeypatch.setattr(launchers, "STOP_SECONDS", 0.3)

    def work(results, name, gpu):
        signal.signal(signal.SIGTERM, signal.SIG_IGN if name.endswith("/0") else launchers._stop)
        claim = results.queue.claim(name)
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            if name.endswith("/1"):
                results.queue.release(claim, "stopped")
                sys.exit(launchers.STOPPED)
            os._exit(1)  # what it could not put back

    forked(work)
    add(results, "a", "b", "c")
    workers = started(results.folder, None, 3)
    until(lambda: all(row.state == "running" for row in results.queue.rows()))
    workers.stop()
    assert [row.state for row in results.queue.rows()] == ["queued"] * 3
    errors = {row.worker.rpartition("/")[2]: row.error for row in results.queue.rows()}
    assert errors == {
        "0": "its worker was killed by SIGKILL",
        "1": "stopped",
        "2": "its worker exited with status 1",
    }


def test_a_command_sees_how_its_jobs_end(results):
    jobs = [SimpleNamespace(identity=key) for key in ("done", "failed", "removed", "left")]
    add(results, *(job.identity for job in jobs))
    claims = {key: results.queue.claim(f"{family}/0", [key]) for key, family in (("done", "mine"), ("failed", "other"))}
    looks, told = [], []

    def look():
        looks.append(len(looks))
        if len(looks) == 1:
            results.queue.renew(claims["done"], 0.5)
        if len(looks) == 2:
            results.queue.finish(claims["done"], {}, {}, {"target/miou": 0.25})
            results.queue.fail(claims["failed"], "no idea")
            results.remove(A, ["removed"])
        return len(looks) < 4

    follow(
        results,
        jobs,
        SimpleNamespace(look=look),
        lambda job, share: told.append((job.identity, share)),
        lambda ended: told.append((ended.job.identity, ended.error or ended.miou, ended.elsewhere)),
        family="mine",
        every=0.0,
    )
    assert told == [("done", 0.5), ("failed", 0.0), ("done", 0.25, False), ("failed", "no idea", True)]
    assert len(looks) == 4, "no worker is left that would train the last"


# Real trainings

METHOD = '''
import os
import time
from pathlib import Path

from methods.base import Method

FOLDER = Path({folder!r})


class Slow(Method):
    """Tells its steps, and waits after the third of seed 0 until it may go on."""

    def losses(self, source, target, progress):
        return {{"segmentation": self.segmentation_loss(source)}}

    def after_step(self, progress):
        with (FOLDER / f"steps-{{self.seed}}").open("a") as file:
            file.write(f"{{progress.step}} ")
        if {all_wait} or progress.step == 2 and self.seed == 0:
            (FOLDER / f"pid-{{os.getpid()}}").touch()
            while not (FOLDER / "go").exists():
                time.sleep(0.05)
                if {all_wait}:
                    break
'''


@pytest.fixture
def slow(plan, tmp_path, monkeypatch, request):
    """Opens a session whose jobs are of a method that waits; name of the module in the working folder."""

    def opening(name, folder="results", all_wait=False, **changes):
        file = tmp_path / f"{name}.py"
        file.write_text(METHOD.format(folder=str(tmp_path), all_wait=all_wait))
        monkeypatch.syspath_prepend(tmp_path)
        bench = Bench(replace(plan, results=tmp_path / folder, save_every=0.0, **changes))
        session = Session(bench.plan, bench=bench)
        return session, bench.jobs([f"{name}:Slow"], [0, 1], ["2020"])

    return opening


def pids(folder):
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


def is_alive(pid):
    try:
        status = open(f"/proc/{pid}/stat").read()  # noqa: PTH123, SIM115
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def results_of(session, jobs):
    """The weights and the numbers of all jobs."""
    runs = session.results.finished(session.experiment)
    weights = [(folder_of(session.results.folder, job.identity) / "weights.safetensors").read_bytes() for job in jobs]
    numbers = [
        {name: value for name, value in runs[job.identity].metrics.items() if not name.startswith("time/")}
        for job in jobs
    ]
    return weights, numbers


@pytest.mark.slow
@pytest.mark.usefixtures("stores_copied")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_s_job_goes_on_elsewhere_with_the_same_results(slow, tmp_path, started, number):
    session, jobs = slow(f"slow_{number.name.lower()}")
    session.add(jobs, again=True)
    workers = started(session.results.folder, [job.identity for job in jobs], 2)
    (pid,) = until(lambda: pids(tmp_path))
    before = row_of(session.results, jobs[0].identity)
    assert before.state == "running" and before.worker.startswith(workers.family)
    os.kill(pid, number)
    until(lambda: not is_alive(pid))
    (tmp_path / "go").touch()
    told, ended = [], []
    follow(session.results, jobs, workers, lambda job, share: told.append(job), ended.append, workers.family)
    workers.wait()
    assert sorted(one.error for one in ended) == ["", ""] and not any(one.elsewhere for one in ended)
    row = row_of(session.results, jobs[0].identity)
    assert row.attempts == 2 and row.worker != before.worker
    steps = (tmp_path / "steps-0").read_text().split()
    assert steps[:3] == ["0", "1", "2"] and steps[-1] == "3" and 4 < len(steps) < 7, "it went on from a savepoint"
    assert session.deliver(jobs) == ""
    session.results.close_expired()
    api = session.results.client.api
    shown = api.search_runs([session.results.client.experiment(session.experiment)])
    assert [run.info.status for run in shown] == ["FINISHED"] * 2
    assert sorted(path.name for path in (session.results.folder / "runs").iterdir()) == sorted(
        job.identity for job in jobs
    )
    whole, _ = slow(f"slow_{number.name.lower()}", "whole")
    whole.run(jobs)
    assert results_of(session, jobs) == results_of(whole, jobs)


COMMAND = """
import pickle, sys
sys.path.insert(0, sys.argv[2])
from benchmark.experiments.jobs import Bench
from benchmark.experiments.launchers import LocalWorkers, follow
from benchmark.experiments.session import Session

if __name__ == "__main__":
    plan, label = pickle.load(open(sys.argv[1], "rb"))
    session = Session(plan)
    jobs = session.bench.jobs([label], [0, 1], ["2020"])
    session.add(jobs, again=True)
    workers = LocalWorkers(plan.results, [job.identity for job in jobs], 3)
    print(*(process.pid for process, _ in workers._processes.values()), flush=True)
    follow(session.results, jobs, workers, lambda job, share: None, lambda ended: None)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("stores_copied")
def test_workers_end_when_their_command_is_killed(slow, tmp_path, recipe):
    """Two of them train, the third waits for a job."""
    session, _ = slow("slow_command", all_wait=True, recipe=replace(recipe, steps=2000))
    (tmp_path / "command.py").write_text(COMMAND)
    (tmp_path / "plan").write_bytes(pickle.dumps((session.plan, "slow_command:Slow")))
    command = subprocess.Popen(
        [sys.executable, "command.py", "plan", str(tmp_path)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    workers = [int(pid) for pid in command.stdout.readline().split()]
    assert len(workers) == 3
    try:
        until(lambda: len(pids(tmp_path)) == 2)
        assert set(pids(tmp_path)) < set(workers) and all(is_alive(pid) for pid in workers)
        command.kill()
        command.wait()
        until(lambda: not any(is_alive(pid) for pid in workers), 30)
    finally:
        command.kill()
        command.stdout.close()
        for pid in workers:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
    rows = session.results.queue.rows()
    assert [(row.state, row.error) for row in rows] == [
        ("queued", "the command that started this worker has ended")
    ] * 2
