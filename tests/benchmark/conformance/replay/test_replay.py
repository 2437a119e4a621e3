"""A run trained again from its record: the same to the bit, and told where it cannot be."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from benchmark.cli.app import main
from benchmark.common.errors import DataError, SettingsError, TrackingError
from benchmark.conformance.replay.differences import read_curves
from benchmark.conformance.replay.recorded import data_place, jobs_of, plan_of, stored_run
from benchmark.conformance.replay.replay import circumstances, deciding
from benchmark.data.synthetic import World, generate
from benchmark.experiments.identity import identity_of

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")

INNER = "2020 without 2019"


@pytest.fixture
def run(trained):
    return stored_run(trained.session.results, trained.runs["source-only", "2020", 1])


def test_a_true_run_comes_out_the_same_to_the_bit_with_the_source_run_it_starts_from(trained, capsys, monkeypatch):
    monkeypatch.setattr("benchmark.experiments.worker.LiveRun", None)  # MLflow takes seconds to create a file
    before = len(trained.session.results.queue.rows())
    assert main(["replay", trained.runs["tent", "2020", 0][:12], *trained.options]) == 0
    told = capsys.readouterr().out
    assert "[1/2] source-only, 2020, seed 0" in told and "[2/2] tent, 2020, seed 0" in told
    assert "NO" not in told and "the same to the bit: " in told
    matrices = len(trained.session.bench.folds["2020"].parts["target_test"])  # one patch a zone
    matrices += len(trained.session.bench.folds["2020"].parts["source_val"])
    assert f"{matrices} confusion matrices" in told and "0 weights" not in told
    assert len(trained.session.results.queue.rows()) == before


def test_a_run_inside_a_fold_whose_confusions_were_changed_is_told_and_all_else_is_the_same(trained, capsys):
    run = stored_run(trained.session.results, trained.runs["source-only", INNER, 0])
    path = run.record.artifacts / "confusions.npz"
    with np.load(path) as file:
        matrices = {name: file[name] for name in file.files}
    name = "4/target_test"
    shutil.copy(path, path.with_suffix(".true"))
    matrices[name][0] = np.roll(matrices[name][0], 1, axis=1)  # of the first zone
    first = f"{name}/{matrices['zones/target_test'][0]}"
    count = sum(
        len(found)
        for place, found in matrices.items()
        if place.endswith(("_val", "_test")) and not place.startswith("zones/")
    )
    np.savez_compressed(path, **matrices)
    try:
        assert main(["replay", run.record.id, *trained.options]) == 1
    finally:
        path.with_suffix(".true").replace(path)
    told = capsys.readouterr().out
    assert f"- confusion matrices: 1 of {count} differ: {first}; {first} most, by " in told
    assert "- metrics: all" in told and "- curves: all" in told and "- weights: all" in told
    assert "nothing that was recorded explains it" in told


def test_other_data_are_told_and_nothing_is_trained(trained, tmp_path, capsys):
    generate(World(places=1, times=3, zones=8, zone_side=1, patch_size=32, sun=0.0), tmp_path / "world")
    arguments = ["replay", trained.runs["source-only", "2020", 0], *trained.options, "--data", str(tmp_path / "world")]
    assert main(arguments) == 1
    told = capsys.readouterr().out
    assert "not trained again: with other data the numbers are others" in told and "seed 0: target" not in told


def test_every_other_circumstance_has_a_row(trained, run):
    bench = trained.session.bench
    alike = circumstances(run, bench)
    assert [row.what for row in alike if row.same is not True] == [] and not deciding(alike)
    assert {"code", "method code", "packages", "python", "platform", "data", "protocol", "device"} == {
        row.what for row in alike
    }
    facts = {**run.record.facts, "method_digest": "0" * 12, "code_version": "0.0.0+00000000"}
    settings = json.loads(json.dumps(run.settings))
    settings["packages"]["torch"] = "1.0"
    settings["content"]["recipe"]["steps"] = 5
    tags = {**run.record.tags, "device": "NVIDIA T4"}
    other = replace(run, record=replace(run.record, facts=facts, tags=tags), settings=settings)
    rows = circumstances(other, bench)
    differing = {row.what: row.recorded for row in rows if row.same is False}
    assert list(differing) == ["code", "method code", "torch", "device", "recipe"]
    assert differing["torch"] == "1.0" and differing["method code"] == "0" * 12


def test_what_an_older_run_did_not_write_down_is_not_known(trained, run):
    settings = {name: run.settings[name] for name in ("facts", "recipe", "classes")}
    rows = circumstances(replace(run, settings=settings), trained.session.bench)
    assert {row.what for row in rows if row.same is None} == {"packages", "python", "platform"}


def test_other_folds_decide(trained, run):
    facts = {**run.record.facts, "fingerprint": "0" * 64}
    rows = circumstances(replace(run, record=replace(run.record, facts=facts)), trained.session.bench)
    assert deciding(rows) == ["protocol"]


def test_the_plan_of_a_run_is_the_one_it_was_trained_by(trained, run, tmp_path):
    plan = plan_of(run, trained.plan.results, trained.plan.stores)
    assert plan == trained.plan
    older = {name: value for name, value in run.settings.items() if name != "asked"}
    with pytest.raises(SettingsError, match=r"tiny, is not here; give its file \(--protocol\)"):
        plan_of(replace(run, settings=older), tmp_path, tmp_path)
    assert plan_of(replace(run, settings=older), tmp_path, tmp_path, protocol=plan.protocol).protocol == plan.protocol


def test_what_a_run_wrote_down_is_what_its_identity_is_of(run):
    assert identity_of(run.settings["content"]) == run.record.identity


def test_data_that_moved_are_asked_for(tmp_path):
    assert data_place(str(tmp_path), "world") == tmp_path
    with pytest.raises(DataError, match=r"were in /nowhere, which is not here; say where they are now \(--data\)"):
        data_place("/nowhere", "world")
    with pytest.raises(DataError, match=r"the default place of no-such, which is not here"):
        data_place("default", "no-such")


def test_a_job_that_cannot_be_run_here_is_refused(trained):
    with pytest.raises(SettingsError, match="cannot be run on 2020 without 1999: there is no such fold"):
        jobs_of(trained.session.bench, "source-only", "2020 without 1999", 0, "2020")


def test_a_run_is_found_by_its_key_and_by_its_id_in_mlflow(trained, run):
    (record,) = trained.session.results.runs(trained.session.experiment, [run.record.id])
    assert len(record.run) == 32 and stored_run(trained.session.results, record.run[:10]).record.id == run.record.id
    assert run.source == str(trained.plan.data)


def test_ids_are_unknown_ambiguous_unfinished_or_without_files(results, add_run):
    for key, state in (("ab1", "running"), ("ab2", "queued"), ("ab3", "done")):
        add_run(results, "towns-v1", key, {"method": "dacs"}, state)
    for prefix, message in (
        ("xyz", "there is no run with an id that begins with 'xyz'"),
        ("", "there is no run with an id that begins with ''"),
        ("ab", r"the ids of 3 runs begin with 'ab' in .*; give more of it"),
        ("ab1", "is not finished: it is RUNNING"),
        ("ab2", "is not finished: it was not begun"),
        ("ab3", r"the run ab3 has no settings.json in .*ab3"),
    ):
        with pytest.raises(TrackingError, match=message):
            stored_run(results, prefix)


@pytest.mark.parametrize("content", ["{}", '[["x", {"train/loss/a": 1}]]', "[[1, 2]]", "[1]", "[[1"])
def test_a_damaged_file_of_curves_is_told(tmp_path, content):
    (tmp_path / "curve.json").write_text(content)
    with pytest.raises(DataError, match=r"curve\.json"):
        read_curves(tmp_path)


def test_a_folder_without_runs_is_told_and_none_is_made_in_it(tmp_path, capsys):
    assert main(["replay", "abc", "--results", str(tmp_path)]) == 1
    assert "there are no runs in" in capsys.readouterr().err and not list(tmp_path.iterdir())
