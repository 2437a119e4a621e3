"""A run that another experiment of the store has finished is copied, to the last file, and not trained."""

from dataclasses import replace

import pytest

from benchmark.grid import execute as module
from benchmark.grid.reuse import COPIED
from benchmark.grid.session import Session

pytestmark = pytest.mark.usefixtures("one_thread", "networks_once")
LABELS = ["tent", "source-only", "instance-batch-norm"]  # the first is copied without the run that it starts from


@pytest.fixture(scope="module")
def session(plan, fresh_store, tmp_path_factory):
    session = Session(replace(plan, results=tmp_path_factory.mktemp("results")))
    session.run(
        session.bench.jobs(LABELS, [0], ["2020"]),
        1,
        lambda *_: None,
        lambda _: None,
    )
    return session


def _execute(session, label):
    other = session.tracker.experiment("another one")
    (job,) = (job for job in session.bench.jobs([label], [0], ["2020"]) if job.label == label)
    miou = module.execute(session.bench, job, session.tracker, other, lambda share: None)
    records = [session.tracker.cells(experiment, job.identity)[-1] for experiment in (session.experiment, other)]
    return miou, *records


def _files(record):
    return {str(path.relative_to(record.artifacts)): path.read_bytes() for path in record.artifacts.rglob("*.*")}


@pytest.mark.parametrize("label", LABELS)
def test_it_has_every_number_point_and_file_of_the_run_and_says_whose(session, label, monkeypatch):
    monkeypatch.setattr(module, "train_and_score", lambda *_, **__: pytest.fail("it is trained again"))
    miou, first, copy = _execute(session, label)
    assert copy.id != first.id and copy.tags[COPIED] == first.id and copy.tags["device"] == first.tags["device"]
    assert copy.tags.get("network_changed") == first.tags.get("network_changed")
    assert ("network_changed" in copy.tags) == (label == "instance-batch-norm")
    assert copy.status == "FINISHED" and copy.metrics == first.metrics and miou == first.metrics["target/miou"]
    for name in first.metrics:
        assert session.tracker.history(copy.id, name) == session.tracker.history(first.id, name)
    assert _files(copy) == _files(first)
    assert {"confusions.npz", "weights.safetensors", "settings.json"} < set(_files(copy))
    assert any(name.startswith("confusion/") for name in _files(copy))


def test_a_run_without_its_device_is_recorded_as_failed(session, monkeypatch):
    """Devices of a cluster's nodes cannot be checked before."""
    monkeypatch.setattr(module, "make_fabric", lambda *_: (_ for _ in ()).throw(RuntimeError("no such device")))
    (job,) = session.bench.jobs(["source-only"], [9], ["2020"])
    with pytest.raises(RuntimeError, match="no such device"):
        module.execute(session.bench, job, session.tracker, session.experiment, lambda share: None)
    (record,) = session.tracker.cells(session.experiment, job.identity)
    assert record.status == "FAILED" and "no such device" in record.error


def test_one_of_another_version_is_trained(session, monkeypatch):
    monkeypatch.setattr("benchmark.provenance.code_version", lambda: "another")
    trained = []
    monkeypatch.setattr(module, "train_and_score", lambda *_, **__: trained.append(1) or 1 / 0)
    (job,) = session.bench.jobs(["source-only"], [0], ["2020"])
    with pytest.raises(Exception, match="division"):
        module.execute(session.bench, job, session.tracker, session.tracker.experiment("a third"), lambda share: None)
    assert trained
