"""A worker ends what it claims: done, failed, given up, put back, or left to the worker that has it now."""

import contextlib
import json
import math
import sqlite3
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from benchmark.common.errors import Pruned, Stopped, TrackingError
from benchmark.experiments import worker as module
from benchmark.experiments.database import JOBS
from benchmark.experiments.jobs import Bench
from benchmark.experiments.queue import Entry, Queue
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_folder import RunFolder, folder_of, read_run, savepoints_of
from benchmark.experiments.session import Session
from benchmark.experiments.worker import MachinePaths, Worker, entry_of, plan_of
from benchmark.tracking import Client, LiveRun
from benchmark.training import loop as fitting
from benchmark.training import savepoints
from methods.base import Method

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
WEIGHTS = "weights.safetensors"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Progress is told after every step, and nothing waits long."""
    monkeypatch.setattr(fitting, "LOG_EVERY", 1)
    monkeypatch.setattr(module, "LOOK_EVERY", 0.05)


@pytest.fixture
def opened(plan, bench, tmp_path):
    """Opens a session on results of its own, whose leases are short."""

    def opening(name="results", lease=1000.0, bench=bench):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.toml").write_text(f"lease = {lease}")
        return Session(replace(plan, results=tmp_path / name), bench=bench)

    return opening


@pytest.fixture
def session(opened):
    return opened()


def jobs_of(session, *seeds, label="source-only"):
    return session.bench.jobs([label], seeds or [0], ["2020"])


def row_of(session, job):
    (row,) = session.results.queue.rows(session.experiment, [job.identity])
    return row


def in_mlflow(session, experiment=""):
    client = session.results.client
    return client.api.search_runs([client.experiment(experiment or session.experiment)])


def at_step(monkeypatch, step, action):
    """Does something once after a step of a training; returns the steps of all trainings."""
    steps = []

    def after_step(self, progress):
        steps.append(progress.step)
        if progress.step == step and steps.count(step) == 1:
            action()

    monkeypatch.setattr(Method, "after_step", after_step)
    return steps


def taken_over(session, job):
    """Another worker claims the job; returns its claim."""
    queue = Queue(session.results.database, lease=1000.0)
    change = sql.update(JOBS).where(JOBS.c.key == job.identity).values(lease_until=1.0)
    session.results.database.do(lambda connection: connection.execute(change))
    claim = queue.claim("other/0", [job.identity])
    assert claim is not None
    return claim


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def nothing_written(session):
    """Whether no worker has left a folder that it did not end."""
    return not list((session.results.folder / "runs").glob(".*"))


# What a job needs


def test_a_request_says_all_that_a_worker_needs(session, plan, tmp_path, monkeypatch):
    job = jobs_of(session, 3, label="dann")[-1]
    relative = replace(session.bench.plan, data=Path("world"), stores=Path("stores"), save_every=7.0)
    monkeypatch.chdir(tmp_path)
    bench = Bench.__new__(Bench)
    bench.__dict__ |= session.bench.__dict__ | {"plan": relative}
    entry = entry_of(bench, job)
    assert (entry.key, entry.parent, entry.facts["seed"]) == (job.identity, job.parent, "3")
    payload = json.loads(json.dumps(entry.payload))
    assert (payload["label"], payload["fold"], payload["seed"], payload["trial"]) == ("dann", "2020", 3, None)
    again = plan_of(payload["plan"], tmp_path, MachinePaths())
    assert again == replace(relative, data=tmp_path / "world", stores=tmp_path / "stores", results=tmp_path)
    elsewhere = plan_of(payload["plan"], tmp_path, MachinePaths(Path("/data"), Path("/stores"), "cuda"))
    assert elsewhere == replace(again, data=Path("/data"), stores=Path("/stores"), accelerator="cuda")
    assert plan_of(payload["plan"] | {"data": None}, tmp_path, MachinePaths()).data is None


def test_a_worker_opens_what_a_job_was_requested_with(session, plan, monkeypatch):
    jobs = jobs_of(session, 0, 1)
    session.add(jobs, again=True)
    opened = []
    monkeypatch.setattr(module, "Bench", lambda plan: opened.append(plan) or Bench(plan))
    Worker(session.results).run()
    assert opened == [replace(plan, results=session.results.folder)], "once for both"
    assert set(session.results.finished(session.experiment)) == {job.identity for job in jobs}
    assert len(in_mlflow(session)) == 2


@pytest.mark.parametrize("has_bench", [True, False])
def test_what_is_not_what_was_requested_fails(session, has_bench):
    """As where the code of a method has changed meanwhile, of which the key is a digest."""
    (job,) = jobs_of(session)
    entry = entry_of(session.bench, job)
    entries = [
        replace(entry, key="a" * 64),
        replace(entry, key="b" * 64, payload={**entry.payload, "fold": "1999"}),
        replace(entry, key="c" * 64, payload={**entry.payload, "label": "no-such-method"}),
        entry,
    ]
    session.results.queue.add(entries, session.experiment)
    keys = [entry.key for entry in entries]
    Worker(session.results, keys, bench=session.bench if has_bench else None).run()
    rows = {row.key[0]: row for row in session.results.queue.rows() if row.key != job.identity}
    changed = "the data, the protocol, or the code of the method are not those that the job was requested with; run the"
    assert [row.state for row in rows.values()] == ["failed"] * 3
    assert rows["a"].error.startswith(changed) and rows["b"].error.startswith(changed)
    assert "no-such-method" in rows["c"].error
    assert row_of(session, job).state == "done"


def test_what_cannot_be_begun_on_one_machine_is_left_to_others(session, caplog):
    first, second = jobs_of(session, 0, 1)
    session.add([first, second], again=True)
    Worker(session.results, place=MachinePaths(data=Path("/missing"))).run(wait=False)
    assert [row_of(session, job).state for job in (first, second)] == ["queued", "queued"]
    assert row_of(session, first).error.startswith(module.UNABLE) and "/missing" in row_of(session, first).error
    assert caplog.text.count("is left to other workers") == 2
    Worker(session.results).run(wait=False)
    assert [row_of(session, job).state for job in (first, second)] == ["done", "done"]


def test_code_that_changes_after_the_request_is_noticed(session, monkeypatch):
    (job,) = jobs_of(session)
    session.add([job], again=True)
    monkeypatch.setattr("benchmark.experiments.jobs.code_digest", lambda method: "of tomorrow")
    Worker(session.results, [job.identity], bench=session.bench).run()
    row = row_of(session, job)
    assert row.state == "failed" and "the code of the method are not those" in row.error
    assert session.deliver([job]) == "" and row_of(session, job).published


# Ends


def test_mlflow_shows_what_the_table_and_the_folder_hold(session):
    (job,) = jobs_of(session)
    progress = []
    session.run([job], lambda job, share: progress.append(share))
    row, (shown,) = row_of(session, job), in_mlflow(session)
    assert progress == [0.25, 0.5, 0.75, 1.0]
    assert row.state == "done" and row.published and row.run == shown.info.run_id and row.progress == 1.0
    assert (shown.data.params, shown.data.metrics) == (row.facts, row.metrics)
    assert row.tags.items() | row.facts.items() <= shown.data.tags.items()
    assert shown.info.status == "FINISHED" and shown.info.start_time == int(row.started * 1000)
    info, record, curve = read_run(folder_of(session.results.folder, job.identity))
    assert info.facts == row.facts and record["end_tags"] == row.tags
    last = {name: value for _, metrics in curve for name, value in metrics.items()}
    assert last == row.metrics
    assert nothing_written(session) and not savepoints_of(session.results.folder, job.identity).exists()


@pytest.mark.parametrize("when", ["at the beginning", "halfway", "at the end"])
def test_what_mlflow_does_not_get_is_published_later(session, monkeypatch, when):
    (job,) = jobs_of(session)
    away = TrackingError("MLflow is away")
    with monkeypatch.context() as patch:
        if when == "at the beginning":
            patch.setattr(Client, "experiment", raising(away))
        elif when == "halfway":
            api = session.results.client.api
            at_step(patch, 1, lambda: patch.setattr(type(api), "log_batch", raising(OSError("away"))))
        else:
            patch.setattr("benchmark.tracking.publish.store_files", raising(OSError("away")))
        session.run([job])
        row = row_of(session, job)
        assert row.state == "done" and not row.published
        assert session.deliver([job]).startswith("1 runs are not in MLflow yet: ")
    partial = [run.info.run_id for run in in_mlflow(session)]
    assert len(partial) == (when != "at the beginning")
    assert session.deliver([job]) == ""
    (shown,) = in_mlflow(session)
    row = row_of(session, job)
    assert row.published and row.run == shown.info.run_id not in partial
    assert shown.info.status == "FINISHED" and shown.data.metrics == row.metrics and shown.data.params == row.facts
    assert (shown.info.start_time, shown.info.end_time) == (int(row.started * 1000), int(row.ended * 1000))
    assert {"landshift.kind": "cell"}.items() | row.tags.items() <= shown.data.tags.items()
    curve = session.results.client.api.get_metric_history(row.run, "train/loss/segmentation")
    assert [point.step for point in curve] == [0, 1, 2, 3]
    folder = folder_of(session.results.folder, job.identity)
    place = session.results.client.artifact_folder(shown.info.artifact_uri)
    assert (place / WEIGHTS).samefile(folder / WEIGHTS)
    assert {path.name for path in place.iterdir()} == {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("live", [True, False])
def test_a_failed_job_says_why_everywhere_and_the_next_is_trained(session, monkeypatch, live):
    jobs = jobs_of(session, 0, 1)
    at_step(monkeypatch, 2, raising(RuntimeError("no idea\nat all")))
    ended = []
    with monkeypatch.context() as patch:
        if not live:
            patch.setattr(Client, "experiment", raising(TrackingError("away")))
        session.run(jobs, on_end=ended.append)
    assert [bool(end.error) for end in ended] == [True, False]
    assert session.deliver(jobs) == ""
    row = row_of(session, jobs[0])
    assert row.state == "failed" and "RuntimeError: no idea at all" in row.error and row.error == ended[0].error
    (shown,) = [run for run in in_mlflow(session) if run.info.run_id == row.run]
    assert shown.info.status == "FAILED" and shown.data.tags["error"] == row.error and row.published
    folder = folder_of(session.results.folder, jobs[0].identity)
    place = session.results.client.artifact_folder(shown.info.artifact_uri)
    assert "no idea\nat all" in (folder / "traceback.txt").read_text() and (place / "traceback.txt").is_file()
    losses = [metrics["train/loss/segmentation"] for _, metrics in read_run(folder)[2] if len(metrics) == 1]
    assert shown.data.metrics["train/loss/segmentation"] == losses[-1]


def test_a_failed_job_that_is_requested_again_replaces_its_run(session, monkeypatch):
    (job,) = jobs_of(session)
    with monkeypatch.context() as patch:
        at_step(patch, 1, raising(RuntimeError("no idea")))
        session.run([job])
    (failed,) = in_mlflow(session)
    session.run([job])
    (shown,) = in_mlflow(session)
    assert (
        shown.info.status == "FINISHED" and shown.info.run_id != failed.info.run_id and "error" not in shown.data.tags
    )
    row, folder = row_of(session, job), folder_of(session.results.folder, job.identity)
    assert (row.state, row.attempts, row.error) == ("done", 2, "")
    assert not (folder / "traceback.txt").exists() and (folder / WEIGHTS).exists()


def test_a_trial_that_is_given_up_is_no_failure(session, monkeypatch):
    (job,) = jobs_of(session)
    at_step(monkeypatch, 1, raising(Pruned("given up after 2 steps")))
    ended = []
    session.run([job], on_end=ended.append)
    (shown,) = in_mlflow(session)
    assert (ended[0].pruned, ended[0].error) == (True, "given up after 2 steps")
    assert shown.info.status == "KILLED" and row_of(session, job).state == "pruned" and row_of(session, job).published
    assert not savepoints_of(session.results.folder, job.identity).exists()


def test_a_full_disk_fails_the_job_and_not_the_worker(session, monkeypatch, caplog):
    jobs, commit, full = jobs_of(session, 0, 1), RunFolder.commit, [OSError(28, "No space left on device")] * 2

    def commits(self, status):
        if full:
            raise full.pop()
        return commit(self, status)

    monkeypatch.setattr(RunFolder, "commit", commits)
    session.run(jobs)
    first, second = (row_of(session, job) for job in jobs)
    assert first.state == "failed" and "No space left on device" in first.error and second.state == "done"
    assert "cannot be written: [Errno 28] No space left on device" in caplog.text and nothing_written(session)
    assert session.deliver(jobs) == ""
    states = {run.info.run_id: run.info.status for run in in_mlflow(session)}
    assert states == {row_of(session, jobs[0]).run: "FAILED", second.run: "FINISHED"}


def test_a_database_that_does_not_answer_for_a_while_does_not_matter(session, monkeypatch):
    (job,) = jobs_of(session)
    file = session.results.folder / "jobs.db"
    with contextlib.closing(sqlite3.connect(file, check_same_thread=False)) as other:
        timer = threading.Timer(1.0, other.rollback)
        at_step(monkeypatch, 1, lambda: (other.execute("BEGIN EXCLUSIVE"), timer.start()))
        session.run([job])
        timer.join()
    assert row_of(session, job).state == "done" and row_of(session, job).published


def test_a_command_that_sees_the_end_does_not_publish_what_the_worker_publishes(session, monkeypatch):
    (job,) = jobs_of(session)
    finish, delivered, live = LiveRun.finish, [], []
    monkeypatch.setattr("benchmark.experiments.results.LOOK_EVERY", 0.05)

    def slow(self, *given):
        other = ResultsFolder(session.results.folder)
        delivered.append(pool.submit(other.deliver, session.experiment, [job.identity]))
        time.sleep(0.5)
        live.append((self.id, delivered[0].done()))
        return finish(self, *given)

    monkeypatch.setattr(LiveRun, "finish", slow)
    with ThreadPoolExecutor(1) as pool:
        session.run([job])
        assert delivered[0].result(60) == ""
    (shown,) = in_mlflow(session)
    assert live == [(shown.info.run_id, False)], "it waits"
    assert row_of(session, job).run == shown.info.run_id and row_of(session, job).published


def test_the_networks_of_a_run_are_freed_before_the_next_begins(session, monkeypatch):
    networks, alive = [], []
    setup = Method.setup

    def watched(self, *arguments):
        alive.append(sum(network() is not None for network in networks))
        networks.append(weakref.ref(self.network))
        return setup(self, *arguments)

    monkeypatch.setattr(Method, "setup", watched)
    session.run(jobs_of(session, 0, 1, 2))
    assert alive == [0, 0, 0]


@pytest.mark.parametrize("keys", [True, False])
def test_a_worker_of_the_whole_queue_publishes_what_it_trained(session, monkeypatch, keys):
    """No command does, which may be on another machine."""
    jobs, experiment, calls = jobs_of(session, 0, 1), Client.experiment, []

    def away(self, *given):
        calls.append(given)
        if len(calls) <= 2:
            raise TrackingError("away")
        return experiment(self, *given)

    monkeypatch.setattr(Client, "experiment", away)
    session.add(jobs, again=True)
    Worker(session.results, [job.identity for job in jobs] if keys else None, session.bench).run()
    assert [row_of(session, job).published for job in jobs] == [not keys] * 2


# Being stopped


@pytest.mark.parametrize(
    ("interrupt", "why"),
    [
        (KeyboardInterrupt(), "stopped by Ctrl-C"),
        (Stopped("stopped with its command"), "stopped with its command"),
        (SystemExit(143), "stopped by SIGTERM"),
    ],
)
def test_a_worker_that_is_stopped_puts_its_job_back(session, monkeypatch, interrupt, why):
    jobs = jobs_of(session, 0, 1)
    at_step(monkeypatch, 1, raising(interrupt))
    with pytest.raises(type(interrupt)):
        session.run(jobs)
    first, second = (row_of(session, job) for job in jobs)
    assert (first.state, first.error, first.attempts) == ("queued", why, 1) and second.attempts == 0
    (shown,) = in_mlflow(session)
    assert shown.info.status == "KILLED" and shown.data.tags["error"] == why
    assert nothing_written(session) and session.deliver(jobs) == ""


def test_the_next_worker_goes_on_from_the_savepoint_with_the_same_bits(opened, plan, monkeypatch):
    monkeypatch.setattr(savepoints, "SHARE", math.inf)
    bench = Bench(replace(plan, save_every=0.0))
    weights, metrics = [], []
    for name in ("cut", "whole"):
        session = opened(name, bench=bench)
        (job,) = jobs_of(session)
        with monkeypatch.context() as patch:
            if name == "cut":
                at_step(patch, 2, raising(KeyboardInterrupt()))
                with pytest.raises(KeyboardInterrupt):
                    session.run([job])
            seen = []
            patch.setattr(Method, "after_step", lambda self, progress, seen=seen: seen.append(progress.step))
            session.run([job])
        assert seen == ([2, 3] if name == "cut" else [0, 1, 2, 3])
        weights.append((folder_of(session.results.folder, job.identity) / WEIGHTS).read_bytes())
        metrics.append({k: v for k, v in row_of(session, job).metrics.items() if not k.startswith("time/")})
    assert weights[0] == weights[1] and metrics[0] == metrics[1]


def test_a_worker_that_is_stopped_while_it_publishes_has_ended_its_job(session, monkeypatch):
    (job,) = jobs_of(session)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("benchmark.tracking.publish.store_files", raising(Stopped("stopped")))
        session.run([job])
    row = row_of(session, job)
    assert row.state == "done" and not row.published
    assert session.deliver([job]) == ""
    (shown,) = in_mlflow(session)
    assert shown.info.status == "FINISHED" and "error" not in shown.data.tags


def test_a_worker_whose_command_has_ended_stops(session):
    jobs = jobs_of(session)
    session.add(jobs, again=True)
    shares = []
    with pytest.raises(Stopped, match="the command that started this worker has ended"):
        Worker(
            session.results,
            bench=session.bench,
            on_progress=lambda key, share: shares.append(share),
            is_wanted=lambda: not shares,
        ).run()
    assert shares == [0.25] and row_of(session, jobs[0]).state == "queued"
    session.results.queue.claim("other/0")
    with pytest.raises(Stopped):  # also where it only waits
        Worker(session.results, is_wanted=lambda: False).run()


# Losing a job


def test_a_worker_that_lost_its_job_stops_and_writes_nothing(opened, monkeypatch):
    session = opened(lease=0.5)
    jobs, claims = jobs_of(session, 0, 1), []

    def lose():
        claims.append(taken_over(session, jobs[0]))
        Queue(session.results.database, lease=1000.0).renew(claims[0], 0.125)
        time.sleep(0.4)  # for the thread that renews the lease

    steps = at_step(monkeypatch, 1, lose)
    session.add(jobs, again=True)
    Worker(session.results, [job.identity for job in jobs], session.bench).run(wait=False)
    assert steps == [0, 1, 0, 1, 2, 3], "it stopped, and trained the next"
    first, second = (row_of(session, job) for job in jobs)
    assert (first.worker, first.attempts, first.progress) == ("other/0", 2, 0.125) and second.state == "done"
    assert nothing_written(session) and not folder_of(session.results.folder, jobs[0].identity).exists()
    assert [(run.info.status, run.data.tags["seed"]) for run in in_mlflow(session)] == [
        ("FINISHED", "1"),
        ("KILLED", "0"),
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_what_another_worker_has_written_stays(session, monkeypatch, fails):
    """The first notices only at its end, or as it fails, that the second has ended the job meanwhile."""
    (job,) = jobs_of(session)
    folder, saved = (place(session.results.folder, job.identity) for place in (folder_of, savepoints_of))

    def lose():
        claim = taken_over(session, job)
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(b"of the other")
        session.results.queue.finish(claim, claim.facts, {}, {"target/miou": 0.125})
        saved.mkdir(parents=True, exist_ok=True)
        if fails:
            raise RuntimeError("out of memory")

    at_step(monkeypatch, 3, lose)
    session.run([job])
    row = row_of(session, job)
    assert (row.state, row.worker, row.metrics) == ("done", "other/0", {"target/miou": 0.125})
    assert [path.name for path in folder.iterdir()] == [WEIGHTS]
    assert (folder / WEIGHTS).read_bytes() == b"of the other" and saved.exists() and nothing_written(session)


def test_a_job_that_is_removed_while_it_is_trained_leaves_nothing(session, monkeypatch):
    (job,) = jobs_of(session)
    at_step(monkeypatch, 3, lambda: session.results.remove(session.experiment, [job.identity]))
    session.run([job])
    assert session.results.queue.rows() == [] and in_mlflow(session) == []
    assert nothing_written(session) and not folder_of(session.results.folder, job.identity).exists()


# Waiting


def test_a_worker_trains_what_others_leave_behind_if_it_waits(session):
    jobs = jobs_of(session, 0, 1)
    keys = [job.identity for job in jobs]
    session.add(jobs, again=True)
    claim = session.results.queue.claim("other/0", keys[:1])
    Worker(session.results, keys, session.bench).run(wait=False)
    assert [row_of(session, job).state for job in jobs] == ["running", "done"]
    waits = []

    def released():
        waits.append(claim)
        if len(waits) == 2:
            session.results.queue.release(claim, "stopped")

    Worker(session.results, keys, session.bench, on_wait=released).run()
    assert len(waits) == 2 and row_of(session, jobs[0]).state == "done"


def test_a_worker_waits_for_those_of_its_own_command(session):
    jobs = session.bench.jobs(["tent"], [0], ["2020"])
    assert [job.label for job in jobs] == ["source-only", "tent"]
    session.add(jobs, again=True)
    claim = session.results.queue.claim("command/0", [jobs[0].identity])
    waits = []

    def failed():
        waits.append(claim)
        if len(waits) == 2:
            session.results.queue.fail(claim, "no idea")

    Worker(session.results, bench=session.bench, name="another/1").run(wait=False)
    assert row_of(session, jobs[1]).state == "queued"
    Worker(session.results, bench=session.bench, name="command/1", on_wait=failed).run(wait=False)
    row = row_of(session, jobs[1])
    assert len(waits) == 2 and row.state == "failed" and row.error.endswith("failed: no idea")
    ended = []
    session.run(jobs, on_end=ended.append)
    assert [end.error for end in ended] == ["", ""], "a child begins after its parent, with its weights"


def test_a_job_that_is_left_alone_is_not_trained(session):
    """A worker has its keys, and others may have been requested by other commands."""
    mine, other = jobs_of(session, 0, 1)
    session.add([mine, other], again=True)
    Worker(session.results, [mine.identity], session.bench).run()
    assert row_of(session, mine).state == "done" and row_of(session, other).attempts == 0
    assert isinstance(entry_of(session.bench, other), Entry)
