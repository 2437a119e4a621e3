"""An experiment shows a job once, and one process publishes it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmark.experiments.database import Database
from benchmark.experiments.publications import Publications
from benchmark.experiments.queue import Entry, Queue

A, B = "experiment a", "experiment b"


@pytest.fixture
def database(url):
    return Database(url)


@pytest.fixture
def publications(database):
    return Publications(database, lease=1000.0)


def add(database, *keys, experiment=A):
    Queue(database).add([Entry(key, "", {}, {}) for key in keys], experiment)


def shown(database, experiment):
    return {row.key: (row.run, row.published, row.shown) for row in Queue(database).rows(experiment)}


def test_a_job_may_be_shown_by_several_experiments_with_tags_of_their_own(database, publications):
    add(database, "k", "other")
    publications.add(["k", "k"], B, {"k": {"trial": "3"}})
    publications.note("k", B, "run", 0)
    publications.add(["k", "other"], B, {"k": {"trial": "4"}})
    publications.add([], "none")
    assert shown(database, A) == {"k": ("", False, {}), "other": ("", False, {})}
    assert shown(database, B) == {"k": ("run", True, {"trial": "3"}), "other": ("", False, {})}
    publications.remove(["k", "unknown"], A)
    assert list(shown(database, A)) == ["other"] and list(shown(database, B)) == ["k", "other"]


def test_one_of_eight_may_publish_a_job(database, publications):
    add(database, "k")
    barrier = threading.Barrier(8)

    def want(number):
        barrier.wait()
        return publications.claim("k", A, "", 1)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(want, range(8))) == 1
        assert sum(pool.map(want, range(8))) == 0
        publications.free("k", A)
        assert sum(pool.map(want, range(8))) == 1


def test_what_was_published_meanwhile_is_not_claimed(database, publications):
    """The one that wants to publish has read the row before."""
    add(database, "k")
    assert publications.claim("k", A, "", 1)
    publications.note("k", A, "run", -1)
    publications.free("k", A)
    assert not publications.claim("k", A, "", 1), "there is a run that it does not know"
    assert publications.claim("k", A, "run", 1)
    publications.note("k", A, "run", 1)
    publications.free("k", A)
    assert not publications.claim("k", A, "run", 1), "it is whole"
    assert publications.claim("k", A, "run", 2)


def test_a_claim_ends_with_its_lease(database):
    publications = Publications(database, lease=1.0)
    add(database, "k")
    publications.hold("k", A)
    assert not publications.claim("k", A, "", 1)
    time.sleep(1.1)
    assert publications.claim("k", A, "", 1) and not publications.claim("k", A, "", 1)


def test_runs_are_listed_whole_ones_first(database, publications):
    add(database, "a", "b", "c")
    publications.add(["a", "b"], B)
    publications.note("a", A, "partial", -1)
    publications.note("a", B, "whole", 2)
    publications.note("b", A, "of b", 1)
    assert publications.runs(["a"]) == ["whole", "partial"]
    assert publications.runs(["a"], A) == ["partial"] and publications.runs(["b"], B) == []
    assert sorted(publications.runs(iter(["a", "b", "c"]))) == ["of b", "partial", "whole"]


def test_a_job_is_found_by_its_key_and_by_its_run(database, publications):
    add(database, "aa1", "aa2", "b%1")
    publications.add(["aa1"], B)
    publications.note("aa2", A, "ff3", 1)
    assert sorted(publications.find("aa1")) == [("aa1", A), ("aa1", B)]
    assert sorted(publications.find("aa")) == [("aa1", A), ("aa1", B), ("aa2", A)]
    assert publications.find("ff") == [("aa2", A)] and publications.find("f%") == []


def test_experiments_are_in_the_order_of_their_first_document(database, publications):
    for name in ("z", "y", A, "z"):
        database.edit(name, f"document {time.time()}", lambda old: 1)
        time.sleep(0.002)
    add(database, "k", experiment=B)
    add(database, "k", experiment=A)
    assert publications.experiments() == ["z", "y", A, B]
