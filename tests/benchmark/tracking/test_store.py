"""One store, many processes, any folder."""

import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.errors import AlreadyTaken, TrackingError
from benchmark.tracking import Fact, Summary, Tracker
from benchmark.tracking.database import _newest_revision, database
from benchmark.tracking.reading import artifact_folder


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/../../x", "mlflow-artifacts:/", "/home/x", "file:///home/x"])
def test_a_run_whose_files_lie_elsewhere_is_refused(tmp_path: Path, uri: str) -> None:
    """They would be read, and those of a summary deleted."""
    with pytest.raises(TrackingError, match="outside of the store"):
        artifact_folder(tmp_path, uri)
    assert artifact_folder(tmp_path, "mlflow-artifacts:/a/b/artifacts") == tmp_path / "artifacts/a/b/artifacts"


def test_the_package_does_not_import_mlflow() -> None:
    code = "import sys, benchmark.tracking; print([m for m in ('mlflow', 'pandas', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def _write(results: Path, number: int) -> None:
    tracker = Tracker(results)
    experiment = tracker.experiment("race v1", "# note", {"fingerprint": "f"})
    for seed in range(2):
        facts: dict[str, Fact] = {"method": f"method-{number}", "seed": seed}
        with tracker.start(experiment, f"{number}-{seed}", facts, f"{number}-{seed}") as run:
            for step in range(20):
                run.log({"train/loss/a": 1.0 / (step + 1)}, step)


def test_eight_processes_on_a_fresh_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # must not matter, nor must the folder
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    results = tmp_path / "results"
    import mlflow  # noqa: F401 - so that the forked writers need not import it

    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(results, number)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    tracker = Tracker(results)
    experiment = tracker.experiment("race v1")
    assert len(tracker.finished(experiment)) == 16
    assert len({record.tags["mlflow.runColor"] for record in tracker.cells(experiment)}) == 8
    assert list(Path().iterdir()) == []
    assert sorted(entry.name for entry in results.iterdir()) == ["artifacts", "mlflow.db", "mlflow.lock"]


def test_an_experiment_is_created_once(tracker: Tracker) -> None:
    first = tracker.experiment("once v1", "the note", {"fingerprint": "f"})
    assert tracker.experiment("once v1", "another note", {"fingerprint": "f"}) == first
    found = tracker._client.get_experiment(first)
    assert found.tags["fingerprint"] == "f"
    assert found.tags["mlflow.note.content"].endswith("\n\nanother note")
    assert found.artifact_location == "mlflow-artifacts:/once-v1"


def test_a_note_that_does_not_fit_is_refused(tracker: Tracker, experiment: str) -> None:
    with pytest.raises(TrackingError, match="'description' has"):
        tracker.describe(experiment, "x" * 20_000)


def test_a_deleted_experiment_starts_anew(tracker: Tracker) -> None:
    for _ in range(2):
        first = tracker.experiment("deleted v1")
        tracker.start(first, "n", {"method": "m"}, "i").finish()
        tracker._client.delete_experiment(first)
        second = tracker.experiment("deleted v1")
        assert second != first
        assert tracker.finished(second) == {}
        assert tracker._client.get_experiment(first).lifecycle_stage == "deleted"


def test_a_failed_run_may_be_started_again_and_a_finished_or_running_one_not(tracker: Tracker, experiment: str) -> None:
    with pytest.raises(ValueError), tracker.start(experiment, "n", {"method": "m"}, "same"):
        raise ValueError("failed")
    with tracker.start(experiment, "n", {"method": "m"}, "same") as run:
        with pytest.raises(AlreadyTaken, match="n is being run by another process"):
            tracker.start(experiment, "n", {"method": "m"}, "same")
        run.log({"target/miou": 0.2})
    with pytest.raises(AlreadyTaken, match="finished"):
        tracker.start(experiment, "n", {"method": "m"}, "same")
    assert [record.status for record in tracker.cells(experiment)] == ["FAILED", "FINISHED"]
    assert tracker.finished(experiment)["same"].metrics == {"target/miou": 0.2}


def test_a_long_fact_starts_no_run(tracker: Tracker, experiment: str) -> None:
    with pytest.raises(TrackingError, match="settings"):
        tracker.start(experiment, "n", {"settings": "x" * 6001}, "i")
    assert tracker.cells(experiment) == []


def test_more_than_a_hundred_facts(tracker: Tracker, experiment: str) -> None:
    facts = {f"fact {number}": number for number in range(250)}
    tracker.start(experiment, "n", facts, "i").finish()
    assert len(tracker.cells(experiment)[0].facts) == 251


