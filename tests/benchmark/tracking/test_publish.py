"""A run records what it was given, in few writes; what MLflow does not take is known, and stops no training."""

import math

import pytest

from benchmark.common.errors import TrackingError
from benchmark.tracking import Client, DatasetFact, LiveRun, RunInfo, Summary, publish_summary
from benchmark.tracking.runs import close_run, delete_run, fetch_file, tag_run

pytestmark = pytest.mark.usefixtures("stores_copied")
E = "protocol v1"
DATASET = DatasetFact("synthetic", "d" * 64, "data/synthetic", {"north/2019": 64, "south/2019": 32}, "fold")
FACTS = {"method": "advent", "fold": "north", "seed": "0", "steps": "400"}
INFO = RunInfo("advent · north", FACTS, {"landshift.kind": "cell"}, DATASET, started=1234.5)
FILES = ["panels/panel é.png", "settings.json"]
NONE = "0" * 32  # a run of which MLflow knows nothing


@pytest.fixture
def client(tmp_path):
    return Client(tmp_path / "results é #1")


@pytest.fixture
def live(client):
    return LiveRun(client, E, INFO, {"fingerprint": "f"})


@pytest.fixture
def folder(tmp_path):
    """Artifacts of a run."""
    for name in FILES:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(name, encoding="utf-8")
    return tmp_path / "run"


def only(client):
    (run,) = client.api.search_runs([client.experiment(E)])
    return run


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("how", ["live", "whole"])
def test_everything_comes_back(client, live, folder, how):
    curve = [(100, {"source_val/miou": 0.4}), (200, {"source_val/miou": 0.6, "target/miou": 0.5})]
    assert only(client).info.status == "RUNNING"
    if how == "live":
        for step, metrics in curve:
            live.log(metrics, step)
        assert live.finish("FINISHED", {"device": "cpu"}, folder) and live.problem == ""
    else:
        assert live.write_whole(curve, "FINISHED", {"device": "cpu"}, folder, 2345.5) == live.id
    run = only(client)
    assert (run.info.run_id, run.info.run_name, run.info.status) == (live.id, "advent · north", "FINISHED")
    assert run.info.start_time == 1234500 and (how == "live" or run.info.end_time == 2345500)
    assert run.data.params == FACTS  # for charts
    assert {**FACTS, "landshift.kind": "cell", "device": "cpu"}.items() <= run.data.tags.items()  # for search
    assert run.data.tags["mlflow.note.content"] == "**target mIoU 50.0 %**"
    assert run.data.metrics == {"source_val/miou": 0.6, "target/miou": 0.5}
    history = client.api.get_metric_history(live.id, "source_val/miou")
    assert [(point.step, point.value) for point in history] == [(100, 0.4), (200, 0.6)]
    assert how == "live" or {point.timestamp for point in history} == {1234500}
    (shown,) = run.inputs.dataset_inputs
    assert (shown.dataset.name, shown.dataset.digest) == ("synthetic", "d" * 36)
    assert '"num_rows": 96' in shown.dataset.profile and shown.tags[0].value == "fold"
    place = client.artifact_folder(run.info.artifact_uri)
    assert names(place) == FILES == names(folder)
    assert (place / "settings.json").samefile(folder / "settings.json")
    assert client.api.get_experiment(client.experiment(E)).tags["fingerprint"] == "f"


def test_where_files_cannot_be_linked_they_are_copied(client, live, folder, monkeypatch):
    monkeypatch.setattr("os.link", raising(OSError("another file system")))
    live.write_whole([], "FINISHED", {}, folder)
    place = client.artifact_folder(only(client).info.artifact_uri)
    assert names(place) == FILES and not (place / "settings.json").samefile(folder / "settings.json")


def test_more_than_a_hundred_facts(client):
    facts = {f"fact {number}": str(number) for number in range(250)}
    LiveRun(client, E, RunInfo("n", facts, {})).finish("FINISHED", {})
    assert only(client).data.params == facts


