"""A run records what it was given, in few writes; what MLflow does not take is known, and stops no training."""

import math
from pathlib import Path
from typing import Any

import pytest

from benchmark.common.errors import Stopped, TrackingError, TrainingError
from benchmark.tracking import (
    Client,
    DatasetFact,
    LiveRun,
    RunInfo,
    Summary,
    close_run,
    delete_run,
    fetch_file,
    fetch_run,
    one_line,
    publish_run,
    publish_summary,
    tag_run,
    trace,
)

pytestmark = pytest.mark.usefixtures("stores_copied")
E = "protocol v1"
DATASET = DatasetFact("synthetic", "d" * 64, "data/synthetic", {"north/2019": 64, "south/2019": 32}, "fold")
FACTS = {"method": "advent", "fold": "north", "seed": "0", "steps": "400"}
INFO = RunInfo("advent · north", FACTS, {"landshift.kind": "cell"}, DATASET, started=1234.5)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "results é #1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Artifacts of a run."""
    (tmp_path / "run" / "panels").mkdir(parents=True)
    (tmp_path / "run" / "panels" / "panel é.png").write_bytes(b"picture")
    (tmp_path / "run" / "settings.json").write_text("{}")
    return tmp_path / "run"


def only(client: Client) -> Any:
    (run,) = client.api.search_runs([client.experiment(E)])
    return run


