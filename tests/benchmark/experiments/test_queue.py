"""Each job is claimed once, begins after its parent, survives its worker's death, and ends once."""

import contextlib
import itertools
import multiprocessing
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql

from benchmark.experiments import database as databases
from benchmark.experiments import queue as module
from benchmark.experiments.database import JOBS, Database
from benchmark.experiments.publications import Publications
from benchmark.experiments.queue import Entry, LeaseLost, Queue

A, B = "experiment a", "experiment b"


@pytest.fixture
def database(url):
    return Database(url)


@pytest.fixture
def queue(database):
    return Queue(database, lease=1000.0)


def entry(key, parent="", payload="first"):
    return Entry(key, parent, {"what": payload}, {"method": key})


def add(queue, *keys, experiment=A, **rest):
    queue.add([entry(key) for key in keys], experiment, **rest)


def row(queue, key, experiment=""):
    (found,) = queue.rows(experiment, [key])
    return found


def expire(database, *keys):
    """The leases of these jobs are over."""
    change = sql.update(JOBS).where(JOBS.c.key.in_(keys)).values(lease_until=1.0)
    database.do(lambda connection: connection.execute(change))


def lost(queue, claim):
    """Whether nothing can be done with a claim."""
    actions = [
        lambda: queue.renew(claim, 0.5),
        lambda: queue.finish(claim, {}, {}, {"target/miou": 0.0}),
        lambda: queue.fail(claim, "late"),
        lambda: queue.release(claim, "late"),
    ]
    for action in actions:
        with pytest.raises(LeaseLost):
            action()
    return True


def test_jobs_are_claimed_in_the_order_they_were_added_or_in_that_asked_for(queue):
    add(queue, "b", "a", "c", "d", "e")
    assert [queue.claim("w", keys).key for keys in (None, ["d", "c"], ["d", "c"], None)] == ["b", "d", "c", "a"]
    assert queue.claim("w", ["a", "b", "unknown"]) is None and queue.claim("w", []) is None
    assert queue.claim("w").key == "e" and queue.claim("w") is None


def test_a_claim_holds_all_that_a_worker_needs(queue, database):
    queue.add([entry("parent"), Entry("k", "parent", {"seed": [1, "é"]}, {"method": "m"})], B)
    Publications(database, 60.0).add(["k"], A)
    queue.finish(queue.claim("w", ["parent"]), {}, {}, {})
    before = database.time()
    claim = queue.claim("host:1/0")
    assert (claim.key, claim.attempt, claim.parent, claim.experiment) == ("k", 1, "parent", A)
    assert claim.payload == {"seed": [1, "é"]} and claim.facts == {"method": "m"}
    found = row(queue, "k")
    assert (found.state, found.worker, found.attempts, found.expired) == ("running", "host:1/0", 1, False)
    assert before <= found.started <= database.time() and found.ended == 0.0


def test_a_job_ends_with_its_results(queue, database):
    add(queue, "done", "failed", "pruned")
    done, failed, pruned = (queue.claim("w") for _ in range(3))
    queue.renew(done, 0.25)
    assert queue.states() == {"done": ("running", 0.25), "failed": ("running", 0.0), "pruned": ("running", 0.0)}
    queue.finish(done, {"method": "m"}, {"device": "cpu"}, {"target/miou": 0.5})
    queue.fail(failed, "no idea", tags={"device": "gpu"})
    queue.fail(pruned, "given up", "pruned")
    rows = {found.key: found for found in queue.rows()}
    assert (rows["done"].state, rows["done"].progress, rows["done"].error) == ("done", 1.0, "")
    assert rows["done"].facts == {"method": "m"} and rows["done"].tags == {"device": "cpu"}
    assert rows["done"].metrics == {"target/miou": 0.5}
    assert (rows["failed"].state, rows["failed"].error, rows["failed"].tags) == ("failed", "no idea", {"device": "gpu"})
    assert (rows["pruned"].state, rows["pruned"].error) == ("pruned", "given up")
    assert all(found.started <= found.ended <= database.time() for found in rows.values())
    assert all(lost(queue, claim) for claim in (done, failed, pruned))
    assert queue.claim("w") is None