def test_a_summary_is_kept_or_replaced(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a")
    facts: dict[str, Fact] = {"method": "advent"}
    metrics = {"summary/target_miou_mean": 0.5, "summary/gap_closed": 0.4}

    def summaries() -> list[str]:
        return [record.id for record in tracker.summaries(experiment)]

    def write(name: str, facts: dict[str, Fact], metrics: dict[str, float], *artifacts: Path) -> str:
        (id,) = tracker.summarise(experiment, Summary(name, facts, metrics, artifacts))
        return id

    first = write("advent", facts, metrics, table)
    assert write("advent", facts, metrics, table) == first
    other = write("source-only", {"method": "source-only"}, metrics)
    assert summaries() == [first, other]

    table.write_text("b")
    second = write("advent", facts, metrics, table)
    third = write("advent", facts, {"summary/target_miou_mean": 0.5})
    fourth = write("advent", {**facts, "code_version": "2"}, {"summary/target_miou_mean": 0.5})
    assert len({first, second, third, fourth}) == 4
    assert summaries() == [other, fourth]
    assert tracker._client.get_run(fourth).data.metrics == {"summary/target_miou_mean": 0.5}
    assert tracker.cells(experiment) == []  # a summary is no cell


def test_a_method_has_one_colour(tracker: Tracker, experiment: str) -> None:
    for identity, method in enumerate(("a", "b", "a")):
        tracker.start(experiment, method, {"method": method}, str(identity)).finish()
    (summary,) = tracker.summarise(experiment, Summary("b", {"method": "b"}, {"summary/target_miou_mean": 0.5}))
    first, second, third = [record.tags["mlflow.runColor"] for record in tracker.cells(experiment)]
    assert first == third != second
    assert tracker._client.get_run(summary).data.tags["mlflow.runColor"] == second


def test_tags_of_an_experiment_can_be_set_and_read(tracker: Tracker, experiment: str) -> None:
    tracker.tag(experiment, "landshift.grid.x", "{}")
    assert tracker.tags(experiment)["landshift.grid.x"] == "{}"
    with pytest.raises(TrackingError, match=r"landshift\.grid\.y"):
        tracker.tag(experiment, "landshift.grid.y", "x" * 20_001)


def test_results_may_be_moved(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{}")
    with tracker.start(experiment, "n", {"method": "m"}, "i") as run:
        run.artifact(tmp_path / "settings.json")
    moved = tmp_path / "moved"
    shutil.copytree(tracker.results, moved)
    (record,) = Tracker(moved).cells(experiment)
    assert record.artifacts.is_relative_to(moved)
    assert (record.artifacts / "settings.json").exists()
    assert str(tracker.results).encode() not in database(moved).read_bytes()


def _copy(tracker: Tracker, folder: Path, sql: str) -> Path:
    """The session's store in another folder, changed by a statement."""
    shutil.copy(database(tracker.results), database(folder))
    with sqlite3.connect(database(folder)) as connection:
        connection.execute(sql)
    return folder


@pytest.fixture
def older(tracker: Tracker, experiment: str, tmp_path: Path) -> Path:
    """A results folder whose store has one finished run and the schema before the newest."""
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    tracker.start(experiment, "n", {"method": "m"}, "kept").finish()
    folder = _copy(tracker, tmp_path, "SELECT 1")
    config = _get_alembic_config(f"sqlite:///{database(folder)}")
    scripts = ScriptDirectory.from_config(config)
    try:
        command.downgrade(config, str(scripts.get_revision("head").down_revision))
    except NotImplementedError:
        pytest.skip("this MLflow cannot take its newest migration back")
    return folder


def test_the_newest_revision_is_the_one_that_alembic_names(tracker: Tracker) -> None:
    import mlflow
    from alembic.script import ScriptDirectory

    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations"
    assert _newest_revision() == ScriptDirectory(str(migrations)).get_current_head()


def test_an_older_store_is_migrated(older: Path, experiment: str) -> None:
    assert list(Tracker(older).finished(experiment)) == ["kept"]


def test_a_failed_migration_leaves_the_store_as_it_was(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.db import upgrade

    def full(url: str) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(upgrade, "callback", full)
    before = database(older).read_bytes()
    with pytest.raises(TrackingError, match="no space left"):
        Tracker(older)
    assert database(older).read_bytes() == before


def test_a_newer_store_is_an_error(tracker: Tracker, tmp_path: Path) -> None:
    folder = _copy(tracker, tmp_path, "UPDATE alembic_version SET version_num = 'fffffffffff0'")
    before = database(folder).read_bytes()
    with pytest.raises(TrackingError, match="written by a newer MLflow"):
        Tracker(folder)
    assert database(folder).read_bytes() == before


def test_a_file_that_is_no_store_is_an_error_at_once(tmp_path: Path) -> None:
    database(tmp_path).write_bytes(b"not a database " * 1000)
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be used: file is not a database; put a copy"):
        Tracker(tmp_path)


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "results").touch()
    with pytest.raises(TrackingError, match="results"):
        Tracker(tmp_path / "results")


def test_records_are_what_mlflow_says(tracker: Tracker, experiment: str) -> None:
    """They are read from its tables, so that a change of these must not go unseen."""
    for number in range(3):
        with tracker.start(experiment, f"run {number}", {"method": "m", "seed": number}, str(number)) as run:
            run.log({"source_val/miou": 0.1})
            run.log({"source_val/miou": 0.2 + number, "target/miou": 1e-12}, step=5)
            run.tag("error", "none")
    tracker.summarise(experiment, Summary("m", {"method": "m"}, {"summary/cells": 3}))
    gone = tracker.cells(experiment)[1]
    tracker._client.delete_run(gone.id)
    found, theirs = tracker.cells(experiment), tracker._search(experiment, "attributes.status = 'FINISHED'")
    for record in found:
        same = [other for other in found if other.identity == record.identity]
        assert tracker.cells(experiment, record.identity) == same
    assert tracker.cells(experiment, "unknown") == []
    assert [record.id for record in found] == [run.info.run_id for run in theirs] and len(found) == 2
    for record, run in zip(found, theirs, strict=True):
        assert (record.name, record.status) == (run.info.run_name, run.info.status)
        assert (record.facts, record.tags, record.metrics) == (run.data.params, run.data.tags, run.data.metrics)
        assert record.started == run.info.start_time / 1000 and record.artifacts.name == "artifacts"
        assert record.artifacts.parent.name == record.id and record.error == "none"
    assert tracker.finished(experiment)["2"].metrics["source_val/miou"] == 2.2