@pytest.fixture
def calls(client, monkeypatch):
    """Names of MLflow's methods as they are called; each takes as long as some fifty values of a batch."""
    seen = []

    def counted(name, method):
        return lambda *given, **rest: [seen.append(name), method(*given, **rest)][1]

    for name in ("create_run", "log_batch", "log_inputs", "set_terminated", "set_tag", "log_metric", "log_param"):
        monkeypatch.setattr(client.api, name, counted(name, getattr(client.api, name)))
    return seen


def test_a_run_takes_few_calls(client, calls, live):
    for step in range(250):
        live.log({"train/loss/a": 1.0, "train/loss/b": 2.0}, step)
    live.log({"source_val/miou": 0.4}, 250)
    live.finish("FINISHED", {"device": "cpu", "note": "seen"})
    assert calls == ["create_run", "log_batch", "log_inputs", "log_batch", "log_batch", "log_batch", "set_terminated"]
    assert len(client.api.get_metric_history(live.id, "train/loss/a")) == 250


def test_a_curve_of_thousands_is_written_in_batches(client, calls, live, folder):
    live.write_whole([(step, {"train/loss/a": float(step)}) for step in range(2500)], "FINISHED", FACTS, folder, 2.0)
    assert calls.count("log_batch") == 1 + 3 + 1
    assert [point.step for point in client.api.get_metric_history(live.id, "train/loss/a")] == list(range(2500))


@pytest.mark.parametrize("call", ["create_run", "log_batch", "log_inputs", "set_terminated"])
def test_a_run_that_mlflow_has_not_whole_is_trained_all_the_same(client, folder, monkeypatch, call):
    with monkeypatch.context() as patch:
        patch.setattr(client.api, call, raising(OSError("no space left\non device")))
        live = LiveRun(client, E, INFO)
        live.log({"train/loss/a": 1.0}, 0)
        assert not live.finish("FINISHED", {}, folder)
        with pytest.raises(TrackingError, match=r"'advent · north' cannot be published: no space left$"):
            LiveRun(client, E, INFO).write_whole([], "FINISHED", {}, folder)
    assert live.problem.endswith("no space left")
    assert bool(live.id) == (call != "create_run"), "what there is of it must be deleted later"
    statuses = {run.info.run_id: run.info.status for run in client.api.search_runs([client.experiment(E)])}
    assert not live.id or statuses[live.id] == "RUNNING"


def test_metrics_are_written_after_half_a_minute_or_not_at_all(client, live, monkeypatch):
    live.log({"train/loss/a": 1.0}, 0)
    assert not only(client).data.metrics
    live._flushed -= 31
    live.log({"train/loss/b": 2.0}, 0)
    assert only(client).data.metrics == {"train/loss/a": 1.0, "train/loss/b": 2.0}
    live._flushed -= 31
    with monkeypatch.context() as patch:
        patch.setattr(client.api, "log_batch", raising(OSError("away")))
        live.log({"train/loss/a": 0.5}, 1)
    assert "away" in live.problem
    live.log({"train/loss/a": 0.25}, 2)
    assert not live.finish("FINISHED", {}) and only(client).info.status == "RUNNING", "MLflow has not all of it"


def test_two_runs_that_log_a_new_dataset_at_once_are_both_live(client, monkeypatch):
    """MLflow's tables refuse the second; it finds the first one's then."""
    from mlflow.exceptions import MlflowException

    log, errors = client.api.log_inputs, [MlflowException("(IntegrityError) UNIQUE constraint failed: datasets.name")]
    monkeypatch.setattr(client.api, "log_inputs", lambda *given: raising(errors.pop())() if errors else log(*given))
    assert LiveRun(client, E, INFO).problem == "" and len(only(client).inputs.dataset_inputs) == 1