def _claim_all(url, barrier, out):
    queue = Queue(Database(url), lease=1000.0)
    barrier.wait()
    name = multiprocessing.current_process().name
    while (claim := queue.claim(name)) is not None:
        out.put((name, claim.key, claim.attempt))
        time.sleep(0.002)  # SQLite's lock is not fair
    out.put(None)


def test_eight_processes_claim_each_job_once(queue, url):
    keys = [f"{number:02}" for number in range(32)]
    add(queue, *keys)
    context = multiprocessing.get_context("fork")
    barrier, out = context.Barrier(8), context.SimpleQueue()
    processes = [context.Process(target=_claim_all, args=(url, barrier, out)) for _ in range(8)]
    for process in processes:
        process.start()
    claims, ended = [], 0
    while ended < 8:
        found = out.get()
        ended += found is None
        claims += [found] if found else []
    for process in processes:
        process.join()
    assert sorted(key for _, key, _ in claims) == keys and {attempt for *_, attempt in claims} == {1}
    assert {found.key: found.worker for found in queue.rows()} == {key: name for name, key, _ in claims}


def test_eight_threads_want_one_job_and_one_gets_it(database, queue):
    """Also where its lease was over, which all of them see."""
    add(queue, "k")
    barrier = threading.Barrier(8)

    def want(number):
        barrier.wait()
        return queue.claim(f"w{number}")

    with ThreadPoolExecutor(8) as pool:
        for attempt in (1, 2, 3):
            (claim,) = [claim for claim in pool.map(want, range(8)) if claim]
            assert claim.attempt == row(queue, "k").attempts == attempt
            expire(database, "k")


def test_a_child_begins_after_its_parent(queue):
    queue.add([entry("child", "parent"), entry("parent")], A)
    parent = queue.claim("w")
    assert parent.key == "parent" and queue.claim("w") is None and queue.claim("w", ["child"]) is None
    queue.release(parent, "stopped")
    assert queue.claim("w", ["child"]) is None
    queue.finish(queue.claim("w"), {}, {}, {})
    assert queue.claim("w").key == "child"


@pytest.mark.parametrize("state", ["failed", "pruned"])
def test_a_child_fails_with_its_parent_and_says_why(queue, database, state):
    queue.add([entry("parent"), entry("child", "parent"), entry("grandchild", "child"), entry("other")], A)
    queue.fail(queue.claim("w"), "the loss is not finite", state)
    assert queue.claim("w").key == "other"
    assert queue.claim("w") is None
    child, grandchild = row(queue, "child"), row(queue, "grandchild")
    assert child.state == grandchild.state == "failed"
    assert child.error.endswith("from which it starts, failed: the loss is not finite")
    assert grandchild.error.endswith(f"failed: {child.error}")
    assert 0 <= child.ended - child.started < 60 and abs(child.ended - database.time()) < 60
    queue.add([entry("parent"), entry("child", "parent")], A)
    assert queue.claim("w").key == "parent" and queue.claim("w") is None


def test_a_child_of_a_parent_that_was_removed_fails(queue):
    queue.add([entry("child", "parent")], A)
    assert queue.claim("w") is None
    assert row(queue, "child").error.endswith("was removed; run the command again")


def test_what_was_lost_is_claimed_by_the_next_worker_and_the_first_can_do_nothing(queue, database):
    add(queue, "k")
    first = queue.claim("first")
    assert queue.claim("second") is None
    queue.renew(first, 0.5)
    expire(database, "k")
    assert row(queue, "k").expired and queue.states() == {"k": ("expired", 0.5)}
    second = queue.claim("second")
    assert (second.key, second.attempt) == ("k", 2)
    found = row(queue, "k")
    assert (found.worker, found.progress, found.expired) == ("second", 0.0, False)
    assert lost(queue, first) and row(queue, "k") == found
    queue.finish(second, {}, {}, {"target/miou": 0.5})
    assert lost(queue, first) and row(queue, "k").metrics == {"target/miou": 0.5}