def raising(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def names(folder: Path | None) -> list[str]:
    assert folder is not None
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("how", ["live", "whole"])
def test_everything_comes_back(client: Client, folder: Path, how: str) -> None:
    curve = [(100, {"source_val/miou": 0.4}), (200, {"source_val/miou": 0.6, "target/miou": 0.5})]
    if how == "live":
        live = LiveRun(client, E, INFO, {"fingerprint": "f"})
        assert only(client).info.status == "RUNNING"
        for step, metrics in curve:
            live.log(metrics, step)
        assert live.finish("FINISHED", {"device": "cpu"}, folder) and live.problem == ""
        id = live.id
    else:
        id = publish_run(client, E, INFO, curve, "FINISHED", {"device": "cpu"}, folder, 2345.5, {"fingerprint": "f"})
    run = only(client)
    assert run.info.run_id == id and (run.info.run_name, run.info.status) == ("advent · north", "FINISHED")
    assert run.info.start_time == 1234500 and (how == "live" or run.info.end_time == 2345500)
    assert run.data.params == FACTS  # for charts
    assert {**FACTS, "landshift.kind": "cell", "device": "cpu"}.items() <= run.data.tags.items()  # for search
    assert run.data.metrics == {"source_val/miou": 0.6, "target/miou": 0.5}
    history = client.api.get_metric_history(id, "source_val/miou")
    assert [(point.step, point.value) for point in history] == [(100, 0.4), (200, 0.6)]
    (shown,) = run.inputs.dataset_inputs
    assert (shown.dataset.name, shown.dataset.digest) == ("synthetic", "d" * 36)
    assert '"num_rows": 96' in shown.dataset.profile and shown.tags[0].value == "fold"
    place = client.artifact_folder(run.info.artifact_uri)
    assert names(place) == ["panels/panel é.png", "settings.json"] == names(folder)
    assert place and (place / "settings.json").samefile(folder / "settings.json")
    assert client.api.get_experiment(client.experiment(E)).tags["fingerprint"] == "f"


def test_where_files_cannot_be_linked_they_are_copied(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.link", raising(OSError("another file system")))
    publish_run(client, E, INFO, [], "FINISHED", {}, folder, 2.0)
    place = client.artifact_folder(only(client).info.artifact_uri)
    assert names(place) == names(folder) and place
    assert not (place / "settings.json").samefile(folder / "settings.json")


def test_more_than_a_hundred_facts(client: Client) -> None:
    facts = {f"fact {number}": str(number) for number in range(250)}
    LiveRun(client, E, RunInfo("n", facts, {})).finish("FINISHED", {})
    assert only(client).data.params == facts


@pytest.fixture
def calls(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of MLflow's methods as they are called; each takes as long as some fifty values of a batch."""
    seen: list[str] = []
    for name in ("create_run", "log_batch", "log_inputs", "set_terminated", "set_tag", "log_metric", "log_param"):
        method = getattr(client.api, name)

        def counted(*given: Any, name: str = name, method: Any = method, **rest: Any) -> Any:
            seen.append(name)
            return method(*given, **rest)

        monkeypatch.setattr(client.api, name, counted)
    return seen


def test_a_run_takes_few_calls(client: Client, calls: list[str]) -> None:
    live = LiveRun(client, E, INFO)
    for step in range(250):
        live.log({"train/loss/a": 1.0, "train/loss/b": 2.0}, step)
    live.log({"source_val/miou": 0.4}, 250)
    live.finish("FINISHED", {"device": "cpu", "note": "seen"})
    assert calls == ["create_run", "log_batch", "log_inputs", "log_batch", "log_batch", "log_batch", "set_terminated"]
    assert len(client.api.get_metric_history(live.id, "train/loss/a")) == 250


def test_a_curve_of_thousands_is_written_in_batches(client: Client, folder: Path, calls: list[str]) -> None:
    curve = [(step, {"train/loss/a": float(step)}) for step in range(2500)]
    id = publish_run(client, E, INFO, curve, "FINISHED", {}, folder, 2.0)
    assert calls.count("log_batch") == 1 + 3 + 1
    assert [point.step for point in client.api.get_metric_history(id, "train/loss/a")] == list(range(2500))


def test_metrics_are_written_after_half_a_minute(client: Client) -> None:
    live = LiveRun(client, E, INFO)
    live.log({"train/loss/a": 1.0}, 0)
    assert not only(client).data.metrics
    live._flushed -= 31
    live.log({"train/loss/b": 2.0}, 0)
    assert only(client).data.metrics == {"train/loss/a": 1.0, "train/loss/b": 2.0}


@pytest.mark.parametrize("call", ["create_run", "log_batch", "log_inputs"])
def test_a_run_that_cannot_begin_is_trained_all_the_same(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(client.api, call, raising(OSError("no space left\non device")))
        live = LiveRun(client, E, INFO)
        live.log({"train/loss/a": 1.0}, 0)
        assert not live.finish("FINISHED", {}, folder)
    assert live.problem.endswith("no space left") and "\n" not in live.problem
    assert bool(live.id) == (call != "create_run"), "what there is of it must be deleted later"
    if live.id:
        assert only(client).info.run_id == live.id


def test_a_run_that_cannot_go_on_is_trained_all_the_same(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveRun(client, E, INFO)
    live.log({"train/loss/a": 1.0}, 0)
    live._flushed -= 31
    with monkeypatch.context() as patch:
        patch.setattr(client.api, "log_batch", raising(OSError("away")))
        live.log({"train/loss/a": 0.5}, 1)
    assert "away" in live.problem
    live.log({"train/loss/a": 0.25}, 2)
    assert not live.finish("FINISHED", {}) and only(client).info.status == "RUNNING", "MLflow has not all of it"


def test_two_runs_that_log_a_new_dataset_at_once_are_both_live(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's tables refuse the second; it finds the first one's then."""
    from mlflow.exceptions import MlflowException

    log, errors = client.api.log_inputs, [MlflowException("(IntegrityError) UNIQUE constraint failed: datasets.name")]

    def refused(*given: Any) -> None:
        if errors:
            raise errors.pop()
        log(*given)

    monkeypatch.setattr(client.api, "log_inputs", refused)
    live = LiveRun(client, E, INFO)
    assert live.problem == "" and len(only(client).inputs.dataset_inputs) == 1


def test_what_is_cut_short_is_known_by_its_id(client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(client.api, "set_terminated", raising(OSError("away")))
    with pytest.raises(TrackingError, match="'advent · north' cannot be published: away"):
        publish_run(client, E, INFO, [], "FINISHED", {}, folder, 2.0, on_created=begun.append)
    assert begun == [only(client).info.run_id]


def test_a_run_is_deleted_with_its_files(client: Client, folder: Path) -> None:
    id = publish_run(client, E, INFO, [], "FINISHED", {}, folder, 2.0)
    place = client.artifact_folder(only(client).info.artifact_uri)
    for _ in range(2):
        delete_run(client, id)
    delete_run(client, "0" * 32)  # of which MLflow knows nothing
    assert client.api.search_runs([client.experiment(E)]) == []
    assert place and not place.parent.exists() and place.parent.parent.exists()
    assert names(folder) == ["panels/panel é.png", "settings.json"]


def test_deleting_says_why_it_fails(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveRun(client, E, INFO)
    monkeypatch.setattr(client.api, "delete_run", raising(OSError("away\nreally")))
    with pytest.raises(TrackingError, match=f"the run {live.id} cannot be deleted: away$"):
        delete_run(client, live.id)


def test_a_run_whose_worker_is_gone_is_closed(client: Client) -> None:
    live = LiveRun(client, E, INFO)
    close_run(client, live.id, "most likely killed")
    assert (only(client).info.status, only(client).data.tags["error"]) == ("KILLED", "most likely killed")
    close_run(client, live.id, "too often", "FAILED")
    assert (only(client).info.status, only(client).data.tags["error"]) == ("FAILED", "too often")


def test_a_run_is_tagged(client: Client) -> None:
    live = LiveRun(client, E, INFO)
    tag_run(client, live.id, "row", "first")
    assert only(client).data.tags["row"] == "first"
    for _ in range(2):
        tag_run(client, live.id, "row", None)
    assert "row" not in only(client).data.tags
    delete_run(client, live.id)
    tag_run(client, live.id, "row", "second")
    tag_run(client, "0" * 32, "row", None)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Client:
    """Publishes in MLflow's file store."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "settings.toml").write_text(f'mlflow = "file://{tmp_path / "mlruns"}"\n')
    return Client(tmp_path / "elsewhere")


def test_files_are_fetched_one_by_one_and_all_together(elsewhere: Client, folder: Path, tmp_path: Path) -> None:
    id = publish_run(elsewhere, E, INFO, [], "FINISHED", {}, folder, 2.0)
    one, every = tmp_path / "one", tmp_path / "every"
    assert fetch_file(elsewhere, id, "panels/panel é.png", one) and names(one) == ["panels/panel é.png"]
    assert not fetch_file(elsewhere, id, "panels/other.png", one) and not fetch_file(elsewhere, id, "other", one)
    every.mkdir()
    (every / "old").touch()
    fetch_run(elsewhere, id, every)
    assert names(every) == names(folder) and (every / "panels/panel é.png").read_bytes() == b"picture"
    assert {path.name for path in tmp_path.iterdir()} == {"one", "every", "run", "elsewhere", "mlruns"}
    for action in (lambda: fetch_file(elsewhere, "0" * 32, "a", one), lambda: fetch_run(elsewhere, "0" * 32, every)):
        with pytest.raises(TrackingError, match="cannot be downloaded") as error:
            action()
        assert "\n" not in str(error.value)
    assert names(every) == names(folder), "what is there stays"


def test_a_summary_is_a_run_of_its_own(client: Client, folder: Path) -> None:
    metrics = {"summary/cells": 3.0, "summary/gap": math.nan}
    summary = Summary("advent", {"method": "advent", "seeds": 3}, metrics, [folder / "settings.json"], {2: {"a": 1.0}})
    id = publish_summary(client, E, summary, {"mlflow.runColor": "#123456"})
    run = only(client)
    assert (run.info.run_id, run.info.status, run.info.run_name) == (id, "FINISHED", "advent")
    assert run.data.params == {"method": "advent", "seeds": "3"}
    assert run.data.metrics == {"summary/cells": 3.0, "a": 1.0}
    assert {"landshift.kind": "summary", "mlflow.runColor": "#123456"}.items() <= run.data.tags.items()
    assert names(client.artifact_folder(run.info.artifact_uri)) == ["settings.json"]


def test_a_summary_that_mlflow_would_cut_is_refused(client: Client) -> None:
    for facts, metrics, words in (
        ({"note": "x" * 6001}, {}, "'note' has 6001"),
        ({}, {"summary/a(b)": 1.0}, r"a\(b\)"),
        ({}, {"summary/a": math.inf}, "infinite"),
    ):
        with pytest.raises(TrackingError, match=words):
            publish_summary(client, E, Summary("n", facts, metrics), {})


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("the loss is not finite\n at step 3"), "ValueError: the loss is not finite at step 3"),
        (TrainingError("the loss\nis not finite"), "the loss is not finite"),
        (Stopped("stopped"), "stopped"),
        (KeyError(), "KeyError"),
        (ValueError("x" * 1000), f"ValueError: {'x' * 487}…"),
    ],
)
def test_an_error_is_told_in_one_line(error: BaseException, words: str) -> None:
    assert one_line(error) == words and len(one_line(error)) <= 500


def test_a_traceback_names_the_place() -> None:
    try:
        raise ValueError("here")
    except ValueError as error:
        assert "test_publish.py" in trace(error) and trace(error).endswith("ValueError: here\n")