def test_a_run_is_deleted_with_its_files_or_says_why_not(client, live, folder, monkeypatch):
    live.write_whole([], "FINISHED", {}, folder)
    place = client.artifact_folder(only(client).info.artifact_uri)
    with monkeypatch.context() as patch:
        patch.setattr(client.api, "delete_run", raising(OSError("away\nreally")))
        with pytest.raises(TrackingError, match=f"the run {live.id} cannot be deleted: away$"):
            delete_run(client, live.id)
    for run in (live.id, live.id, NONE):
        delete_run(client, run)
    assert client.api.search_runs([client.experiment(E)]) == []
    assert not place.parent.exists() and place.parent.parent.exists() and names(folder) == FILES


def test_a_run_is_closed_and_tagged(client, live):
    for given, status in (((), "KILLED"), (("FAILED",), "FAILED")):
        close_run(client, live.id, f"because {status}", *given)
        assert (only(client).info.status, only(client).data.tags["error"]) == (status, f"because {status}")
    tag_run(client, live.id, "row", "first")
    assert only(client).data.tags["row"] == "first"
    for _ in range(2):
        tag_run(client, live.id, "row", None)
    assert "row" not in only(client).data.tags
    delete_run(client, live.id)
    for gone in (live.id, NONE):
        tag_run(client, gone, "row", "second")
        tag_run(client, gone, "row", None)
        close_run(client, gone, "gone")


def test_files_are_fetched_one_by_one_and_all_together(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "settings.toml").write_text(f'mlflow = "file://{tmp_path / "mlruns"}"\n')
    elsewhere, one, every = Client(tmp_path / "elsewhere"), tmp_path / "one", tmp_path / "every"
    id = LiveRun(elsewhere, E, INFO).write_whole([], "FINISHED", {}, folder)
    assert fetch_file(elsewhere, id, FILES[0], one) and names(one) == FILES[:1]
    assert not fetch_file(elsewhere, id, "panels/other.png", one) and not fetch_file(elsewhere, id, "other", one)
    every.mkdir()
    (every / "old").touch()
    fetch_file(elsewhere, id, "", every)
    assert names(every) == FILES and (every / FILES[0]).read_text(encoding="utf-8") == FILES[0]
    assert every.stat().st_mode == one.stat().st_mode, "others may read it"
    assert {path.name for path in tmp_path.iterdir()} == {"one", "every", "run", "elsewhere", "mlruns"}
    for name, words in (("a", "a"), ("", "the files")):
        with pytest.raises(TrackingError, match=f"^{words} of the run {NONE} cannot be downloaded") as error:
            fetch_file(elsewhere, NONE, name, every)
        assert "\n" not in str(error.value)
    assert names(every) == FILES, "what is there stays"


def test_a_summary_is_a_run_of_its_own(client, folder):
    metrics = {"summary/cells": 3.0, "summary/gap": math.nan}
    summary = Summary("advent", {"method": "advent", "seeds": 3}, metrics, [folder / "settings.json"], {2: {"a": 1.0}})
    id = publish_summary(client, E, summary, {"mlflow.runColor": "#123456"})
    run = only(client)
    assert (run.info.run_id, run.info.status, run.info.run_name) == (id, "FINISHED", "advent")
    assert run.data.params == {"method": "advent", "seeds": "3"}
    assert run.data.metrics == {"summary/cells": 3.0, "a": 1.0}
    assert {"landshift.kind": "summary", "mlflow.runColor": "#123456"}.items() <= run.data.tags.items()
    assert names(client.artifact_folder(run.info.artifact_uri)) == ["settings.json"]


@pytest.mark.parametrize(
    ("facts", "metrics", "words"),
    [
        ({"note": "x" * 6001}, {}, "'note' has 6001"),
        ({}, {"summary/a(b)": 1.0}, r"a\(b\)"),
        ({}, {"summary/a": math.inf}, "infinite"),
    ],
)
def test_a_summary_that_mlflow_would_cut_is_refused(client, facts, metrics, words):
    with pytest.raises(TrackingError, match=words):
        publish_summary(client, E, Summary("n", facts, metrics), {})
    assert client.api.search_runs([client.experiment(E)]) == []