def test_a_late_worker_goes_on_where_no_other_has_claimed_its_job(queue, database):
    add(queue, "k")
    claim = queue.claim("w")
    expire(database, "k")
    queue.renew(claim, 0.5)
    assert not row(queue, "k").expired and queue.claim("other") is None
    expire(database, "k")
    queue.finish(claim, {}, {}, {})
    assert row(queue, "k").state == "done"


def test_a_lease_is_measured_by_the_database_s_clock(database, monkeypatch):
    queue = Queue(database, lease=1.0)
    add(queue, "k")
    claim = queue.claim("w")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert queue.claim("other") is None
    time.sleep(0.6)
    queue.renew(claim, 0.1)
    time.sleep(0.6)
    assert queue.claim("other") is None, "the renewal counts"
    time.sleep(0.6)
    assert queue.claim("other").attempt == 2


def test_a_job_that_kills_its_workers_fails(database):
    queue = Queue(database, lease=1000.0, kills=3)
    add(queue, "k")
    for attempt in (1, 2, 3):
        assert queue.claim("w").attempt == attempt
        assert row(queue, "k").state == "running"
        expire(database, "k")
    assert queue.claim("w") is None
    found = row(queue, "k")
    assert found.state == "failed" and found.error.startswith("its worker stopped renewing its lease")
    assert found.error.endswith("3 times")
    add(queue, "k")
    assert queue.claim("w").attempt == 4, "a new request tries again as often"
    expire(database, "k")
    assert queue.claim("w").attempt == 5


@pytest.mark.parametrize("how", ["requeue_expired", "release_worker", "all"])
def test_every_way_to_notice_a_death_counts(database, how):
    queue = Queue(database, lease=1000.0, kills=3)
    add(queue, "k")
    for attempt in (1, 2, 3):
        assert queue.claim("w").attempt == attempt
        if how == "release_worker" or (how, attempt) == ("all", 2):
            assert queue.release_worker("w", "its worker was killed") == ["k"]
        else:
            expire(database, "k")
            if how == "requeue_expired" or attempt == 3:
                assert queue.requeue_expired() == ["k"]
    found = row(queue, "k")
    assert found.state == "failed" and found.error.endswith(", 3 times") and queue.claim("w") is None


def test_a_worker_that_is_told_to_stop_kills_no_job(queue):
    add(queue, "k")
    for attempt in range(1, module.KILLS + 2):
        claim = queue.claim("w")
        assert claim.attempt == attempt
        queue.release(claim, "stopped by Ctrl-C")
        found = row(queue, "k")
        assert (found.state, found.error, found.expired) == ("queued", "stopped by Ctrl-C", False)
        assert found.ended >= found.started
        assert lost(queue, claim)


def test_the_jobs_of_a_dead_worker_are_put_back_at_once(queue):
    add(queue, "a", "b", "c", "d")
    ended, first, other, second = (queue.claim(worker) for worker in ("w/1", "w/1", "w/11", "w/1"))
    queue.finish(ended, {}, {}, {})
    assert sorted(queue.release_worker("w/1", "its worker was killed by SIGKILL")) == ["b", "d"]
    states = {key: state for key, (state, _) in queue.states().items()}
    assert states == {"a": "done", "b": "queued", "c": "running", "d": "queued"}
    assert row(queue, "b").error == "its worker was killed by SIGKILL"
    assert lost(queue, first) and lost(queue, second)
    queue.renew(other, 0.1)
    assert queue.release_worker("w/1", "again") == [] and queue.release_worker("unknown", "") == []
    assert queue.claim("w/2").attempt == 2


def test_expired_jobs_are_put_back(queue, database):
    add(queue, "a", "b", "c")
    claims = [queue.claim("w") for _ in range(3)]
    queue.finish(claims[2], {}, {}, {})
    assert queue.requeue_expired() == []
    expire(database, "a", "c")
    assert queue.requeue_expired() == ["a"] and queue.requeue_expired() == []
    found = row(queue, "a")
    assert (found.state, found.error, found.worker) == ("queued", module.EXPIRED, "w")
    assert lost(queue, claims[0]) and row(queue, "b").state == "running" and row(queue, "c").state == "done"


def _add_all(url, barrier, number):
    queue = Queue(Database(url))
    keys = [f"{key:02}" for key in range(40)]
    random.Random(number).shuffle(keys)
    barrier.wait()
    for _ in range(2):
        queue.add([entry(key, payload=str(number)) for key in keys], f"experiment {number}")


def test_several_processes_add_the_same_jobs_once(queue, url):
    add(queue, "00", "01", "02")
    queue.finish(queue.claim("w", ["00"]), {"method": "kept"}, {}, {"target/miou": 0.5})
    queue.claim("other", ["01"])
    queue.fail(queue.claim("w", ["02"]), "no idea")
    before = {key: row(queue, key) for key in ("00", "01")}
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    processes = [context.Process(target=_add_all, args=(url, barrier, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    rows = queue.rows()
    assert sorted(found.key for found in rows) == [f"{key:02}" for key in range(40)]
    assert {key: row(queue, key) for key in before} == before
    assert {found.state for found in rows if found.key not in before} == {"queued"}
    for number in range(4):
        assert len(queue.rows(f"experiment {number}")) == 40


def test_what_failed_is_queued_again_with_what_the_newest_request_says(queue):
    add(queue, "done", "failed", "pruned", "queued", "running")
    queue.finish(queue.claim("w"), {}, {}, {"target/miou": 0.5})
    queue.fail(queue.claim("w"), "no idea", tags={"device": "cpu"})
    queue.fail(queue.claim("w"), "given up", "pruned")
    running = queue.claim("w", ["running"])
    queue.add([entry(key, payload="second") for key in ("queued", "running", "done", "failed", "pruned", "new")], B)
    states = {key: state for key, (state, _) in queue.states().items()}
    assert states == dict.fromkeys(("failed", "pruned", "queued", "new"), "queued") | {
        "done": "done",
        "running": "running",
    }
    assert {found.error for found in queue.rows()} == {""} and row(queue, "failed").progress == 0.0
    assert [found.key for found in queue.rows()] == ["done", "failed", "pruned", "queued", "running", "new"]
    claims = {}
    while claim := queue.claim("w"):
        claims[claim.key] = claim
    assert {key: claim.payload["what"] for key, claim in claims.items()} == dict.fromkeys(
        ("failed", "pruned", "queued", "new"), "second"
    )
    assert claims["failed"].attempt == 2 and claims["queued"].attempt == 1
    queue.finish(running, {}, {}, {})


def test_nothing_is_added_where_there_is_nothing(queue):
    queue.add([], A)
    assert queue.rows() == [] and queue.states() == {}


def test_rows_are_of_an_experiment_and_of_keys(queue, database, monkeypatch):
    add(queue, "c", "a", "b", tags={"a": {"trial": "3"}})
    add(queue, "b", "d", experiment=B, tags={"b": {"trial": "4"}})
    publications = Publications(database, 60.0)
    claim = queue.claim("w", ["b"])
    publications.note("b", B, "run of b", claim.attempt)
    for block in (500, 1):  # keys of one statement
        monkeypatch.setattr(module, "BLOCK", block)
        assert [found.key for found in queue.rows()] == ["c", "a", "b", "d"]
        assert [found.key for found in queue.rows(keys=["d", "unknown", "a", "b", "a"])] == ["a", "b", "d"]
        assert [found.key for found in queue.rows(A)] == ["c", "a", "b"]
        assert [found.key for found in queue.rows(B, keys=("d", "a"))] == ["d"]
        assert queue.rows(keys=[]) == [] and queue.rows("unknown") == []
    assert row(queue, "a", A).shown == {"trial": "3"}
    in_a, in_b = row(queue, "b", A), row(queue, "b", B)
    assert (in_a.run, in_a.published, in_a.shown) == ("", False, {})
    assert (in_b.run, in_b.published, in_b.shown) == ("run of b", True, {"trial": "4"})
    queue.release(claim, "stopped")
    queue.claim("w", ["b"])
    assert not row(queue, "b", B).published, "a new attempt is another run"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_rows_are_complete_also_where_the_database_did_not_answer_at_first(queue, monkeypatch):
    add(queue, "a", "b", "c")
    monkeypatch.setattr(module, "BLOCK", 1)
    monkeypatch.setattr(databases, "PAUSE", 0.0)
    statements = []

    def fails_once(connection, cursor, statement, *rest):
        statements.append(statement)
        if len(statements) == 2:
            raise sql.exc.OperationalError(statement, None, Exception("away"))

    sql.event.listen(queue._database._engine, "before_cursor_execute", fails_once)
    assert [found.key for found in queue.rows(keys=iter(["a", "b", "c"]))] == ["a", "b", "c"]
    statements.clear()
    assert sorted(queue.remove_unpublished(iter(["a", "b"]))) == []
    assert len(statements) > 2


def test_jobs_that_no_experiment_shows_are_removed(queue, database):
    add(queue, "a", "b", "c")
    add(queue, "b", experiment=B)
    claims = [queue.claim("w", [key]) for key in ("a", "b", "c")]
    publications = Publications(database, 60.0)
    assert queue.remove_unpublished(["a", "b", "c"]) == []
    publications.remove(["a", "b"], A)
    assert queue.remove_unpublished(["a", "b", "c", "unknown"]) == ["a"]
    assert [found.key for found in queue.rows()] == ["b", "c"]
    assert lost(queue, claims[0]), "its worker stops"


def test_a_job_that_is_done_elsewhere_is_added_as_done(queue):
    add(queue, "k")
    queue.finish(queue.claim("w"), {"method": "m"}, {"device": "cpu"}, {"target/miou": 0.5})
    source = row(queue, "k", A)
    other = Entry("other", "", {}, source.facts)
    for _ in range(2):
        queue.add_done(other, source, B)
    found = row(queue, "other", B)
    assert (found.state, found.metrics, found.tags, found.ended) == ("done", source.metrics, source.tags, source.ended)
    assert found.attempts == 1 and queue.claim("w") is None


def _train_all(url, log, name):
    queue = Queue(Database(url), lease=1.5, kills=1000)
    while any(state in ("queued", "running", "expired") for state, _ in queue.states().values()):
        claim = queue.claim(name)
        if claim is None:
            time.sleep(0.05)
            continue
        _tell(log, f"begin {claim.key}")
        time.sleep(random.random() * 0.1)
        with contextlib.suppress(LeaseLost):
            queue.renew(claim, 0.5)
            queue.finish(claim, {}, {}, {"attempt": claim.attempt})
            _tell(log, f"end {claim.key} {claim.attempt}")


def _tell(log, line):
    with log.open("a") as file:
        file.write(f"{line}\n")


@pytest.mark.slow
def test_workers_that_are_killed_at_random_leave_every_job_done_once(queue, url, tmp_path):
    keys = [f"{number:02}" for number in range(60)]
    queue.add([entry(key, keys[int(key) // 2] if int(key) % 3 == 2 else "") for key in keys], A)
    context, numbers, log = multiprocessing.get_context("fork"), itertools.count(), tmp_path / "log"

    def started():
        process = context.Process(target=_train_all, args=(url, log, f"w/{next(numbers)}"))
        process.start()
        return process

    processes = [started() for _ in range(6)]
    for _ in range(25):
        time.sleep(0.1)
        victim = random.randrange(6)
        processes[victim].kill()
        processes[victim].join()
        processes[victim] = started()
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} == {0}
    lines = [line.split() for line in log.read_text().splitlines()]
    ends = {words[1]: int(words[2]) for words in lines if words[0] == "end"}
    rows = {found.key: found for found in queue.rows()}
    assert {found.state for found in rows.values()} == {"done"} and sorted(rows) == keys
    assert all(rows[key].metrics == {"attempt": attempt} for key, attempt in ends.items())
    assert sum(words[0] == "end" for words in lines) == len(ends), "none ended twice"
    for key, found in rows.items():
        if found.parent:
            assert found.started >= rows[found.parent].ended, f"{key} began before its parent had ended"
